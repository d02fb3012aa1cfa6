import type { Agent, agentMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Fragment, Sql } from "../db.ts";
import { managedOwners } from "../needs.ts";
import type { Handlers } from "../rpc.ts";
import { FIRST, one, paged } from "./rows.ts";
import { spacesOf } from "./space.ts";

/** Agents as they are told of, in the order of ids. @param found a query for their rows */
const agentRows = (sql: Sql, found: Fragment): Promise<Agent[]> => sql<Agent[]>`
  select a.id, a.name, a.created_at,
         (select json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) from principals o where o.id = a.owner_id) as owner
  from (${found}) a order by a.id`;

export const agentHandlers: Handlers<typeof agentMethods> = {
  async "agent.create"({ name }, { actor, sql, audit }) {
    const id = uuidv7();
    await sql`insert into principals (id, kind, name, owner_id) values (${id}, 'a', ${name}, ${actor.principal.id})`;
    audit.target = id;
    return { id, name };
  },

  async "agent.list"({ after, limit }, { actor, sql }) {
    // Read from their owners on, and sorted then: "offset 0" keeps the planner from walking through the agents of others.
    const found = await agentRows(
      sql,
      sql`select * from (
          select a.* from (${managedOwners(sql, actor)}) as managed (id) join principals a on a.owner_id = managed.id and a.kind = 'a'
          where a.id > ${after ?? FIRST} offset 0
        ) mine order by id limit ${limit + 1}`,
    );
    const { rows, next } = paged(found, limit);
    return { agents: rows, next };
  },

  "agent.get": async ({ id }, { actor, sql }) =>
    one(await agentRows(sql, sql`select * from principals where id = ${id} and kind = 'a' and owner_id in (${managedOwners(sql, actor)})`)),

  async "agent.spaces"({ id, after, limit }, { sql }) {
    const { rows, next } = paged(await spacesOf(sql, id, { after, limit }), limit);
    return { spaces: rows, next };
  },

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
    await sql`select hold_alone(${id})`;
    return one(
      await sql<{ id: string }[]>`
        delete from principals where id = ${id} and owner_id in (${managedOwners(sql, actor)}) returning id`,
    );
  },
};
