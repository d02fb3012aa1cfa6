import type { Sql } from "../packages/server/src/db.ts";

/** A space full of others, and one member whose authority does not concern them. */
export interface Crowd {
  space: { id: string; slug: string };
  member: string;
}

/** What each of the others holds: half of it in person, half by a group that ten of them share. */
const EACH = 100;
const SHARING = 10;

/**
 * Fills a new space: one member who is in `groups` groups, each with a grant of its own, and as many others as it takes
 * to hold `grants` grants. A few of the others are in the member's groups too.
 */
export async function makeCrowd(sql: Sql, { groups, grants }: { groups: number; grants: number }): Promise<Crowd> {
  const slug = Math.random().toString(36).slice(2).padEnd(12, "0").slice(0, 12);
  const id = one(await sql<{ id: string }[]>`insert into spaces (id, slug, name) values (new_id(), ${slug}, 'Crowd') returning id`);
  const users = await principals(sql, "u", grants / EACH + 1, null);
  const [member, ...others] = users as [string, ...string[]];
  const mine = await principals(sql, "g", groups, id);
  const theirs = await principals(sql, "g", others.length, id);

  await sql`insert into members (space_id, principal_id) select ${id}, p from unnest(${users}::uuid[]) p`;
  await sql`insert into group_members (group_id, principal_id) select g, ${member} from unnest(${mine}::uuid[]) g`;
  await sql`
    insert into group_members (group_id, principal_id)
    select g, p from unnest(${mine.slice(0, SHARING)}::uuid[]) g, unnest(${others.slice(0, SHARING)}::uuid[]) p`;
  await sql`
    insert into group_members (group_id, principal_id)
    select g, (${others}::uuid[])[1 + (n + i) % ${others.length}::int]
    from unnest(${theirs}::uuid[]) with ordinality t (g, n), generate_series(1, ${SHARING}::int) i`;
  await grant(sql, id, mine, 1);
  await grant(sql, id, others, EACH / 2);
  await grant(sql, id, theirs, EACH / 2);
  // Outside of a transaction: the planner knows what is there, as it does in a space that has grown.
  await sql`analyze principals, members, group_members, grants, spaces, api_keys`;
  return { space: { id, slug }, member };
}

const one = ([row]: readonly { id: string }[]): string => row?.id as string;

async function principals(sql: Sql, kind: "u" | "g", count: number, space: string | null): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    with made as (select new_id() as id from generate_series(1, ${count}::int))
    insert into principals (id, kind, name, space_id) select id, ${kind}, 'n ' || id, ${space}::uuid from made returning id`;
  return rows.map(({ id }) => id);
}

const grant = (sql: Sql, space: string, to: string[], each: number) => sql`
  insert into grants (id, space_id, principal_id, permission)
  select new_id(), ${space}, p, 'write:docs:' || p || '/' || i from unnest(${to}::uuid[]) p, generate_series(1, ${each}::int) i`;
