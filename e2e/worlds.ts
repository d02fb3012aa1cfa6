import { createHash, randomUUID } from "node:crypto";
import type { openDatabase } from "@gatehouse/server";
import fc from "fast-check";

type Database = ReturnType<typeof openDatabase>;

/** How a row came about: by a person, by a key that lives, or by one that has expired. */
type Tie = "person" | "key" | "dead key";

/** A space and what there is in it, by names instead of ids: u… = users, a… = agents, g… = groups. */
export interface World {
  owners: Record<string, string>;
  members: { who: string; admin: boolean; tie: Tie }[];
  inGroups: { group: string; who: string; admin: boolean; tie: Tie }[];
  grants: { to: string; permission: string; tie: Tie }[];
  /** Of the keys that callers come with. */
  ceiling: string[] | null;
  /** What is asked about each of them. */
  questions: string[];
}

/** A world as it stands in the database. */
export interface Placed {
  world: World;
  slug: string;
  /** Of everybody by name, of the space, and of root, who is an admin of it. */
  id: Record<string, string>;
}

const users = ["u0", "u1", "u2"];
export const agents = ["a0", "a1", "a2"];
const groups = ["g0", "g1"];
export const callers = [...users, ...agents];

/** A permission; `@g0` stands for the id of g0. Few enough different ones that most have to do with each other. */
const permission = fc
  .record({
    action: fc.constantFrom("read", "write", "admin"),
    rest: fc.constantFrom(
      ...["", "", ":docs", ":docs:a", ":docs:a/b", ":docs:ab", ":tasks", ":tasks:a", ":members", ":grants", ":audit", ":groups"],
      ...[":groups:@g0", ":groups:@g1"],
    ),
  })
  .map(({ action, rest }) => action + rest);

const tie = fc.constantFrom<Tie>("person", "person", "key", "dead key");
/** What a person confirms is tied to nothing: so is every admin. */
const lasting = <T extends { admin: boolean; tie: Tie; who: string }>(row: T): T => {
  const admin = row.admin && users.includes(row.who);
  return { ...row, admin, tie: admin ? "person" : row.tie };
};
const rarely = fc.integer({ max: 4, min: 0 }).map((n) => n === 4);
const some = <T>(values: readonly T[], of: (value: T) => fc.Arbitrary<unknown>) =>
  fc.tuple(...values.map((value) => fc.option(of(value)))).map((rows) => rows.filter((row) => row !== null));

export const anyWorld: fc.Arbitrary<World> = fc.record({
  owners: fc.record(Object.fromEntries(agents.map((agent) => [agent, fc.constantFrom(...users, ...groups)]))),
  members: some(callers, (who) => fc.record({ who: fc.constant(who), admin: rarely, tie }).map(lasting)) as fc.Arbitrary<World["members"]>,
  inGroups: some(
    callers.flatMap((who) => groups.map((group) => ({ who, group }))),
    ({ who, group }) => fc.record({ group: fc.constant(group), who: fc.constant(who), admin: rarely, tie }).map(lasting),
  ) as fc.Arbitrary<World["inGroups"]>,
  grants: fc.uniqueArray(fc.record({ to: fc.constantFrom(...callers, ...groups), permission, tie }), {
    maxLength: 8,
    selector: ({ to, permission }) => `${to} ${permission}`,
  }),
  ceiling: fc.option(fc.uniqueArray(permission, { minLength: 1, maxLength: 3 })),
  questions: fc.uniqueArray(permission, { minLength: 1, maxLength: 6 }),
});

/** An id as the server makes them, but for the time in it. */
export const newId = (): string => {
  const id = randomUUID();
  return `${id.slice(0, 14)}7${id.slice(15)}`;
};

const insertAll = (sql: Database, table: string, columns: string[], rows: object[]) =>
  sql`insert into ${sql(table)} (${sql(columns)})
      select ${sql(columns)} from jsonb_populate_recordset(null::${sql(table)}, ${sql.json(rows)})`;

/** The two keys that rows of worlds are tied to, and somebody who is admin of every space. */
async function makeKeys(sql: Database): Promise<{ root: string; keys: Record<Tie, string | null> }> {
  const [root, live, dead] = [newId(), newId(), newId()];
  await sql`insert into auth."user" (id, name, email) values (${root}, 'Root', ${`${root}@example.com`})`;
  const row = (id: string, expires: string | null) =>
    sql`insert into api_keys (id, principal_id, name, hash, hint, expires_at)
        values (${id}, ${root}, ${id}, ${new Uint8Array(createHash("sha256").update(id).digest())}, '', ${expires})`;
  await row(live, null);
  await row(dead, "2020-01-01T00:00:00Z");
  return { root, keys: { person: null, key: live, "dead key": dead } };
}

/** Puts worlds into the database, each as a space of its own. */
export async function place(sql: Database, worlds: readonly World[]): Promise<Placed[]> {
  const { root, keys } = await makeKeys(sql);
  const placed = worlds.map((world) => ({
    world,
    slug: newId().replaceAll("-", "").slice(-12),
    id: { root, ...Object.fromEntries(["space", ...callers, ...groups].map((name) => [name, newId()])) } as Record<string, string>,
  }));
  const rows = (of: (each: (typeof placed)[number]) => object[]) => placed.flatMap(of);
  await insertAll(
    sql,
    "spaces",
    ["id", "slug", "name"],
    rows(({ id, slug }) => [{ id: id.space, slug, name: slug }]),
  );
  const people = rows(({ id }) => users.map((u) => ({ id: id[u], name: u, email: `${id[u]}@example.com` })));
  await insertAll(sql, "auth.user", ["id", "name", "email"], people);
  await insertAll(
    sql,
    "principals",
    ["id", "kind", "name", "space_id"],
    rows(({ id }) => groups.map((g) => ({ id: id[g], kind: "g", name: g, space_id: id.space }))),
  );
  await insertAll(
    sql,
    "principals",
    ["id", "kind", "name", "owner_id"],
    rows(({ id, world }) => agents.map((a) => ({ id: id[a], kind: "a", name: a, owner_id: id[world.owners[a] as string] }))),
  );
  await insertAll(
    sql,
    "members",
    ["space_id", "principal_id", "admin", "key_id"],
    rows(({ id, world }) => [
      { space_id: id.space, principal_id: root, admin: true },
      ...world.members.map(({ who, admin, tie }) => ({ space_id: id.space, principal_id: id[who], admin, key_id: keys[tie] })),
    ]),
  );
  await insertAll(
    sql,
    "group_members",
    ["group_id", "principal_id", "admin", "key_id"],
    rows(({ id, world }) =>
      world.inGroups.map(({ group, who, admin, tie }) => ({ group_id: id[group], principal_id: id[who], admin, key_id: keys[tie] })),
    ),
  );
  await insertAll(
    sql,
    "grants",
    ["id", "space_id", "principal_id", "permission", "key_id"],
    rows(({ id, world }) =>
      world.grants.map(({ to, permission, tie }) => ({
        id: newId(),
        space_id: id.space,
        principal_id: id[to],
        permission: named(permission, id),
        key_id: keys[tie],
      })),
    ),
  );
  await sql`analyze`;
  return placed;
}

/** A permission as it is written in the database: with the ids of groups. */
export const named = (permission: string, id: Record<string, string>) => permission.replace(/@(g\d)/, (_all, g: string) => id[g] as string);
