import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, link, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRoot, PostgresError, reachable, UNPRIVILEGED } from "./binaries.ts";

/** Where the parts of one embedded Postgres lie. */
export interface Place {
  /** Everything of it; owned by the user it runs as. */
  home: string;
  /** Where a copy of the binaries goes, if one is needed; owned by us. */
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
/** Longest path a unix socket may have is 107 bytes; its file's name takes 16 of them. */
const MAX_SOCKET_FOLDER = 90;

/** Lays out, and makes, the folders of the embedded Postgres of a data folder. */
export async function prepare(dataDir: string): Promise<Place> {
  await mkdir(dataDir, { recursive: true, mode: isRoot() ? 0o755 : 0o700 });
  const tag = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
  const home = (await reachable(dataDir)) ? join(dataDir, "postgres") : join(ROOT_HOME, tag);
  await mkdir(home, { recursive: true, mode: 0o755 });
  const socket = await socketFolder(home, tag);
  if (isRoot()) for (const folder of [home, socket]) await chown(folder, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
  return {
    home,
    copies: isRoot() ? ROOT_HOME : dataDir,
    cluster: join(home, "data"),
    socket,
    logFile: join(home, "postgres.log"),
    lockFile: join(dataDir, "server.lock"),
    passwordFile: join(dataDir, "postgres.password"),
  };
}

/** A folder of ours alone, with a path short enough for a socket. */
async function socketFolder(home: string, tag: string): Promise<string> {
  const inHome = join(home, "run");
  const folder = inHome.length <= MAX_SOCKET_FOLDER ? inHome : join(isRoot() ? ROOT_HOME : tmpdir(), `run-${tag}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // In a shared folder somebody else may have put something of that name there first.
  const { uid } = await lstat(folder).then((found) => (found.isDirectory() ? found : { uid: -1 }));
  if (uid !== process.geteuid?.() && uid !== UNPRIVILEGED.uid)
    throw new PostgresError(`${folder} is not ours. Remove it, then start again.`);
  await chmod(folder, 0o700);
  return folder;
}

/** A secret kept in a file that only its owner reads: read, or made on first use. */
export async function keptSecret(file: string): Promise<string> {
  // A link appears whole or not at all, and only once, however many processes start together.
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, randomBytes(32).toString("base64url"), { mode: 0o600 });
  await link(draft, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(draft);
  return readFile(file, "utf8");
}
