import type { secretKeyMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { standingOf } from "../actor.ts";
import type { Sql } from "../db.ts";
import type { Handlers } from "../rpc.ts";
import { listKeys, makeSecret, revokeKey, rotateKey } from "./keys.ts";

/** What a space's service may do from the start: everything with its tasks and sessions. */
const SERVICE_GRANTS = ["admin:tasks", "admin:sessions"];

/** The principal as which a space's own server side calls: made, with its place on the roster and its grants, when it is first needed. */
async function serviceOf(sql: Sql, spaceId: string): Promise<string> {
  // One at a time for each space; the index one_service stands behind it.
  await sql`select from spaces where id = ${spaceId} for no key update`;
  const [known] = await sql<{ id: string }[]>`select id from principals where space_id = ${spaceId} and kind = 's'`;
  if (known) return known.id;
  const id = uuidv7();
  await sql`insert into principals (id, kind, name, space_id) values (${id}, 's', 'service', ${spaceId})`;
  await sql`insert into members (space_id, principal_id) values (${spaceId}, ${id})`;
  for (const permission of SERVICE_GRANTS)
    await sql`insert into grants (id, space_id, principal_id, permission) values (${uuidv7()}, ${spaceId}, ${id}, ${permission})`;
  return id;
}

/** Which keys these methods are about: those of the space's service. */
const ofService = (sql: Sql, spaceId: string) => sql`p.kind = 's' and p.space_id = ${spaceId}`;

export const secretKeyHandlers: Handlers<typeof secretKeyMethods> = {
  async "secretKey.create"({ name, ceiling, expiresAt }, { actor, sql, audit }) {
    const service = await serviceOf(sql, standingOf(actor).space.id);
    const made = await makeSecret(sql, "secret_key", service, { name, ceiling, expiresAt });
    audit.target = made.id;
    return made;
  },

  "secretKey.list": (page, { actor, sql }) =>
    listKeys(sql, sql`select p.id from principals p where ${ofService(sql, standingOf(actor).space.id)}`, page),

  async "secretKey.rotate"({ id, overlapHours }, { actor, sql, audit }) {
    audit.target = id;
    return rotateKey(sql, ofService(sql, standingOf(actor).space.id), id, overlapHours);
  },

  async "secretKey.revoke"({ id }, { actor, sql, audit }) {
    audit.target = id;
    return revokeKey(sql, ofService(sql, standingOf(actor).space.id), id);
  },
};
