import { randomBytes } from "node:crypto";
import { chmod, lchown, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isRoot, PostgresError, UNPRIVILEGED } from "./binaries.ts";
import { folderOfPostgres, keptSecret, type Place } from "./place.ts";
import { commandOf, lives, ownerOf, removeAsPostgres, run } from "./process.ts";

/** The user of the database. */
export const USER = "gatehouse";
const STOP_DEADLINE_MS = 30_000;
const POLL_MS = 15;

const clusterMade = (place: Place) => stat(join(place.cluster, "PG_VERSION")).catch(() => undefined);

/** The database there is does not open with the password there is. */
export const wrongPassword = (place: Place) =>
  new PostgresError(
    `There is a database in ${place.home}, but ${place.passwordFile}, which holds its password, is missing or another's.
To go on with that database, restore the file from a backup. To start afresh, move ${place.home} away; it holds all the data.`,
  );

/** The password of the database. Made only where there is no database yet: with another one it would never open again. */
export async function passwordOf(place: Place): Promise<string> {
  if ((await clusterMade(place)) && !(await stat(place.passwordFile).catch(() => undefined))) throw wrongPassword(place);
  return keptSecret(place.passwordFile);
}

/** Makes the cluster, whole or not at all. */
export async function createCluster(place: Place, binaries: string, password: string): Promise<void> {
  if (await clusterMade(place)) return;
  for (const left of (await readdir(place.home)).filter((name) => name.startsWith("new-")))
    await removeAsPostgres(join(place.home, left)).catch(() => {}); // still being written: next time
  // A name of its own: an initdb whose server was killed may still be writing to another.
  const unfinished = join(place.home, `new-${randomBytes(6).toString("hex")}`);
  const passwordFile = `${unfinished}.password`;
  await folderOfPostgres(unfinished);
  await writeFile(passwordFile, password, { mode: 0o600, flag: "wx" });
  if (isRoot()) {
    // Postgres's user may read it; it stays ours, in a folder of ours, so that it can't be replaced.
    await lchown(passwordFile, 0, UNPRIVILEGED.gid);
    await chmod(passwordFile, 0o640);
  }
  const settings = "--auth scram-sha-256 --encoding UTF8 --locale-provider builtin --builtin-locale C.UTF-8 --locale C".split(" ");
  try {
    const args = ["-D", unfinished, "-U", USER, "--pwfile", passwordFile, ...settings];
    const { code, output } = await run(join(binaries, "bin", "initdb"), args);
    if (code !== 0) throw new PostgresError(`The database could not be made in ${place.home}:\n${output.trim()}`);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(unfinished, place.cluster);
}

/**
 * Deals with the pid file of a server that is gone. A Postgres that outlived it is stopped (or is
 * stopping already). Where the pid now belongs to something else, the file only misleads; where it
 * belongs to nothing, Postgres itself checks that no process of the earlier one is left.
 */
export async function stopOrphan(place: Place): Promise<void> {
  const pidFile = join(place.cluster, "postmaster.pid");
  const pid = Number((await readFile(pidFile, "utf8").catch(() => "")).split("\n")[0]);
  if (!pid || !lives(pid)) return;
  // As root we could stop anything: Postgres's user, who writes that file, must not choose what.
  const itsOwn = (await ownerOf(pid)) === (isRoot() ? UNPRIVILEGED.uid : process.geteuid?.());
  if (!itsOwn || !(await commandOf(pid)).includes(place.cluster)) return rm(pidFile, { force: true });
  process.kill(pid, "SIGINT");
  const deadline = Date.now() + STOP_DEADLINE_MS;
  while (lives(pid)) {
    if (Date.now() > deadline)
      throw new PostgresError(`The Postgres of an earlier server (process ${pid}) does not stop. Stop it, then start again.`);
    await delay(POLL_MS);
  }
}
