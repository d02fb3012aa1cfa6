import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate, openConfiguredDatabase, openDatabase, readConfig } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";

type Database = Awaited<ReturnType<typeof openConfiguredDatabase>>;
type Sql = Parameters<Parameters<Database["sql"]["begin"]>[0]>[0];

// A Postgres of its own: the connections that these tests hold at once would starve other files of theirs.
let folder: string;
let database: Database;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-admins-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
  database = await openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
  await migrate(database.sql);
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

/** Makes a space with as many users who are admins. @returns its id and theirs */
async function makeSpace(admins: number): Promise<{ space: string; users: string[] }> {
  const { sql } = database;
  return sql.begin(async (tx) => {
    const [row] = await tx<{ id: string }[]>`
      insert into spaces (id, slug, name) values (new_id(), substr(md5(random()::text), 1, 12), 'crowded') returning id`;
    const space = row?.id as string;
    const users = await tx<{ id: string }[]>`
      insert into auth."user" (id, name, email) select new_id(), 'admin', gen_random_uuid() || '@example.com' from generate_series(1, ${admins})
      returning id`;
    await tx`insert into members (space_id, principal_id, admin) select ${space}, unnest(${users.map(({ id }) => id)}::uuid[]), true`;
    return { space, users: users.map(({ id }) => id) };
  });
}

const adminsOf = async (space: string) =>
  (await database.sql`select principal_id from members where space_id = ${space} and admin`).map(({ principalId }) => principalId);

/** What ends somebody's being an admin. */
const departures = {
  "is demoted": (sql: Sql, space: string, user: string) =>
    sql`update members set admin = false where space_id = ${space} and principal_id = ${user}`,
  "leaves the roster": (sql: Sql, space: string, user: string) =>
    sql`delete from members where space_id = ${space} and principal_id = ${user}`,
  "deletes the account": (sql: Sql, _space: string, user: string) => sql`delete from auth."user" where id = ${user}`,
};
type Departure = (typeof departures)[keyof typeof departures];

/** Does each change in a transaction and on a connection of its own; all are done before the first one commits. */
async function atOnce(changes: ((sql: Sql) => Promise<unknown>)[]) {
  const all = Promise.withResolvers<void>();
  let underWay = changes.length;
  const done = () => {
    if (--underWay === 0) all.resolve();
  };
  return Promise.allSettled(
    changes.map(async (change) => {
      const sql = openDatabase(database.address);
      try {
        await sql.begin(async (tx) => {
          await change(tx).finally(done);
          await all.promise;
        });
      } finally {
        await sql.end();
      }
    }),
  );
}

const lastAdmin = expect.objectContaining({ constraint_name: "last_admin" });

test.each([
  ["are demoted", [departures["is demoted"]]],
  ["go, each in another way", Object.values(departures)],
])("when all 50 admins of a space %s at once, one stays", async (_how, ways: Departure[]) => {
  const { space, users } = await makeSpace(50);
  const outcomes = await atOnce(users.map((user, i) => async (sql) => await ways[i % ways.length]?.(sql, space, user)));
  const failures = outcomes.filter((outcome) => outcome.status === "rejected").map(({ reason }) => reason);
  expect(failures).toEqual([lastAdmin]);
  expect(await adminsOf(space)).toEqual(users.filter((_, i) => outcomes[i]?.status === "rejected"));
});

test.each(Object.entries(departures))("a space's last admin can't go: %s", async (_how, depart) => {
  const { space, users } = await makeSpace(1);
  const [user] = users as [string];
  const { sql } = database;
  // Neither a member who is no admin nor an agent who is one can take the place.
  const other = (await makeSpace(1)).users[0] as string;
  await sql`insert into members (space_id, principal_id) values (${space}, ${other})`;
  await sql`
    with agent as (insert into principals (id, kind, name, owner_id) values (new_id(), 'a', 'caretaker', ${other}) returning id)
    insert into members (space_id, principal_id, admin) select ${space}, id, true from agent`;
  const before = await adminsOf(space);
  await expect(sql.begin((tx) => depart(tx, space, user))).rejects.toEqual(lastAdmin);
  expect(await adminsOf(space)).toEqual(before);
  await sql`update members set admin = true where space_id = ${space} and principal_id = ${other}`;
  await sql.begin((tx) => depart(tx, space, user));
  expect(await adminsOf(space)).not.toContain(user);
});

test("a space may go with its last admin in it", async () => {
  const { space } = await makeSpace(1);
  await database.sql`delete from spaces where id = ${space}`;
  expect(await adminsOf(space)).toEqual([]);
});
