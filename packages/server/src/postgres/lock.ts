import { readdir, readFile, rm, truncate } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { linkWhole } from "./place.ts";
import { startOf } from "./process.ts";

/** The lock, taken; or the pid of the process that holds it. */
export type Lock = { release(): Promise<void>; holder?: undefined } | { holder: number };

/**
 * Takes the lock of a data folder for this process. It needs no release by a process that dies.
 *
 * The holder is named by the highest of the numbered files beside `file`. To take the lock is to make the next one, which
 * only one process can; nothing is removed to take it, so nobody can remove what another has just taken.
 */
export async function takeLock(file: string): Promise<Lock> {
  const mine = `${process.pid}\n${await startOf(process.pid)}`;
  for (;;) {
    const last = (await numbersOf(file)).at(-1) ?? 0;
    const holder = await holderOf(pathOf(file, last));
    if (holder !== undefined) return { holder };
    const number = last + 1;
    const path = pathOf(file, number);
    if (!(await linkWhole(path, mine, 0o644))) continue;
    // What we saw may have been long gone when we made ours: then there are higher ones, and ours counts for nothing.
    const numbers = await numbersOf(file);
    if (numbers.at(-1) !== number) {
      await rm(path, { force: true });
      continue;
    }
    for (const old of numbers.slice(0, -1)) await rm(pathOf(file, old), { force: true });
    // Emptied, not removed: a number is never used twice, or a slow process could take it for one it saw before.
    return { release: () => truncate(path).catch(() => {}) };
  }
}

/** The file of a number; 0 is the one file that earlier versions had. */
const pathOf = (file: string, number: number) => (number === 0 ? file : `${file}.${number}`);

async function numbersOf(file: string): Promise<number[]> {
  const prefix = basename(file);
  const names = (await readdir(dirname(file))).filter((name) => name.startsWith(prefix));
  return names
    .map((name) => name.slice(prefix.length))
    .filter((rest) => /^(\.[1-9]\d*)?$/.test(rest))
    .map((rest) => Number(rest.slice(1)))
    .sort((a, b) => a - b);
}

/** The pid that a lock names; one whose process is gone names nothing, even when its pid is used again. */
async function holderOf(path: string): Promise<number | undefined> {
  const [pid = "", start] = (await readFile(path, "utf8").catch(() => "")).split("\n");
  return pid && (await startOf(Number(pid))) === start ? Number(pid) : undefined;
}
