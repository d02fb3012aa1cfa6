import { createHash, randomBytes } from "node:crypto";
import { type Invite, type invitedMethods, type inviteMethods, type PendingInvite, parsePermission } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { type Actor, keyOf, standingOf } from "../actor.ts";
import { exceeding } from "../bounds.ts";
import type { Sql } from "../db.ts";
import { answerQuestion } from "../explain.ts";
import { countRows } from "../meter.ts";
import { seesGroups } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { readStanding } from "../standing.ts";
import { joinGroup, joinSpace } from "./join.ts";
import { FIRST, fitting, one, paged, pageOf } from "./rows.ts";

const hash = (token: string): Uint8Array => new Uint8Array(createHash("sha256").update(token).digest());

/** Bytes of an invitation in a page, and of each group that it names: about as many as with the longest names. */
const ROW_BYTES = 800;
const GROUP_BYTES = 330;

/** Invitations that can still be accepted. */
const open = (sql: Sql) => sql`i.expires_at > now() and key_lives(i.key_id)`;

/** Whether an invitation is to an address that the user has verified. */
const toMe = (sql: Sql, userId: string) => sql`i.email = (select u.email from auth."user" u where u.id = ${userId} and u."emailVerified")`;

const NO_INVITE =
  "There is no such invitation: it may have been taken back, or have expired, or its maker may not invite any more. Ask for another.";

export const inviteHandlers: Handlers<typeof inviteMethods> = {
  async "invite.create"({ email, groups, expiresInHours }, { actor, sql, audit }) {
    const { space } = standingOf(actor);
    const found = await sql<{ id: string }[]>`
      select id from principals where kind = 'g' and space_id = ${space.id} and id = any(${groups}::uuid[])`;
    if (found.length < new Set(groups).size) throw new Refusal("NOT_FOUND", "One of these groups is not in this space.");
    const id = uuidv7();
    const token = email === undefined ? randomBytes(24).toString("base64url") : null;
    // One that has expired no longer stands in the way of another.
    await sql`delete from invites i where i.space_id = ${space.id} and not (${open(sql)})`;
    await sql`
      insert into invites (id, space_id, email, token_hash, invited_by, key_id, expires_at)
      values (${id}, ${space.id}, ${email ?? null}, ${token === null ? null : hash(token)}, ${actor.principal.id}, ${keyOf(actor)},
              now() + make_interval(hours => ${expiresInHours}))`;
    for (const group of found) await sql`insert into invite_groups (invite_id, group_id) values (${id}, ${group.id})`;
    audit.target = id;
    return { id, token };
  },

  async "invite.list"({ after, limit: asked }, { actor, sql }) {
    const limit = fitting(asked, ROW_BYTES);
    const { keys, next } = await pageOf(
      sql,
      sql`select i.id as key, ${ROW_BYTES} + ${GROUP_BYTES} * (select count(*) from invite_groups ig where ig.invite_id = i.id) as bytes
        from invites i
        where i.space_id = ${standingOf(actor).space.id} and ${open(sql)} and i.id > ${after ?? FIRST} order by i.id limit ${limit + 1}`,
      limit,
    );
    const invites = await sql<Invite[]>`
      select i.id, i.email, i.expires_at, i.created_at,
             case when b.id is not null then json_build_object('id', b.id, 'kind', b.kind, 'name', b.name) end as invited_by,
             coalesce((select json_agg(json_build_object('id', g.id, 'kind', g.kind, 'name', g.name) order by lower(g.name))
                       from invite_groups ig join principals g on g.id = ig.group_id where ig.invite_id = i.id and ${seesGroups(actor)}), '[]') as groups
      from invites i left join principals b on b.id = i.invited_by
      where i.id = any(${keys}::uuid[]) order by i.id`;
    // Each names its groups, which were counted and read.
    countRows(invites.reduce((rows, { groups }) => rows + groups.length, limit));
    return { invites, next };
  },

  async "invite.revoke"({ id }, { actor, sql, audit }) {
    const { count } = await sql`delete from invites where id = ${id} and space_id = ${standingOf(actor).space.id}`;
    if (count === 0) throw new Refusal("NOT_FOUND", NO_INVITE);
    audit.target = id;
    return { id };
  },
};

interface Accepted {
  id: string;
  spaceId: string;
  invitedBy: string;
  keyId: string | null;
  groups: string[];
}

