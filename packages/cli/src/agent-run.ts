import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type FSWatcher, watch } from "node:fs";
import { access } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import type { Leave } from "@gatehouse/agent";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { note } from "./output.ts";
import { folderlessArgs } from "./runtime.ts";

/** An editor may save one file in several steps, and several files at once. */
const SETTLE_MS = 100;
/** Seconds that turns which are under way may take when the agents have changed. */
const RESTART_GRACE_SECONDS = 5;
const SOURCE = /\.([cm]?[jt]sx?|json)$/;

/**
 * Serves the agents that a file exports, in a process of their own that is started again when a source file beside or
 * beneath it changes. Ends when it is asked to; without watching, also when the agents' process does.
 * @throws CliError where there is no such file, or the process of the agents fails and nothing is watched
 */
export async function runAgents(me: Me, given: string, { watching }: { watching: boolean }): Promise<void> {
  const file = resolve(given);
  await access(file).catch(() => {
    throw new CliError("usage", `There is no file ${given}.`);
  });
  const env = { ...process.env, ME_SERVER: await me.server(), ME_SPACE: await me.space() };
  await me.target(); // whoever is not signed in learns it here

  let asked = false;
  let changed = false;
  let worker: ChildProcess | undefined;
  let wake = () => {};
  const leave = (how: Leave) => {
    if (worker?.connected) worker.send(how);
    wake();
  };
  const stop = () => {
    if (asked) worker?.kill("SIGKILL");
    asked = true;
    leave({});
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, stop);
  const watcher = watching
    ? watchSources(dirname(file), (name) => {
        note(`${name} has changed.`);
        changed = true;
        leave({ reason: "upgrade", graceSeconds: RESTART_GRACE_SECONDS });
      })
    : undefined;

  try {
    while (!asked) {
      changed = false;
      // The file keeps its own tsconfig.json, so the worker can't be started with `runtimeArgs`. It starts in our folder, where
      // no tsconfig.json of the current folder replaces it, and changes back before it loads the file.
      worker = spawn(process.execPath, [...folderlessArgs, join(import.meta.dirname, "agent-worker.ts"), file, process.cwd()], {
        cwd: import.meta.dirname,
        env,
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      const [code] = (await once(worker, "exit")) as [number | null];
      worker = undefined;
      if (asked || changed) continue;
      if (!watching) throw new CliError("error", `The agents of ${basename(file)} have ended${code === null ? "" : ` with ${code}`}.`);
      note("Waiting for a change…");
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    watcher?.close();
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(name, stop);
  }
}

/** Tells of changed source files in a folder and beneath it, installed packages and hidden folders left out. */
function watchSources(folder: string, tell: (name: string) => void): FSWatcher {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return watch(folder, { recursive: true }, (_event, name) => {
    if (name === null || !SOURCE.test(name) || name.split(sep).some((part) => part === "node_modules" || part.startsWith("."))) return;
    clearTimeout(timer);
    timer = setTimeout(tell, SETTLE_MS, name);
  });
}
