import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openConfiguredDatabase, readConfig } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";

// Where people keep their data: the embedded Postgres starts in any folder that the file system allows.

/** Longest path of a socket, in bytes; the shortest of Linux and macOS. */
const MOST_BYTES = 103;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gh-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Starts a database in a data folder, twice, and writes to it. @returns the folders of its socket */
async function useTwice(data: string): Promise<string[]> {
  const config = readConfig({ GATEHOUSE_DATA: data });
  const sockets: string[] = [];
  for (const round of [1, 2]) {
    const { address, sql, close } = await openConfiguredDatabase(config);
    sockets.push(new URL(address).searchParams.get("host") as string);
    try {
      await sql`create table if not exists kept (round int)`;
      await sql`insert into kept values (${round})`;
      expect(await sql`select count(*)::int as n from kept`).toEqual([{ n: round }]);
      // A second process finds it by the same folder.
      const joined = await openConfiguredDatabase(config, { join: true });
      expect(await joined.sql`select count(*)::int as n from kept`).toEqual([{ n: round }]);
      await joined.close();
    } finally {
      await close();
    }
  }
  return sockets;
}

test.each([
  ["of 28 Chinese characters", "数".repeat(28)],
  ["of 60 Chinese characters", "据".repeat(60)],
  ["with spaces, at its ends too", "  my own data "],
  ["with quotes", `it's "mine" \``],
  ["with what URLs escape", "100%25 #1 ?a=b&c=d;e+f@g:h"],
  ["with commas", 'a,b,"c",'],
  ["with what a shell expands", "$HOME $(id) ~ * {a,b} ! \\n"],
  ["with composed and decomposed letters, and emoji", "Cafe\u0301 Café 🦉👩‍👩‍👧"],
])("a data folder %s", async (_what, name) => {
  const data = join(folder, name);
  const [socket] = await useTwice(data);
  expect(Buffer.byteLength(join(socket as string, ".s.PGSQL.5432"))).toBeLessThanOrEqual(MOST_BYTES + 4);
  if (!socket?.startsWith(data)) expect(existsSync(socket as string), "the short folder is removed").toBe(false);
});

test.each([MOST_BYTES - 1, MOST_BYTES, MOST_BYTES + 1, MOST_BYTES + 4, MOST_BYTES + 5])(
  "a data folder whose socket would have a path of %i bytes",
  async (bytes) => {
    const inside = join("postgres", "run", ".s.PGSQL.5432");
    const name = "é".repeat(20);
    const parent = join(folder, String(bytes));
    await mkdir(parent, { mode: 0o755 });
    const data = join(parent, name + "x".repeat(bytes - Buffer.byteLength(join(parent, name, inside))));
    expect(Buffer.byteLength(join(data, inside))).toBe(bytes);
    const [first, second] = await useTwice(data);
    expect(first).toBe(second);
    if (bytes <= MOST_BYTES) expect(first).toBe(join(data, "postgres", "run"));
  },
);
