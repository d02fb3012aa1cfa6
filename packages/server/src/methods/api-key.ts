import type { ApiKey, apiKeyMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { hashKey, hintOfKey, makeKey } from "../key.ts";
import { managedOwners } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { one } from "./rows.ts";

/** The keys of the caller and of the agents they manage, newest first. */
const keysOf = (sql: Sql, actor: Actor, only: { id?: string; agent?: string | undefined }): Promise<ApiKey[]> => sql<ApiKey[]>`
  select k.id, k.name, json_build_object('id', p.id, 'kind', p.kind, 'name', p.name) as principal, k.hint, k.ceiling,
         k.expires_at, k.last_used_at, k.created_at,
         case when k.previous_expires_at > now() then k.previous_expires_at end as previous_expires_at
  from api_keys k join principals p on p.id = k.principal_id
  where (p.id = ${actor.principal.id} or p.owner_id in (${managedOwners(sql, actor)}))
    ${only.id === undefined ? sql`` : sql`and k.id = ${only.id}`}
    ${only.agent === undefined ? sql`` : sql`and p.id = ${only.agent}`}
  order by k.id desc`;

export const apiKeyHandlers: Handlers<typeof apiKeyMethods> = {
  async "apiKey.create"({ name, agent, ceiling, expiresAt }, { actor, sql, audit }) {
    if (expiresAt !== undefined && Date.parse(expiresAt) <= Date.now())
      throw new Refusal("INVALID_PARAMS", "expiresAt must be in the future.", {
        issues: [{ path: "expiresAt", message: "must be in the future" }],
      });
    // Held until the key is there: an agent that is being handed over takes no key of its old owner along.
    if (agent !== undefined)
      one(await sql`select from principals where id = ${agent} and owner_id in (${managedOwners(sql, actor)}) for key share`);
    const id = uuidv7();
    const key = makeKey(agent === undefined ? "pat" : "agent_key");
    await sql`
      insert into api_keys (id, principal_id, name, hash, hint, ceiling, expires_at)
      values (${id}, ${agent ?? actor.principal.id}, ${name}, ${hashKey(key)}, ${hintOfKey(key)}, ${ceiling ?? null}, ${expiresAt ?? null})`;
    audit.target = id;
    return { id, key };
  },

  "apiKey.list": async ({ agent }, { actor, sql }) => ({ keys: await keysOf(sql, actor, { agent }) }),

  async "apiKey.get"({ id }, { actor, sql }) {
    const [key] = await keysOf(sql, actor, { id });
    if (!key) throw new Refusal("NOT_FOUND");
    return key;
  },

  async "apiKey.rotate"({ id, overlapHours }, { sql, audit }) {
    const [kind] = await sql<{ agent: boolean; expired: boolean }[]>`
      select p.kind = 'a' as agent, coalesce(k.expires_at <= now(), false) as expired from api_keys k join principals p on p.id = k.principal_id where k.id = ${id}`;
    if (!kind) throw new Refusal("NOT_FOUND");
    if (kind.expired) throw new Refusal("CONFLICT", "This key has expired: a new secret would be as dead. Make a new key.");
    const key = makeKey(kind.agent ? "agent_key" : "pat");
    const row = one(
      await sql<{ previousExpiresAt: string | null }[]>`
      update api_keys set hash = ${hashKey(key)}, hint = ${hintOfKey(key)},
        previous_hash = case when ${overlapHours} > 0 then hash end,
        previous_expires_at = case when ${overlapHours} > 0 then now() + make_interval(hours => ${overlapHours}) end
      where id = ${id} returning previous_expires_at`,
    );
    audit.target = id;
    return { id, key, previousExpiresAt: row.previousExpiresAt };
  },

  async "apiKey.delete"({ id }, { sql, audit }) {
    const { count } = await sql`delete from api_keys where id = ${id}`;
    if (count === 0) throw new Refusal("NOT_FOUND");
    audit.target = id;
    return { id };
  },
};
