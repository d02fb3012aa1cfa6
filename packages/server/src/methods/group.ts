import type { Group, groupMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { keyOf, standingOf } from "../actor.ts";
import type { Sql } from "../db.ts";
import { known, nameFor } from "../known.ts";
import { namedTo } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import { joinGroup } from "./join.ts";
import { FIRST, one, paged } from "./rows.ts";

/** The group named, which must be one of this space. @throws Refusal NOT_FOUND */
async function groupOf({ sql, actor }: At, id: string): Promise<{ id: string; name: string }> {
  const found = await sql<{ id: string; name: string }[]>`
    select id, name from principals where id = ${id} and kind = 'g' and space_id = ${standingOf(actor).space.id}`;
  return one(found, "There is no such group. `me group list` shows those there are.");
}

/** Holds a member of a group before their place in it: an offer of its agents that they are making is there then, and ends with it. */
const holdMember = (sql: Sql, group: string, member: string) => sql`
  select from principals where id = (select principal_id from group_members where group_id = ${group} and principal_id = ${member})
  for no key update`;

const NOT_IN_GROUP = "They are not in this group. `me group members` shows who is.";

export const groupHandlers: Handlers<typeof groupMethods> = {
  async "group.create"({ name }, { actor, sql, audit }) {
    const id = uuidv7();
    await sql`insert into principals (id, kind, name, space_id) values (${id}, 'g', ${name}, ${standingOf(actor).space.id})`;
    audit.target = id;
    return { id, name };
  },

  async "group.list"({ after, limit }, { actor, sql }) {
    const found = await sql<Group[]>`
      select * from (
        select id, name, created_at from principals
        where kind = 'g' and space_id = ${standingOf(actor).space.id} and id > ${after ?? FIRST} offset 0
      ) ours order by id limit ${limit + 1}`;
    const { rows, next } = paged(found, limit);
    return { groups: rows, next };
  },

  async "group.rename"({ group, name }, at) {
    const { id } = await groupOf(at, group);
    await at.sql`update principals set name = ${name} where id = ${id}`;
    at.audit.target = id;
    return { id, name };
  },

  async "group.delete"({ group }, at) {
    const { id } = await groupOf(at, group);
    await at.sql`delete from principals where id = ${id}`;
    at.audit.target = id;
    return { id };
  },

  async "group.addMember"({ group, member }, at) {
    const { sql, actor } = at;
    const { id } = await groupOf(at, group);
    await known(at, member, "u", "a");
    await joinGroup(sql, standingOf(actor).space.id, id, member, keyOf(actor));
    at.audit.target = `${id} ${member}`;
    return { group: id, member };
  },

  async "group.removeMember"({ group, member }, at) {
    const { id } = await groupOf(at, group);
    await holdMember(at.sql, id, member);
    const { count } = await at.sql`delete from group_members where group_id = ${id} and principal_id = ${member}`;
    if (count === 0) throw new Refusal("NOT_FOUND", NOT_IN_GROUP);
    at.audit.target = `${id} ${member}`;
    return { group: id, member };
  },

  async "group.setMemberAdmin"({ group, member, admin }, at) {
    const { id } = await groupOf(at, group);
    await holdMember(at.sql, id, member);
    const { count } = await at.sql`
      update group_members gm set admin = ${admin}, key_id = case when not ${admin} then gm.key_id end from principals p
      where gm.group_id = ${id} and gm.principal_id = ${member} and p.id = gm.principal_id and p.kind = 'u' and key_lives(gm.key_id)`;
    if (count === 0) throw new Refusal("NOT_FOUND", `No such user is in this group. Only a user can be its admin.`);
    at.audit.target = `${id} ${member} admin=${admin}`;
    return { group: id, member, admin };
  },

  async "group.listMembers"({ group, after, limit }, at) {
    const { id } = await groupOf(at, group);
    const found = await at.sql<{ id: string; kind: "u" | "a"; name: string; admin: boolean; inSpace: boolean }[]>`
      select p.id, p.kind, ${nameFor(at)} as name, gm.admin, m.principal_id is not null as in_space
      from live_group_members gm
      join principals p on p.id = gm.principal_id
      left join live_members m on m.principal_id = p.id and m.space_id = ${standingOf(at.actor).space.id}
      where gm.group_id = ${id} and gm.principal_id > ${after ?? FIRST} order by gm.principal_id limit ${limit + 1}`;
    const members = found.map((member) => namedTo(at.actor, member));
    const { rows, next } = paged(members, limit);
    return { members: rows, next };
  },

  async "group.listForMember"({ member, after, limit }, { actor, sql }) {
    const found = await sql<(Group & { admin: boolean })[]>`
      select p.id, p.name, p.created_at, gm.admin from live_group_members gm join principals p on p.id = gm.group_id
      where gm.principal_id = ${member ?? actor.principal.id} and p.space_id = ${standingOf(actor).space.id}
        and gm.group_id > ${after ?? FIRST} order by gm.group_id limit ${limit + 1}`;
    const { rows, next } = paged(found, limit);
    return { groups: rows, next };
  },
};
