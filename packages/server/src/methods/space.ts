import { randomInt } from "node:crypto";
import type { Space, spaceMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import { FIRST, type PageParams, paged } from "./rows.ts";

const SLUG_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789";
const makeSlug = () => Array.from({ length: 12 }, () => SLUG_ALPHABET[randomInt(SLUG_ALPHABET.length)]).join("");

/** The spaces whose roster holds a principal: the one of a slug, or one more than a page holds. */
export const spacesOf = (sql: Sql, principalId: string, which: { slug: string } | PageParams): Promise<Space[]> => sql<Space[]>`
  select s.id, s.slug, s.name, m.admin, s.created_at
  from live_members m join spaces s on s.id = m.space_id
  where m.principal_id = ${principalId}
    ${"slug" in which ? sql`and s.slug = ${which.slug}` : sql`and m.space_id > ${which.after ?? FIRST} order by m.space_id limit ${which.limit + 1}`}`;

/** Makes a space with its first admin. @returns its slug */
export async function createSpace(sql: Sql, adminId: string, name: string): Promise<string> {
  const slug = makeSlug();
  await sql`
    with space as (insert into spaces (id, slug, name, created_by) values (${uuidv7()}, ${slug}, ${name}, ${adminId}) returning id)
    insert into members (space_id, principal_id, admin) select id, ${adminId}, true from space`;
  return slug;
}

async function spaceOf(sql: Sql, principalId: string, slug: string): Promise<Space> {
  const [space] = await spacesOf(sql, principalId, { slug });
  if (!space) throw new Refusal("NOT_FOUND");
  return space;
}

export const spaceHandlers: Handlers<typeof spaceMethods> = {
  async "space.list"({ after, limit }, { actor, sql }) {
    const { space: slug } = actor.credential;
    const found = await spacesOf(sql, actor.principal.id, slug === undefined ? { after, limit } : { slug });
    const { rows, next } = paged(found, limit);
    return { spaces: rows, next };
  },

  async "space.create"({ name }, { actor, sql, audit }) {
    const slug = await createSpace(sql, actor.principal.id, name);
    const space = await spaceOf(sql, actor.principal.id, slug);
    Object.assign(audit, { target: slug, spaceId: space.id });
    return space;
  },

  async "space.rename"({ slug, name }, { actor, sql, audit }) {
    await sql`update spaces set name = ${name} where slug = ${slug}`;
    const space = await spaceOf(sql, actor.principal.id, slug);
    Object.assign(audit, { target: slug, spaceId: space.id });
    return space;
  },

  async "space.delete"({ slug }, { actor, sql, audit }) {
    const { id } = await spaceOf(sql, actor.principal.id, slug);
    await sql`select from spaces where id = ${id} for update`;
    // Many keys may go with them: what those made is removed later.
    await sql`select set_config('gatehouse.later', 'on', true)`;
    // The agents of its groups go first: an agent always has an owner.
    await sql`delete from principals a using principals g where a.owner_id = g.id and g.space_id = ${id}`;
    await sql`delete from spaces where id = ${id}`;
    Object.assign(audit, { target: slug, spaceId: id });
    return { slug };
  },
};
