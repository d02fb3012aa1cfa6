import { isAbsolute } from "node:path";

const inBun = process.versions.bun !== undefined;

/** Has Bun read neither `bunfig.toml` (its `preload` is code) nor `.env` of the current folder, which may be a stranger's. */
export const folderlessArgs: readonly string[] = inBun ? ["--no-env-file", "--config=/dev/null"] : [];

/**
 * Arguments before each program of ours that Bun starts in the current folder. The last one is needed as `paths` in a
 * `tsconfig.json` there replace even a program that is named by its absolute path. The first line of main.ts and the scripts
 * of package.json hold the same arguments.
 */
export const runtimeArgs: readonly string[] = inBun ? [...folderlessArgs, "--tsconfig-override=/dev/null"] : [];

/**
 * Starts this process over without Bun's cache of compiled code, where that would be put into the current folder: Bun takes
 * a relative XDG_CACHE_HOME or HOME as it is, and reads its own variable only when it starts.
 */
export function keepCacheOut(): void {
  const { BUN_RUNTIME_TRANSPILER_CACHE_PATH: set, XDG_CACHE_HOME, HOME } = process.env;
  if (!inBun || set || isAbsolute(XDG_CACHE_HOME || HOME || "/")) return;
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, args, { ...process.env, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" });
}
