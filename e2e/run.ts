import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll } from "vitest";
import type { TestServer, TestUser } from "./harness.ts";

/** What a process left behind. */
export interface Finished {
  /** null when a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A process under way. */
export interface Running {
  child: ChildProcess;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
  finished: Promise<Finished>;
}

/** A `me up` that answers calls. */
export interface RunningServer extends Running {
  url: string;
  /** Asks it to stop, and waits until it has. */
  stop(signal?: NodeJS.Signals): Promise<Finished>;
}

/** A machine's empty home: the environment that a command runs in. */
export interface Home {
  folder: string;
  env: Record<string, string>;
}

/** The command line from source. */
export const ME = join(import.meta.dirname, "..", "packages", "cli", "src", "main.ts");

const POLL_MS = 20;
const DEADLINE_MS = 60_000;
const folders: string[] = [];
const children = new Set<ChildProcess>();

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  for (const folder of folders)
    await until(`${folder} is removed`, async () => {
      // It takes more than one try while the Postgres of a server that was killed is still leaving.
      await rm(folder, { recursive: true, force: true });
      return !existsSync(folder);
    });
});

/** Makes an empty home with folders of its own, in which nothing of the environment of the tests is left but PATH. */
export async function makeHome(extra: Record<string, string> = {}): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-home-"));
  folders.push(folder);
  await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
  const env = {
    PATH: process.env.PATH ?? "",
    HOME: folder,
    XDG_CONFIG_HOME: join(folder, "config"),
    XDG_DATA_HOME: join(folder, "share"),
    ME_KEYCHAIN: "off", // that of the machine is no business of tests
    ...extra,
  };
  return { folder, env };
}

/**
 * Starts a program; it is killed when the tests of the file are over, at the latest.
 * @param stdin what it reads; null leaves its stdin open
 * @param cwd its current folder; left out, that of the tests
 */
export function start(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
  stdin: string | null = "",
  cwd?: string,
): Running {
  const child = spawn(command, args, { env, stdio: ["pipe", "pipe", "pipe"], cwd });
  children.add(child);
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) child[name].setEncoding("utf8").on("data", (text: string) => (output[name] += text));
  child.stdin.on("error", () => {}); // it may end without reading
  if (stdin !== null) child.stdin.end(stdin);
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      children.delete(child);
      resolve({ code, ...output });
    });
  });
  return { child, stdout: () => output.stdout, stderr: () => output.stderr, finished };
}

/** Runs `me` to its end; nobody is at a terminal. */
export const me = (home: Home, args: readonly string[], more: { env?: Record<string, string>; stdin?: string } = {}): Promise<Finished> =>
  start(process.execPath, [ME, ...args], { ...home.env, ...more.env }, more.stdin).finished;

/** Runs `me … --json`. @returns what it printed; `any`, for results of every command */
// biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every command
export async function meJson(home: Home, args: readonly string[], more: Parameters<typeof me>[2] = {}): Promise<any> {
  const { code, stdout, stderr } = await me(home, [...args, "--json"], more);
  if (code !== 0) throw new Error(`me ${args.join(" ")} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Makes a user of a server, and a home that is signed in as them, by `me login`. */
export async function signedIn(server: TestServer, name: string): Promise<{ home: Home; user: TestUser }> {
  const user = await server.user(name);
  const home = await makeHome();
  const { code, stderr } = await me(home, ["login", "--server", server.url, "--email", user.email], { stdin: user.password });
  if (code !== 0) throw new Error(`me login ended with ${code}: ${stderr}`);
  return { home, user };
}

/** Starts `me up`, on a free port unless `env` names one, and waits until it is ready. */
export async function startUp(home: Home, env: Record<string, string> = {}): Promise<RunningServer> {
  const running = start(process.execPath, [ME, "up"], { ...home.env, PORT: "0", ...env });
  const readyAt = () => /^Ready: (\S+)$/m.exec(running.stderr())?.[1];
  await until(
    () => `me up is ready, which said:\n${running.stderr()}`,
    () => readyAt() !== undefined || running.child.exitCode !== null,
  );
  const url = readyAt();
  if (url === undefined) throw new Error(`me up ended with ${running.child.exitCode}: ${running.stderr()}`);
  return {
    ...running,
    url,
    stop(signal = "SIGTERM") {
      running.child.kill(signal);
      return running.finished;
    },
  };
}

/** Waits until a condition holds. What it throws counts as "not yet". @throws Error after the deadline */
export async function until<T>(
  what: string | (() => string),
  condition: () => T | Promise<T>,
  deadlineMs = DEADLINE_MS,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadlineMs;
  for (let failure: unknown; ; ) {
    try {
      const met = await condition();
      if (met) return met as NonNullable<T>;
    } catch (error) {
      failure = error;
    }
    if (Date.now() > end)
      throw new Error(`Waited ${deadlineMs} ms in vain until: ${typeof what === "string" ? what : what()}`, { cause: failure });
    await delay(POLL_MS);
  }
}
