import { createHash, randomBytes } from "node:crypto";
import { chmod, lchown, link, lstat, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRoot, PostgresError, reachable, UNPRIVILEGED } from "./binaries.ts";

/** Where the parts of one embedded Postgres lie. */
export interface Place {
  /** Everything of it. Ours: when we are root, Postgres's user owns the cluster and the socket's folder alone. */
  home: string;
  /** Where a copy of the binaries goes, if one is needed. */
  copies: string;
  /** The cluster. */
  cluster: string;
  /** The folder of its socket. */
  socket: string;
  logFile: string;
  /** Names the server process that runs it. */
  lockFile: string;
  passwordFile: string;
}

/** Where root keeps what another user must be able to read, when the data folder is closed to others. */
const ROOT_HOME = "/var/lib/gatehouse";
/** The socket's file in its folder. */
export const SOCKET_FILE = ".s.PGSQL.5432";
/** Longest path of a unix socket, in bytes: `sun_path` in sockaddr_un(7) without the NUL at its end. */
const MAX_SOCKET_BYTES = process.platform === "linux" ? 107 : 103;
const fits = (folder: string) => Buffer.byteLength(join(folder, SOCKET_FILE)) <= MAX_SOCKET_BYTES;

/** Makes the data folder, and tells where the parts of its embedded Postgres belong. */
export async function locate(dataDir: string): Promise<Place> {
  const mode = isRoot() ? 0o755 : 0o700;
  if ((await mkdir(dataDir, { recursive: true, mode })) !== undefined) await chmod(dataDir, mode);
  if (isRoot() && (await stat(dataDir)).uid === UNPRIVILEGED.uid)
    throw new PostgresError(`${dataDir} belongs to the user that Postgres runs as, who could mislead root. Give it to root.`);
  const tag = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
  const home = (await reachable(dataDir)) ? join(dataDir, "postgres") : join(ROOT_HOME, tag);
  const sockets = [join(home, "run"), join(isRoot() ? ROOT_HOME : tmpdir(), `run-${tag}`), join("/tmp", `run-${tag}`)];
  return {
    home,
    copies: isRoot() ? ROOT_HOME : dataDir,
    cluster: join(home, "data"),
    socket: sockets.find(fits) as string,
    logFile: join(home, "postgres.log"),
    lockFile: join(dataDir, "server.lock"),
    passwordFile: join(dataDir, "postgres.password"),
  };
}

/** Makes the folders of a place, or checks those that are there. Whoever calls it holds the lock. */
export async function makeFolders({ home, cluster, socket }: Place): Promise<void> {
  if (isRoot()) await folderOfOurs(ROOT_HOME, 0o755);
  await folderOfOurs(home, 0o755);
  await folderOfPostgres(socket);
  if (await lstat(cluster).catch(() => undefined)) await folderOfPostgres(cluster);
}

/** A folder that only we write to. An earlier version gave such folders to Postgres's user: they are taken back. */
const folderOfOurs = (path: string, mode: number) => ownedFolder(path, mode, process.geteuid?.() ?? -1, process.getegid?.() ?? -1);

/** A folder of Postgres's user alone; its parent must be one that this user can't write to. */
export const folderOfPostgres = (path: string) =>
  isRoot() ? ownedFolder(path, 0o700, UNPRIVILEGED.uid, UNPRIVILEGED.gid) : folderOfOurs(path, 0o700);

/** The mode is set as well as asked for: what is made is less than that under a strict umask. */
async function ownedFolder(path: string, mode: number, uid: number, gid: number): Promise<void> {
  await mkdir(path, { mode }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  // Somebody else may have put something of that name there first: in a shared folder, or before it was ours alone.
  const found = await lstat(path);
  const ours = found.uid === process.geteuid?.() || (isRoot() && found.uid === UNPRIVILEGED.uid);
  if (!found.isDirectory() || !ours)
    throw new PostgresError(`${path} is not a folder of ours. Move it away or remove it, then start again.`);
  if (found.uid !== uid) await lchown(path, uid, gid);
  await chmod(path, mode);
}

/** A secret kept in a file that only its owner reads: read, or made on first use. */
export async function keptSecret(file: string): Promise<string> {
  const kept = await readFile(file, "utf8").catch(() => undefined);
  if (kept !== undefined) return kept;
  await linkWhole(file, randomBytes(32).toString("base64url"), 0o600);
  return readFile(file, "utf8");
}

/**
 * Makes a file that appears whole or not at all, and only once, however many processes start together.
 * @returns whether it was made here; otherwise it was there already
 */
export async function linkWhole(file: string, text: string, mode: number): Promise<boolean> {
  // A name never used before: a draft left by a process that was killed may be the same file as what it was linked to.
  const draft = `${file}.${randomBytes(6).toString("hex")}.draft`;
  await writeFile(draft, text, { mode, flag: "wx" });
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  } finally {
    await rm(draft);
  }
}
