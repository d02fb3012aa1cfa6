import type { Agent, agentMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { managedOwners } from "../needs.ts";
import type { Handlers } from "../rpc.ts";
import { one } from "./rows.ts";
import { spacesOf } from "./space.ts";

/** The agents that the caller manages, by name. */
const agentsOf = (sql: Sql, actor: Actor, id?: string): Promise<Agent[]> => sql<Agent[]>`
  select a.id, a.name, a.created_at, json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) as owner
  from principals a join principals o on o.id = a.owner_id
  where a.owner_id in (${managedOwners(sql, actor)}) ${id === undefined ? sql`` : sql`and a.id = ${id}`}
  order by lower(a.name), a.id`;

export const agentHandlers: Handlers<typeof agentMethods> = {
  async "agent.create"({ name }, { actor, sql, audit }) {
    const id = uuidv7();
    await sql`insert into principals (id, kind, name, owner_id) values (${id}, 'a', ${name}, ${actor.principal.id})`;
    audit.target = id;
    return { id, name };
  },

  "agent.list": async (_input, { actor, sql }) => ({ agents: await agentsOf(sql, actor) }),

  "agent.get": async ({ id }, { actor, sql }) => one(await agentsOf(sql, actor, id)),

  "agent.spaces": async ({ id }, { sql }) => ({ spaces: await spacesOf(sql, id) }),

  // Named once more: by now it may be somebody else's.
  async "agent.rename"({ id, name }, { actor, sql, audit }) {
    audit.target = id;
    return one(
      await sql<{ id: string; name: string }[]>`
        update principals set name = ${name} where id = ${id} and owner_id in (${managedOwners(sql, actor)}) returning id, name`,
    );
  },

  // Its keys go with it, in this transaction: api_keys refers to principals "on delete cascade".
  async "agent.delete"({ id }, { actor, sql, audit }) {
    audit.target = id;
    return one(
      await sql<{ id: string }[]>`
        delete from principals where id = ${id} and owner_id in (${managedOwners(sql, actor)}) returning id`,
    );
  },
};
