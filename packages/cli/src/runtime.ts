const inBun = process.versions.bun !== undefined;

/** Has Bun read neither `bunfig.toml` (its `preload` is code) nor `.env` of the current folder, which may be a stranger's. */
export const folderlessArgs: readonly string[] = inBun ? ["--no-env-file", "--config=/dev/null"] : [];

/**
 * Arguments before each program of ours that Bun starts in the current folder. The last one is needed as `paths` in a
 * `tsconfig.json` there replace even a program that is named by its absolute path. The first line of main.ts and the scripts
 * of package.json hold the same arguments.
 */
export const runtimeArgs: readonly string[] = inBun ? [...folderlessArgs, "--tsconfig-override=/dev/null"] : [];
