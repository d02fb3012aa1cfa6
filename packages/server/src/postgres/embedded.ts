import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openDatabase } from "../db.ts";
import { findBinaries, PostgresError } from "./binaries.ts";
import { createCluster, passwordOf, stopOrphan, USER, wrongPassword } from "./cluster.ts";
import { takeLock } from "./lock.ts";
import { locate, makeFolders, type Place, SOCKET_FILE } from "./place.ts";
import { ended, removeAsPostgres, startSupervised } from "./process.ts";

/** A running embedded Postgres. */
export interface EmbeddedPostgres {
  address: string;
  /** The folder it lies in. */
  home: string;
  /** Resolves, with what there is to say, when it ends without having been stopped here. */
  failed: Promise<Error>;
  /** Stops it, if it was started here. */
  stop(): Promise<void>;
}

const START_DEADLINE_MS = 30_000;
const POLL_MS = 15;

/**
 * Runs a Postgres on a private unix socket in the data folder, which dies with this process.
 * @param join whether to use the one that another process already runs there; otherwise that is an error
 * @throws PostgresError
 */
export async function startEmbedded(dataDir: string, { join: mayJoin = false } = {}): Promise<EmbeddedPostgres> {
  const place = await locate(dataDir);
  // Before all else: everything that follows, stopping what an earlier server left above all, is for one process at a time.
  const lock = await takeLock(place.lockFile);
  if (lock.holder !== undefined) {
    if (!mayJoin)
      throw new PostgresError(
        `Another Gatehouse (process ${lock.holder}) runs on this data folder. Stop it, or set GATEHOUSE_DATA to another folder.`,
      );
    const address = addressOf(place, await passwordOf(place));
    await accepting(address, place);
    return { address, home: place.home, failed: new Promise(() => {}), stop: async () => {} };
  }
  try {
    const { stop, ...running } = await startHere(place);
    return { ...running, stop: () => stop().finally(lock.release) };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Starts the Postgres of a place that this process holds the lock of. */
async function startHere(place: Place): Promise<EmbeddedPostgres> {
  await makeFolders(place);
  const password = await passwordOf(place);
  const binaries = await findBinaries(place.copies);
  await stopOrphan(place);
  await createCluster(place, binaries, password);
  const settings = ["listen_addresses=", "unix_socket_permissions=0700", "max_connections=100"].flatMap((setting) => ["-c", setting]);
  const command = join(binaries, "bin", "postgres");
  const sockets = `"${place.socket.replaceAll('"', '""')}"`; // a list of folders: in quotes, a comma in one is no separator
  const child = await startSupervised(command, ["-D", place.cluster, "-k", sockets, ...settings], place.logFile);
  const exited = ended(child).catch(() => null);
  let stopping = false;
  const stop = async () => {
    stopping = true;
    child.stdin?.end();
    await exited;
    if (!place.socket.startsWith(place.home)) await removeAsPostgres(place.socket);
  };
  // Without the end of Postgres's log, which may repeat what people keep in the database.
  const failed = new Promise<Error>((resolve) => {
    exited.then(() => stopping || resolve(new PostgresError(`Postgres ended by itself. Why may stand in ${place.logFile}.`)));
  });
  const address = addressOf(place, password);
  const early = exited.then(async () => {
    throw new PostgresError(`Postgres did not start. The end of ${place.logFile}:\n${await lastLines(place.logFile)}`);
  });
  early.catch(() => {}); // when it fails later, that is for whoever watches `failed`
  try {
    await Promise.race([early, accepting(address, place)]);
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, home: place.home, failed, stop };
}

const addressOf = (place: Place, password: string) =>
  `postgres://${USER}:${password}@localhost/postgres?host=${encodeURIComponent(place.socket)}`;

/** Waits until Postgres answers a query. */
async function accepting(address: string, place: Place): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  const socket = join(place.socket, SOCKET_FILE);
  for (;;) {
    if (await stat(socket).catch(() => undefined)) {
      const sql = openDatabase(address);
      try {
        await sql`select`;
        return;
      } catch (error) {
        if ((error as { code?: unknown }).code === "28P01") throw wrongPassword(place);
        if (Date.now() > deadline) throw new PostgresError("Postgres started, but does not answer.", { cause: error });
      } finally {
        await sql.end(0);
      }
    } else if (Date.now() > deadline) throw new PostgresError("Postgres did not start in time.");
    await delay(POLL_MS);
  }
}

const lastLines = async (file: string): Promise<string> =>
  (await readFile(file, "utf8").catch(() => "")).trim().split("\n").slice(-10).join("\n");
