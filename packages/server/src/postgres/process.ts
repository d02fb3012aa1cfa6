import { type ChildProcess, spawn } from "node:child_process";
import { constants, lstat, open, readFile, rm, rmdir, stat } from "node:fs/promises";
import { isRoot, UNPRIVILEGED } from "./binaries.ts";

/**
 * Runs beside Postgres and holds the other end of our standard input: when we are gone, however we
 * went, that ends, and Postgres is told to stop. Fast first, immediate after ten seconds; both are safe.
 */
const SUPERVISOR = `
exec 3<&0
"$@" 3<&- &
pid=$!
(
  trap '' INT TERM HUP
  cat <&3 >/dev/null
  kill -INT $pid 2>/dev/null
  for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 $pid 2>/dev/null || exit; done
  kill -QUIT $pid 2>/dev/null
) &
watcher=$!
wait $pid
code=$?
kill -KILL $watcher 2>/dev/null
exit $code`;

/** As whom Postgres's programs run: a session of their own, so that Ctrl-C in our terminal is ours to handle. */
const asWhom = () => ({ detached: true, cwd: "/", env: { PATH: process.env.PATH, LC_ALL: "C" }, ...(isRoot() && UNPRIVILEGED) });

/** Starts `postgres` under the supervisor. Ending the child's stdin stops it. */
export async function startSupervised(command: string, args: string[], logFile: string): Promise<ChildProcess> {
  // What is no file of ours was put there when the folder was not ours alone: to write to it is to write wherever it leads.
  const found = await lstat(logFile).catch(() => undefined);
  if (found && !(found.isFile() && found.nlink === 1 && found.uid === process.geteuid?.())) await rm(logFile);
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  const log = await open(logFile, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    return spawn("/bin/sh", ["-c", SUPERVISOR, "gatehouse-postgres", command, ...args], { ...asWhom(), stdio: ["pipe", log.fd, log.fd] });
  } finally {
    await log.close();
  }
}

/** Runs a program of Postgres to its end. @returns exit code and what it printed */
export async function run(command: string, args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(command, args, { ...asWhom(), stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  return { code: await ended(child), output };
}

/** Removes what Postgres's user writes to, and as that user: links put there meanwhile could make root remove something else. */
export async function removeAsPostgres(path: string): Promise<void> {
  if (!(await lstat(path).catch(() => undefined))?.isDirectory()) return rm(path, { force: true });
  await run("/bin/rm", ["-rf", "--", path]);
  // The folder itself may lie in one that this user can't write to.
  await rmdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

/** The exit code of a child, now or when it ends. */
export const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve, reject) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
    child.once("close", resolve);
    child.once("error", reject);
  });

/** Whether a process lives. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** What tells a process from a later one with the same pid: when it started. */
export async function startOf(pid: number): Promise<string | undefined> {
  if (!lives(pid)) return undefined;
  if (process.platform !== "linux") return (await run("/bin/ps", ["-o", "lstart=", "-p", String(pid)])).output.trim();
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // Field 22, counted behind the command's name, which may itself hold spaces and brackets.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

/** The command line of a process, as far as the system tells it. */
export async function commandOf(pid: number): Promise<string> {
  if (process.platform !== "linux") return (await run("/bin/ps", ["-o", "command=", "-p", String(pid)])).output.trim();
  return (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
}

/** The user id that a process runs as. */
export async function ownerOf(pid: number): Promise<number | undefined> {
  if (process.platform !== "linux") return Number((await run("/bin/ps", ["-o", "uid=", "-p", String(pid)])).output);
  return (await stat(`/proc/${pid}`).catch(() => undefined))?.uid;
}
