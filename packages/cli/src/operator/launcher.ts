import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

const POLL_MS = 250;

/** The parent of a process, where the system tells it in a file. */
async function parentOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // Field 4, counted behind the command's name, which may itself hold spaces and brackets.
  return stat === undefined ? undefined : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

/** Whoever started us, and whoever started them: npx runs a shell that runs Bun that runs us. */
const line = async (): Promise<string> => `${process.ppid} ${await parentOf(process.ppid)}`;

/**
 * Waits until the command that started us is gone: what is sent to npx, such as SIGTERM, npx keeps to itself.
 * For ever, where a person or a service manager started us directly.
 */
export async function launcherGone(startedByScript: boolean): Promise<void> {
  if (!startedByScript) return new Promise(() => {});
  const before = await line();
  while ((await line()) === before) await delay(POLL_MS, undefined, { ref: false });
}
