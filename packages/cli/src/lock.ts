import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { CliError } from "./exit.ts";

const PATIENCE_MS = 30_000;
const POLL_MS = 20;
const SQLITE_BUSY = 5;

/**
 * Runs while nobody else, in this process or another, holds the lock that the file stands for.
 * SQLite locks it, and so the operating system holds the lock: it ends with its process, however that ends, and lives on
 * in one that sleeps. A lock that is only a file would have to guess which of the two it is.
 * @throws CliError when somebody else has it for half a minute
 */
export async function alone<T>(file: string, run: () => Promise<T>): Promise<T> {
  const lock = new DatabaseSync(file, { timeout: 0 });
  try {
    for (const end = Date.now() + PATIENCE_MS; !taken(lock); await delay(POLL_MS))
      if (Date.now() > end) throw new CliError("error", `Another me has held ${file} for ${PATIENCE_MS / 1000} s. End it, and try again.`);
    return await run();
  } finally {
    lock.close();
  }
}

function taken(lock: DatabaseSync): boolean {
  try {
    lock.exec("begin exclusive");
    return true;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}
