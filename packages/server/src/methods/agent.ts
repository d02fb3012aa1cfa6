import type { Agent, agentMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { spacesOf } from "./space.ts";

/** The agents of an owner, by name. */
const agentsOf = (sql: Sql, ownerId: string, id?: string): Promise<Agent[]> => sql<Agent[]>`
  select a.id, a.name, a.created_at, json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) as owner
  from principals a join principals o on o.id = a.owner_id
  where a.owner_id = ${ownerId} ${id === undefined ? sql`` : sql`and a.id = ${id}`}
  order by lower(a.name)`;

/** The one row, which the call's need has seen: gone only if it was deleted since. */
function one<Row>([row]: readonly Row[]): Row {
  if (!row) throw new Refusal("NOT_FOUND");
  return row;
}

export const agentHandlers: Handlers<typeof agentMethods> = {
  async "agent.create"({ name }, { actor, sql }) {
    const id = uuidv7();
    await sql`insert into principals (id, kind, name, owner_id) values (${id}, 'a', ${name}, ${actor.principal.id})`;
    return { id, name };
  },

  "agent.list": async (_input, { actor, sql }) => ({ agents: await agentsOf(sql, actor.principal.id) }),

  "agent.get": async ({ id }, { actor, sql }) => one(await agentsOf(sql, actor.principal.id, id)),

  "agent.spaces": async ({ id }, { sql }) => ({ spaces: await spacesOf(sql, id) }),

  "agent.rename": async ({ id, name }, { sql }) =>
    one(await sql<{ id: string; name: string }[]>`update principals set name = ${name} where id = ${id} returning id, name`),

  // Its keys go with it, in this transaction: api_keys refers to principals "on delete cascade".
  "agent.delete": async ({ id }, { sql }) => one(await sql<{ id: string }[]>`delete from principals where id = ${id} returning id`),
};
