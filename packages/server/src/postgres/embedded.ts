import { randomBytes } from "node:crypto";
import { chown, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "../db.ts";
import { findBinaries, isRoot, PostgresError, UNPRIVILEGED } from "./binaries.ts";
import { keptSecret, type Place, prepare } from "./place.ts";
import { commandOf, ended, lives, run, startOf, startSupervised } from "./process.ts";

/** A running embedded Postgres. */
export interface EmbeddedPostgres {
  address: string;
  /** The folder it lies in. */
  home: string;
  /** Stops it, if it was started here. */
  stop(): Promise<void>;
}

const USER = "gatehouse";
const START_DEADLINE_MS = 30_000;
const POLL_MS = 15;

/** Another server holds the data folder. */
const inUse = (pid: number) =>
  new PostgresError(`Another Gatehouse (process ${pid}) runs on this data folder. Stop it, or set GATEHOUSE_DATA to another folder.`);

/**
 * Runs a Postgres on a private unix socket in the data folder, which dies with this process.
 * @param join whether to use the one that another process already runs there; otherwise that is an error
 * @throws PostgresError
 */
export async function startEmbedded(dataDir: string, { join: mayJoin = false } = {}): Promise<EmbeddedPostgres> {
  const place = await prepare(dataDir);
  const password = await keptSecret(place.passwordFile);
  const address = `postgres://${USER}:${password}@localhost/postgres?host=${encodeURIComponent(place.socket)}`;
  const holder = await heldBy(place);
  if (holder !== undefined) {
    if (!mayJoin) throw inUse(holder);
    await accepting(address, place.socket);
    return { address, home: place.home, stop: async () => {} };
  }
  const binaries = await findBinaries(place.copies);
  await stopOrphan(place);
  await takeLock(place);
  try {
    await createCluster(place, binaries, password);
    const child = await startSupervised(
      join(binaries, "bin", "postgres"),
      [
        "-D",
        place.cluster,
        "-k",
        place.socket,
        "-c",
        "listen_addresses=",
        "-c",
        "unix_socket_permissions=0700",
        "-c",
        "max_connections=100",
      ],
      place.logFile,
    );
    const stop = async () => {
      child.stdin?.end();
      await ended(child);
      await rm(place.lockFile, { force: true });
    };
    const exited = ended(child).then(async () => {
      throw new PostgresError(`Postgres did not start. The end of ${place.logFile}:\n${await lastLines(place.logFile)}`);
    });
    exited.catch(() => {});
    await Promise.race([exited, accepting(address, place.socket)]).catch(async (error) => {
      await stop();
      throw error;
    });
    return { address, home: place.home, stop };
  } catch (error) {
    await rm(place.lockFile, { force: true });
    throw error;
  }
}

/** The pid of the server that holds the data folder; a lock whose process is gone holds nothing. */
async function heldBy(place: Place): Promise<number | undefined> {
  const lock = await readFile(place.lockFile, "utf8").catch(() => "");
  const [pid = "", start] = lock.split("\n");
  return pid && (await startOf(Number(pid))) === start ? Number(pid) : undefined;
}

async function takeLock(place: Place): Promise<void> {
  const mine = `${process.pid}\n${await startOf(process.pid)}`;
  for (let tries = 0; tries < 2; tries++) {
    try {
      return await writeFile(place.lockFile, mine, { flag: "wx", mode: 0o644 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const holder = await heldBy(place);
      if (holder !== undefined) throw inUse(holder);
      await rm(place.lockFile, { force: true });
    }
  }
  throw new PostgresError(`The lock ${place.lockFile} could not be taken. Try again.`);
}

/** Makes the cluster, whole or not at all. */
async function createCluster(place: Place, binaries: string, password: string): Promise<void> {
  if (await stat(join(place.cluster, "PG_VERSION")).catch(() => undefined)) return;
  // A name of its own: an initdb whose server was killed may still be writing to another.
  const unfinished = join(place.home, `new-${randomBytes(6).toString("hex")}`);
  const passwordFile = `${unfinished}.password`;
  for (const left of (await readdir(place.home)).filter((name) => name.startsWith("new-")))
    await rm(join(place.home, left), { recursive: true, force: true }).catch(() => {}); // still being written: next time
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (isRoot()) await chown(passwordFile, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
  try {
    const { code, output } = await run(join(binaries, "bin", "initdb"), [
      "-D",
      unfinished,
      "-U",
      USER,
      "--pwfile",
      passwordFile,
      "--auth",
      "scram-sha-256",
      "--encoding",
      "UTF8",
      "--locale-provider",
      "builtin",
      "--builtin-locale",
      "C.UTF-8",
      "--locale",
      "C",
    ]);
    if (code !== 0) throw new PostgresError(`The database could not be made in ${place.home}:\n${output.trim()}`);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(unfinished, place.cluster);
}

/**
 * Deals with the pid file of a server that is gone. A Postgres that outlived it is stopped (or is
 * stopping already). Where the pid now belongs to something else, the file only misleads.
 */
async function stopOrphan(place: Place): Promise<void> {
  const pidFile = join(place.cluster, "postmaster.pid");
  const read = async () => Number((await readFile(pidFile, "utf8").catch(() => "")).split("\n")[0]);
  const pid = await read();
  if (!pid) return;
  if (!lives(pid) || !(await commandOf(pid)).includes(place.cluster)) return rm(pidFile, { force: true });
  process.kill(pid, "SIGINT");
  const deadline = Date.now() + START_DEADLINE_MS;
  while (lives(pid)) {
    if (Date.now() > deadline)
      throw new PostgresError(`The Postgres of an earlier server (process ${pid}) does not stop. Stop it, then start again.`);
    await delay(POLL_MS);
  }
}

/** Waits until Postgres answers a query. */
async function accepting(address: string, folder: string): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  const socket = join(folder, ".s.PGSQL.5432");
  for (;;) {
    if (await stat(socket).catch(() => undefined)) {
      const sql = connect(address, { max: 1 });
      try {
        await sql`select`;
        return;
      } catch (error) {
        if (Date.now() > deadline) throw new PostgresError("Postgres started, but does not answer.", { cause: error });
      } finally {
        await sql.end({ timeout: 1 });
      }
    } else if (Date.now() > deadline) throw new PostgresError("Postgres did not start in time.");
    await delay(POLL_MS);
  }
}

const lastLines = async (file: string): Promise<string> =>
  (await readFile(file, "utf8").catch(() => "")).trim().split("\n").slice(-10).join("\n");
