import type { apiKeyMethods } from "@gatehouse/protocol";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { managedOwners } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { listKeys, makeSecret, revokeKey, rotateKey } from "./keys.ts";
import { one } from "./rows.ts";

/** Which keys these methods are about: the caller's, and those of the agents they manage. */
const ofCaller = (sql: Sql, actor: Actor) => sql`(p.id = ${actor.principal.id} or p.owner_id in (${managedOwners(sql, actor)}))`;

export const apiKeyHandlers: Handlers<typeof apiKeyMethods> = {
  async "apiKey.create"({ agent, ...wanted }, { actor, sql, audit }) {
    // Held until the key is there: an agent that is being handed over takes no key of its old owner along.
    if (agent !== undefined)
      one(await sql`select from principals where id = ${agent} and owner_id in (${managedOwners(sql, actor)}) for key share`);
    const made = await makeSecret(sql, agent === undefined ? "pat" : "agent_key", agent ?? actor.principal.id, wanted);
    audit.target = made.id;
    return made;
  },

  async "apiKey.list"({ agent }, { actor, sql }) {
    const which = ofCaller(sql, actor);
    return { keys: await listKeys(sql, agent === undefined ? which : sql`${which} and p.id = ${agent}`) };
  },

  async "apiKey.get"({ id }, { actor, sql }) {
    const [key] = await listKeys(sql, sql`${ofCaller(sql, actor)} and k.id = ${id}`);
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