/** Holds what accepting an invitation will refer to, in the order in which it is deleted: whoever deletes it waits, or is waited for. */
async function hold(sql: Sql, which: ReturnType<typeof open>): Promise<void> {
  await sql`select from spaces where id = (select i.space_id from invites i where ${which}) for key share`;
  await sql`select from api_keys where id = (select i.key_id from invites i where ${which}) for key share`;
  await sql`
    select from principals where id in (select ig.group_id from invite_groups ig join invites i on i.id = ig.invite_id where ${which})
    order by id for key share`;
}

/** The maker of an invitation as they are now, limited as the key is that they made it by. */
async function inviterOf(sql: Sql, { invitedBy, keyId, spaceId }: Accepted): Promise<Actor> {
  const { ceiling, ...principal } = one(
    await sql<(Actor["principal"] & { ceiling: string[] | null })[]>`
      select p.id, p.kind, p.name, null as email, k.ceiling from principals p left join api_keys k on k.id = ${keyId} where p.id = ${invitedBy}`,
    NO_INVITE,
  );
  const via = keyId === null ? "session" : ({ u: "pat", a: "agent_key", s: "secret_key" } as const)[principal.kind];
  const inviter: Actor = {
    principal,
    owner: null,
    credential: { via, id: keyId ?? "", expiresAt: null, ceiling: ceiling?.map(parsePermission) ?? null },
  };
  return { ...inviter, standing: await readStanding(sql, { id: spaceId }, inviter) };
}

/**
 * An invitation gives what its maker could give at this moment: the policy's row for making one is asked again. One that a
 * key made lets in nobody who would then hold what the key may not do.
 * @throws Refusal NOT_FOUND where its maker may not make it any more; FORBIDDEN
 */
async function mustStillInvite(sql: Sql, userId: string, invite: Accepted): Promise<void> {
  const { keyId, spaceId, groups } = invite;
  const inviter = await inviterOf(sql, invite);
  const still = inviter.standing && (await answerQuestion({ method: "invite.create", params: { groups } }, { actor: inviter, sql }));
  if (!still?.allowed) throw new Refusal("NOT_FOUND", NO_INVITE);
  if (keyId === null) return;
  const [row] = await sql<{ held: string[] }[]>`select held(${spaceId}, ${userId}, false) as held`;
  if (exceeding(inviter, (row?.held ?? []).map(parsePermission)).length === 0) return;
  throw new Refusal(
    "FORBIDDEN",
    "A key made this invitation, and may not let in somebody whom more awaits than it may do itself. Ask for one from a person.",
    { reason: "exceeds" },
  );
}

export const invitedHandlers: Handlers<typeof invitedMethods> = {
  async "invite.pending"({ after, limit }, { actor, sql }) {
    const found = await sql<PendingInvite[]>`
      select i.id, json_build_object('slug', s.slug, 'name', s.name) as space, b.name as invited_by, i.expires_at
      from invites i join spaces s on s.id = i.space_id left join principals b on b.id = i.invited_by
      where ${open(sql)} and ${toMe(sql, actor.principal.id)} and i.id > ${after ?? FIRST} order by i.id limit ${limit + 1}`;
    const { rows, next } = paged(found, limit);
    return { invites: rows, next };
  },

  async "invite.accept"({ id, token }, { actor, sql, audit }) {
    const me = actor.principal.id;
    const which = token === undefined ? sql`i.id = ${id as string} and ${toMe(sql, me)}` : sql`i.token_hash = ${hash(token)}`;
    await hold(sql, which);
    // Gone in the same statement: an invitation is accepted once, and not after it was taken back.
    const invite = one(
      await sql<Accepted[]>`
        delete from invites i where ${which} and ${open(sql)}
        returning i.id, i.space_id, i.invited_by, i.key_id, array(select group_id from invite_groups where invite_id = i.id) as groups`,
      NO_INVITE,
    );
    await mustStillInvite(sql, me, invite);
    await joinSpace(sql, invite.spaceId, me, invite.keyId);
    for (const group of invite.groups) await joinGroup(sql, invite.spaceId, group, me, invite.keyId);
    Object.assign(audit, { target: invite.id, spaceId: invite.spaceId });
    return { space: one(await sql<{ slug: string; name: string }[]>`select slug, name from spaces where id = ${invite.spaceId}`) };
  },

  async "invite.decline"({ id }, { actor, sql, audit }) {
    const invite = one(
      await sql<{ spaceId: string }[]>`delete from invites i where i.id = ${id} and ${toMe(sql, actor.principal.id)} returning i.space_id`,
      NO_INVITE,
    );
    Object.assign(audit, { target: id, spaceId: invite.spaceId });
    return { id };
  },
};
