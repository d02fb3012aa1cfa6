import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { takeLock } from "./lock.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-lock-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("of many that take a lock at once, be it free, stale or just released, exactly one gets it", async () => {
  const file = join(folder, "server.lock");
  for (let round = 0; round < 200; round++) {
    // Of a process that is gone: the pid is ours now, but it started at another time.
    if (round % 2 === 0) await writeFile(`${file}.${1000 * (round + 1)}`, `${process.pid}\nanother start time`);
    const locks = await Promise.all(Array.from({ length: 8 }, () => takeLock(file)));
    const taken = locks.filter((lock) => lock.holder === undefined);
    expect(taken).toHaveLength(1);
    for (const lock of locks) if (lock.holder !== undefined) expect(lock.holder).toBe(process.pid);
    expect(await takeLock(file)).toEqual({ holder: process.pid });
    await taken[0]?.release();
  }
  expect(await readdir(folder)).toHaveLength(1);
});

test("a lock of an earlier version, which had no number, holds too", async () => {
  const file = join(folder, "earlier.lock");
  const probe = await takeLock(join(folder, "probe.lock"));
  expect(probe.holder).toBeUndefined();
  await writeFile(file, await Bun.file(join(folder, "probe.lock.1")).text());
  expect(await takeLock(file)).toEqual({ holder: process.pid });
});
