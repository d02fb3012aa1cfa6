import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRoot, reachable, UNPRIVILEGED } from "./binaries.ts";

/** Where the parts of one embedded Postgres lie. */
export interface Place {
  /** Everything of it; owned by the user it runs as. */
  home: string;
  /** The cluster. */
  cluster: string;
  /** The folder of its socket. */
  socket: string;
  logFile: string;
  /** Names the server process that runs it. */
  lockFile: string;
  passwordFile: string;
}

/** Where root keeps what must be readable by another user, when the data folder is not. */
const ROOT_HOME = "/var/lib/gatehouse";
/** Longest path a unix socket may have is 107 bytes; its file's name takes 16 of them. */
const MAX_SOCKET_FOLDER = 90;

/** Lays out, and makes, the folders of the embedded Postgres of a data folder. */
export async function prepare(dataDir: string): Promise<Place> {
  await mkdir(dataDir, { recursive: true, mode: isRoot() ? 0o755 : 0o700 });
  const tag = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
  const home = (await reachable(dataDir)) ? join(dataDir, "postgres") : join(ROOT_HOME, tag);
  await mkdir(home, { recursive: true, mode: 0o755 });
  const inHome = join(home, "run");
  const socket = inHome.length <= MAX_SOCKET_FOLDER ? inHome : join(tmpdir(), `gatehouse-${tag}`);
  await mkdir(socket, { recursive: true, mode: 0o700 });
  await chmod(socket, 0o700);
  if (isRoot()) for (const folder of [home, socket]) await chown(folder, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
  return {
    home,
    cluster: join(home, "data"),
    socket,
    logFile: join(home, "postgres.log"),
    lockFile: join(dataDir, "server.lock"),
    passwordFile: join(dataDir, "postgres.password"),
  };
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
