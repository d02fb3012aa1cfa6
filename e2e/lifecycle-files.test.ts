import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, chown, lstat, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { type Home, ME, makeHome, me, meJson, start, startUp, until } from "./run.ts";

// Whose the files of the embedded Postgres are. As root it runs as another user, whom root must not be misled by.

const US = process.getuid?.() ?? -1;
const POSTGRES = US === 0 ? 65534 : US;
const leftovers: string[] = [];
afterEach(async () => {
  for (const left of leftovers.splice(0)) await rm(left, { recursive: true, force: true });
});

const dataOf = (home: Home) => join(home.folder, "share", "gatehouse");
const postgresOf = (home: Home) => join(dataOf(home), "postgres");
const ownerOf = async (path: string) => (await lstat(path)).uid;
/** Where a server that started says its database lies. */
const databaseOf = (stderr: string) => (JSON.parse(/^\{.*"listening".*$/m.exec(stderr)?.[0] ?? "") as { database: string }).database;

/** Runs a program as the user that Postgres runs as. */
async function asPostgres(command: string, ...args: string[]): Promise<number | null> {
  const [code] = await once(
    spawn(command, args, US === 0 ? { uid: POSTGRES, gid: POSTGRES, stdio: "ignore" } : { stdio: "ignore" }),
    "close",
  );
  return code as number | null;
}

/** A home that no other user can look into: root keeps its database elsewhere. */
async function closedHome(): Promise<Home> {
  const home = await makeHome();
  await chmod(home.folder, 0o700);
  return home;
}

test("only the cluster and the socket's folder are of the user that Postgres runs as", async () => {
  const home = await makeHome();
  const server = await startUp(home);
  const owners = { data: POSTGRES, run: POSTGRES, "postgres.log": US, "": US };
  for (const [name, owner] of Object.entries(owners))
    expect({ name, owner: await ownerOf(join(postgresOf(home), name)) }).toEqual({ name, owner });
  await server.stop();
  const planted = join(postgresOf(home), "planted");
  await asPostgres("/bin/ln", "-s", "/etc/passwd", planted);
  expect(existsSync(planted)).toBe(US !== 0);
});

test("a log that is a link is not written through, not even in a folder that was Postgres's user's", async () => {
  const home = await makeHome();
  await (await startUp(home)).stop();
  const victim = join(home.folder, "victim");
  await writeFile(victim, "precious");
  await chown(postgresOf(home), POSTGRES, -1);
  await rm(join(postgresOf(home), "postgres.log"));
  expect(await asPostgres("/bin/ln", "-s", victim, join(postgresOf(home), "postgres.log"))).toBe(0);
  await (await startUp(home)).stop();
  expect(await readFile(victim, "utf8")).toBe("precious");
  expect(await ownerOf(victim)).toBe(US);
  expect(await ownerOf(postgresOf(home))).toBe(US);
});

test.each(["data", "run"])("a link in the place of the folder %s is refused, and what it leads to stays as it is", async (name) => {
  const home = await makeHome();
  await (await startUp(home)).stop();
  const victim = join(home.folder, "victim");
  await mkdir(victim, { mode: 0o755 });
  const folder = join(postgresOf(home), name);
  await rename(folder, `${folder}.moved`);
  await symlink(victim, folder);
  const { code, stderr } = await me(home, ["up"], { env: { PORT: "0" } });
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(`${folder} is not a folder of ours.`) });
  expect(await lstat(victim)).toMatchObject({ uid: US, mode: 0o40755 });
});

test("under a umask that closes everything to others, in a home that is closed to them, it starts and starts again", async () => {
  const home = await closedHome();
  for (let round = 0; round < 2; round++) {
    const up = start("/bin/sh", ["-c", 'umask 077; exec "$@"', "sh", process.execPath, ME, "up"], { ...home.env, PORT: "0" });
    await until(up.stderr, () => up.stderr().includes("Ready: ") || up.child.exitCode !== null);
    leftovers.push(databaseOf(up.stderr()));
    expect(await meJson(home, ["whoami"])).toMatchObject({ name: "Local owner" });
    up.child.kill("SIGTERM");
    expect(await up.finished).toMatchObject({ code: 0 });
  }
});

test("a database without its password is told at once, with both places and what to do", async () => {
  const home = await closedHome();
  const first = await startUp(home);
  const database = databaseOf(first.stderr());
  leftovers.push(database);
  await first.stop();
  const file = join(dataOf(home), "postgres.password");
  await rm(US === 0 ? dataOf(home) : file, { recursive: true });
  for (const password of [undefined, "another"]) {
    if (password) await writeFile(file, password);
    const { code, stderr } = await me(home, ["up"], { env: { PORT: "0" } });
    expect(code).toBe(1);
    expect(stderr).toContain(`There is a database in ${database}, but ${file}, which holds its password,`);
  }
});
