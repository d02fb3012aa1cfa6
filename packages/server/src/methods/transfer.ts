import type { PrincipalRef, transferMethods } from "@gatehouse/protocol";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { known } from "../known.ts";
import { managedOwners } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { FIRST, one, paged } from "./rows.ts";

/** Gives an agent its new owner. What the old owner knows of its keys is worth nothing from then on. */
async function handOver(sql: Sql, agentId: string, ownerId: string): Promise<void> {
  await sql`update principals set owner_id = ${ownerId} where id = ${agentId}`;
  await sql`delete from api_keys where principal_id = ${agentId}`;
  await sql`delete from tokens where may_act_id = ${agentId}`; // users made them for the agent as it was
  await sql`delete from agent_offers where agent_id = ${agentId}`;
}

/** Whether the caller may say yes for an owner: for themselves, or a group they administer. */
async function speaksFor(sql: Sql, actor: Actor, ownerId: string): Promise<boolean> {
  const [row] = await sql<{ yes: boolean }[]>`select ${ownerId}::uuid in (${managedOwners(sql, actor)}) as yes`;
  return row?.yes ?? false;
}

/** An offer stands while its maker still manages the agent, and still knows the one who is to have it. */
const managed = (sql: Sql) => sql`a.owner_id in (select managed_owners(f.offered_by))`;
const standing = (sql: Sql) => sql`${managed(sql)} and knows(f.offered_by, f.to_id, null)`;

const NO_OFFER = "No such agent is offered. `me agent offers` shows those that are.";

export const transferHandlers: Handlers<typeof transferMethods> = {
  async "agent.transfer"({ id, to }, at) {
    const { actor, sql, audit } = at;
    // To delete a space that both are in waits for this offer, and ends it; or the space is gone by now.
    await sql`select from spaces where id in (select space_id from members where principal_id = ${actor.principal.id}) order by id for key share`;
    const owner = await known(at, to, "u", "g");
    // Until it is done the agent is nobody else's to delete or give away; and it may have been given away by now.
    await sql`select hold_alone(${id})`;
    one(await sql`select from principals where id = ${id} and owner_id in (${managedOwners(sql, actor)})`);
    const accepted = await speaksFor(sql, actor, to);
    if (accepted) await handOver(sql, id, to);
    else
      await sql`
        insert into agent_offers (agent_id, to_id, offered_by) values (${id}, ${to}, ${actor.principal.id})
        on conflict (agent_id) do update set to_id = excluded.to_id, offered_by = excluded.offered_by, created_at = now()`;
    audit.target = `${id} to=${to}`;
    return { id, to: owner, accepted };
  },

  async "agent.offers"({ after, limit }, { actor, sql }) {
    const found = await sql<{ id: string; agent: PrincipalRef; to: PrincipalRef; toYou: boolean; offeredBy: string; createdAt: string }[]>`
      with pairs as materialized (
        select distinct offered_by, to_id, true as to_you from agent_offers where to_id in (${managedOwners(sql, actor)})
        union all select distinct offered_by, to_id, false from agent_offers
          where offered_by = ${actor.principal.id} and to_id not in (${managedOwners(sql, actor)})),
      acquainted as materialized (select * from pairs where knows(offered_by, to_id, null))
      select f.agent_id as id, json_build_object('id', a.id, 'kind', a.kind, 'name', a.name) as agent,
             json_build_object('id', t.id, 'kind', t.kind, 'name', t.name) as to,
             to_you, b.name as offered_by, f.created_at
      from agent_offers f
      join acquainted using (offered_by, to_id)
      join principals a on a.id = f.agent_id
      join principals t on t.id = f.to_id
      join principals b on b.id = f.offered_by
      where ${managed(sql)} and f.agent_id > ${after ?? FIRST}
      order by f.agent_id limit ${limit + 1}`;
    const { rows, next } = paged(found, limit);
    return { offers: rows.map(({ id: _id, ...offer }) => offer), next };
  },

  async "agent.accept"({ id }, { actor, sql, audit }) {
    // The new owner is held before the agent, and the agent before its offer: in the order in which they are deleted.
    await sql`select from principals where id = (select to_id from agent_offers where agent_id = ${id}) for key share`;
    await sql`select hold_alone(${id})`;
    const offer = one(
      await sql<{ toId: string }[]>`
        select f.to_id from agent_offers f join principals a on a.id = f.agent_id
        where f.agent_id = ${id} and f.to_id in (${managedOwners(sql, actor)}) and ${standing(sql)}`,
      NO_OFFER,
    );
    await handOver(sql, id, offer.toId);
    audit.target = `${id} to=${offer.toId}`;
    return { id };
  },

  async "agent.decline"({ id }, { actor, sql, audit }) {
    const { count } = await sql`
      delete from agent_offers f using principals a
      where f.agent_id = ${id} and a.id = f.agent_id
        and (f.to_id in (${managedOwners(sql, actor)}) or a.owner_id in (${managedOwners(sql, actor)}))`;
    if (count === 0) throw new Refusal("NOT_FOUND", NO_OFFER);
    audit.target = id;
    return { id };
  },
};
