import type { apiKeyMethods } from "@gatehouse/protocol";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { managedOwners } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { listKeys, makeSecret, readKeys, revokeKey, rotateKey } from "./keys.ts";
import { one } from "./rows.ts";

/** Which keys these methods are about: the caller's, and those of the agents they manage. */
const ofCaller = (sql: Sql, actor: Actor) => sql`(p.id = ${actor.principal.id} or p.owner_id in (${managedOwners(sql, actor)}))`;

/** The caller, and the agents they manage: or the one agent that is named. */
const holders = (sql: Sql, actor: Actor, agent: string | undefined) =>
  agent === undefined
    ? sql`select ${actor.principal.id}::uuid
        union all select a.id from (${managedOwners(sql, actor)}) as managed (id) join principals a on a.owner_id = managed.id and a.kind = 'a'`
    : sql`select id from principals where id = ${agent} and kind = 'a' and owner_id in (${managedOwners(sql, actor)})`;

export const apiKeyHandlers: Handlers<typeof apiKeyMethods> = {
  async "apiKey.create"({ agent, ...wanted }, { actor, sql, audit }) {
    // Held until the key is there: an agent that is being handed over takes no key of its old owner along.
    if (agent !== undefined)
      one(await sql`select from principals where id = ${agent} and owner_id in (${managedOwners(sql, actor)}) for key share`);
    const made = await makeSecret(sql, agent === undefined ? "pat" : "agent_key", agent ?? actor.principal.id, wanted);
    audit.target = made.id;
    return made;
  },

  "apiKey.list": ({ agent, ...page }, { actor, sql }) => listKeys(sql, holders(sql, actor, agent), page),

  async "apiKey.get"({ id }, { actor, sql }) {
    const [key] = await readKeys(sql, sql`${ofCaller(sql, actor)} and k.id = ${id}`);
    if (!key) throw new Refusal("NOT_FOUND");
    return key;
  },

  async "apiKey.rotate"({ id, overlapHours }, { actor, sql, audit }) {
    audit.target = id;
    return rotateKey(sql, ofCaller(sql, actor), id, overlapHours);
  },

  async "apiKey.delete"({ id }, { actor, sql, audit }) {
    audit.target = id;
    return revokeKey(sql, ofCaller(sql, actor), id);
  },
};
