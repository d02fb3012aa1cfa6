import type { insideSpaceMethods, Member, PrincipalRef, principalMethods } from "@gatehouse/protocol";
import { keyOf, standingOf } from "../actor.ts";
import type { Fragment } from "../db.ts";
import { known } from "../known.ts";
import { namedTo, seesGroups } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import { joinSpace } from "./join.ts";
import { one, paged } from "./rows.ts";

/** Most principals of one name that are told. */
const MOST_RESOLVED = 100;
const NOT_A_MEMBER = "There is no such member. `me principal list` shows those there are.";

/** Lines of the full roster, in the order of ids. */
async function roster({ sql, actor }: At, which: { id: string } | { after: string | undefined; limit: number }): Promise<Member[]> {
  const members = await sql<Member[]>`
    select p.id, p.kind, p.name, u.email, m.admin, m.created_at as added_at,
           case when o.id is not null then json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) end as owner
    from live_members m
    join principals p on p.id = m.principal_id
    left join auth."user" u on u.id = p.id
    left join principals o on o.id = p.owner_id
    where m.space_id = ${standingOf(actor).space.id}
      ${"id" in which ? sql`and p.id = ${which.id}` : sql`and (${which.after ?? null}::uuid is null or m.principal_id > ${which.after ?? null}) order by m.principal_id limit ${which.limit + 1}`}`;
  return members.map((member) => ({ ...member, owner: member.owner && namedTo(actor, member.owner) }));
}

/** Members and groups of a caller's space: those of which a condition on `p` is true. Nobody else's are looked at. */
function named({ sql, actor }: At, which: Fragment, most: number) {
  const { id } = standingOf(actor).space;
  return sql<PrincipalRef[]>`
    select p.id, p.kind, p.name from live_members m join principals p on p.id = m.principal_id where m.space_id = ${id} and ${which}
    union select p.id, p.kind, p.name from principals p where p.space_id = ${id} and (p.kind <> 'g' or ${seesGroups(actor)}) and ${which}
    order by id limit ${most}`;
}

/** A member named by id. @throws Refusal NOT_FOUND */
async function memberOf(at: At, id: string): Promise<Member> {
  return one(await roster(at, { id }), NOT_A_MEMBER);
}

/** Takes a member off the roster. Who before what they are in: the order in which changes of their own, and gifts to them, take both. */
async function takeOff({ sql, actor }: At, principal: string): Promise<void> {
  await sql`select hold_alone(${principal})`;
  await sql`delete from members where space_id = ${standingOf(actor).space.id} and principal_id = ${principal}`;
}

export const insideSpaceHandlers: Handlers<typeof insideSpaceMethods> = {
  async "space.get"(_input, { actor }) {
    const { space, admin } = standingOf(actor);
    return { ...space, admin };
  },

  async "space.members"({ after, limit }, at) {
    const { rows, next } = paged(await roster(at, { after, limit }), limit);
    return { members: rows.map(({ id, kind, name }) => ({ id, kind, name })), next };
  },

  async "space.leave"(_input, at) {
    const { space } = standingOf(at.actor);
    await takeOff(at, at.actor.principal.id);
    at.audit.target = at.actor.principal.id;
    return { slug: space.slug };
  },
};

export const principalHandlers: Handlers<typeof principalMethods> = {
  async "principal.list"({ after, limit }, at) {
    const { rows, next } = paged(await roster(at, { after, limit }), limit);
    return { members: rows, next };
  },

  async "principal.add"({ principal }, at) {
    const { sql, actor } = at;
    const { space } = standingOf(actor);
    await known(at, principal, "u", "a");
    await joinSpace(sql, space.id, principal, keyOf(actor));
    at.audit.target = principal;
    return memberOf(at, principal);
  },

  async "principal.setAdmin"({ principal, admin }, at) {
    const { kind } = await memberOf(at, principal);
    if (kind !== "u") throw new Refusal("NOT_FOUND", "Only a user can be admin of a space. Give an agent what it needs: me access grant");
    await at.sql`
      update members set admin = ${admin}, key_id = case when not ${admin} then key_id end
      where space_id = ${standingOf(at.actor).space.id} and principal_id = ${principal}`;
    at.audit.target = `${principal} admin=${admin}`;
    return memberOf(at, principal);
  },

  async "principal.remove"({ principal }, at) {
    const { kind } = await memberOf(at, principal);
    if (kind === "s") throw new Refusal("CONFLICT", "The service belongs to the space. Revoke its keys: me secretkey revoke");
    await takeOff(at, principal);
    at.audit.target = principal;
    return { id: principal };
  },

  async "principal.resolve"({ name }, at) {
    return { principals: [...(await named(at, at.sql`p.folded_name = (select name_key(${name}))`, MOST_RESOLVED))] };
  },

  async "principal.lookup"({ ids }, at) {
    return { principals: [...(await named(at, at.sql`p.id = any(${ids}::uuid[])`, ids.length))] };
  },
};
