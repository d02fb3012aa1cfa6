import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MigrationError, migrate, openDatabase } from "@gatehouse/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeDatabase, startTestServer } from "./harness.ts";

let folder: string;
let databaseUrl: string;
let sql: ReturnType<typeof openDatabase>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-migrations-"));
  databaseUrl = await makeDatabase();
  sql = openDatabase(databaseUrl);
});
afterEach(async () => {
  await sql.end();
  await rm(folder, { recursive: true, force: true });
});

const write = (name: string, text: string) => writeFile(join(folder, name), text);
const tables = async () =>
  (await sql<{ name: string }[]>`select table_name as name from information_schema.tables where table_schema = 'public' order by 1`).map(
    ({ name }) => name,
  );

test("four servers that start at once on one empty database all come up, on one schema", async () => {
  const servers = await Promise.all(Array.from({ length: 4 }, () => startTestServer({ DATABASE_URL: databaseUrl })));
  try {
    const [one, ...others] = servers as [(typeof servers)[number], ...typeof servers];
    const user = await one.user("Alice");
    for (const other of others) expect((await other.call(user.session, "whoami")).result).toMatchObject({ id: user.id });
    const applied = await sql`select id from migrations order by id`;
    expect(applied.map(({ id }) => id)).toEqual(applied.map((_, i) => i + 1));
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

test("migrations are applied once, in order, and new ones later", async () => {
  await write("0002_second.sql", "alter table first add column b int;");
  await write("0001_first.sql", "create table first (a int);");
  expect(await migrate(sql, folder)).toEqual(["0001_first", "0002_second"]);
  expect(await migrate(sql, folder)).toEqual([]);
  await write("0003_third.sql", "create table third ();");
  expect(await migrate(sql, folder)).toEqual(["0003_third"]);
});

test("a migration that fails leaves nothing of itself, or of those before it in the same start", async () => {
  await write("0001_first.sql", "create table first ();");
  await write("0002_second.sql", "create table second (); create table first ();");
  await expect(migrate(sql, folder)).rejects.toThrow(/already exists/);
  expect(await tables()).toEqual([]);
});

test("a migration that was changed after it was applied is refused, by name, and nothing after it is done", async () => {
  await write("0001_first.sql", "create table first ();");
  await migrate(sql, folder);
  await appendFile(join(folder, "0001_first.sql"), "-- as if nothing were");
  await write("0002_second.sql", "create table second ();");
  await expect(migrate(sql, folder)).rejects.toThrow(MigrationError);
  await expect(migrate(sql, folder)).rejects.toThrow(/0001_first was changed/);
  expect(await tables()).toEqual(["first", "migrations"]);
});

test("a migration put in before one that was applied is refused", async () => {
  await write("0002_second.sql", "create table second ();");
  await migrate(sql, folder);
  await write("0001_first.sql", "create table first ();");
  await expect(migrate(sql, folder)).rejects.toThrow(MigrationError);
  expect(await tables()).toEqual(["migrations", "second"]);
});

test.each([
  { what: "was migrated from another text", change: "update migrations set checksum = repeat('0', 64) where id = 1", says: /was changed/ },
  {
    what: "is newer than the code",
    change: "insert into migrations select max(id) + 1, '9999_future', repeat('0', 64) from migrations",
    says: /9999_future, which this version does not know/,
  },
])("a server refuses to start on a database that $what", async ({ change, says }) => {
  await (await startTestServer({ DATABASE_URL: databaseUrl })).close();
  await sql.unsafe(change);
  await expect(startTestServer({ DATABASE_URL: databaseUrl })).rejects.toThrow(MigrationError);
  await expect(startTestServer({ DATABASE_URL: databaseUrl })).rejects.toThrow(says);
});

test("a server whose database was migrated past it says that it can't answer calls", async () => {
  const server = await startTestServer({ DATABASE_URL: databaseUrl });
  try {
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    await sql`insert into migrations select max(id) + 1, '9999_future', repeat('0', 64) from migrations`;
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  } finally {
    await server.close();
  }
});
