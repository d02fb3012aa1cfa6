import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "@gatehouse/server";
import { expect, test } from "vitest";
import { type Home, ME, makeHome, me, meJson, type Running, start, startUp, until } from "./run.ts";

/** The pids of processes whose command line names a text. */
async function processesNaming(text: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const named = await Promise.all(pids.map(async (pid) => (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).includes(text)));
  return pids.filter((_, i) => named[i]).map(Number);
}

const dataOf = (home: Home) => join(home.folder, "share", "gatehouse");
const clusterOf = (home: Home) => join(dataOf(home), "postgres", "data");
/** Where a server that started says its database lies. */
const databaseOf = (stderr: string) => (JSON.parse(/^\{.*"listening".*$/m.exec(stderr)?.[0] ?? "") as { database: string }).database;
const gone = (home: Home) => until("no Postgres is left", async () => (await processesNaming(clusterOf(home))).length === 0);

test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)("%s of the server ends its Postgres and harms no data", async (signal) => {
  const home = await makeHome();
  const first = await startUp(home);
  await meJson(home, ["agent", "create", "survivor"]);
  expect(await processesNaming(clusterOf(home))).not.toEqual([]);
  const { code } = await first.stop(signal);
  expect(code).toBe(signal === "SIGKILL" ? null : 0);
  await gone(home);
  const second = await startUp(home);
  expect((await meJson(home, ["agent", "list"])).agents).toContainEqual(expect.objectContaining({ name: "survivor" }));
  await second.stop();
});

test("a start right after a SIGKILL waits for the Postgres that is still leaving", async () => {
  const home = await makeHome();
  for (let round = 0; round < 3; round++) await (await startUp(home)).stop("SIGKILL");
  await (await startUp(home)).stop();
});

test("a server killed while it makes its database leaves nothing that a later start trips over", async () => {
  const home = await makeHome();
  const { child, finished } = start(process.execPath, [ME, "up"], { ...home.env, PORT: "0" });
  const postgres = join(clusterOf(home), "..");
  await until("the cluster is being made", async () => (await readdir(postgres)).some((name) => name.startsWith("new-")));
  child.kill("SIGKILL");
  await finished;
  await (await startUp(home)).stop();
});

test("a Postgres that outlived everything that watched it is replaced", async () => {
  const home = await makeHome();
  const first = await startUp(home);
  const postmaster = Number((await readFile(join(clusterOf(home), "postmaster.pid"), "utf8")).split("\n")[0]);
  first.child.kill("SIGSTOP"); // it would notice
  for (const pid of await processesNaming(clusterOf(home)))
    if (pid !== postmaster && (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).startsWith("/bin/sh"))
      process.kill(pid, "SIGKILL");
  await first.stop("SIGKILL");
  expect(await processesNaming(clusterOf(home))).toContain(postmaster);
  const second = await startUp(home);
  expect(await processesNaming(clusterOf(home))).not.toContain(postmaster);
  await second.stop();
});

test("when its Postgres dies, the server says so and ends, for a supervisor to start it again", async () => {
  const home = await makeHome();
  const server = await startUp(home);
  await meJson(home, ["agent", "create", "survivor"]);
  process.kill(Number((await readFile(join(clusterOf(home), "postmaster.pid"), "utf8")).split("\n")[0]), "SIGKILL");
  const { code, stderr } = await server.finished;
  expect(code).toBe(1);
  expect(stderr).toMatch(/^\{"level":60,.*"msg":"Postgres ended by itself\. Why may stand in \S+\/postgres\.log\."/m);
  await (await startUp(home)).stop();
  expect(await processesNaming(clusterOf(home))).toEqual([]);
});

test("a pid file that names somebody else's process stops nobody", async () => {
  const home = await makeHome();
  await (await startUp(home)).stop();
  const bystander = spawn("sleep", ["600"]);
  await writeFile(join(clusterOf(home), "postmaster.pid"), `${bystander.pid}\n${clusterOf(home)}\n`);
  await writeFile(join(dataOf(home), "server.lock"), `${bystander.pid}\nanother start time`);
  await (await startUp(home)).stop();
  expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  bystander.kill();
});

test("the embedded Postgres is on no network, and wants its password", async () => {
  const home = await makeHome();
  const server = await startUp(home);
  const password = await readFile(join(dataOf(home), "postgres.password"), "utf8");
  const address = (secret: string) => `postgres://gatehouse:${secret}@localhost/postgres?host=${join(dataOf(home), "postgres", "run")}`;
  const inside = openDatabase(address(password));
  expect(await inside`show listen_addresses`).toMatchObject([{ listenAddresses: "" }]);
  await inside.end();
  const stranger = openDatabase(address("guess"));
  await expect(stranger`select`).rejects.toMatchObject({ code: "28P01" });
  await stranger.end();
  for (const file of ["secret", "postgres.password"]) expect((await stat(join(dataOf(home), file))).mode & 0o777).toBe(0o600);
  await server.stop();
});

test("a home closed to all others, and a path too long for a socket, are no obstacle", async () => {
  const folder = await mkdtemp(join(tmpdir(), `gatehouse-${"long-".repeat(20)}`));
  await chmod(folder, 0o700);
  const home: Home = { folder, env: { PATH: process.env.PATH ?? "", HOME: folder } };
  const server = await startUp(home);
  const { stdout } = await me(home, ["whoami"]);
  expect(stdout).toContain("Local owner");
  await server.stop();
  const tag = createHash("sha256")
    .update(join(folder, ".local", "share", "gatehouse"))
    .digest("hex")
    .slice(0, 12);
  for (const shared of [tmpdir(), "/var/lib/gatehouse"]) expect(existsSync(join(shared, `run-${tag}`))).toBe(false);
  for (const left of [folder, databaseOf(server.stderr())]) await rm(left, { recursive: true, force: true });
});

test("two servers do not share a data folder; the second says what to do", async () => {
  const home = await makeHome();
  const first = await startUp(home);
  const second = await me(home, ["up"], { env: { PORT: "0" } });
  expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("GATEHOUSE_DATA") });
  expect(await meJson(home, ["whoami"])).toMatchObject({ kind: "u" });
  await first.stop();
});

test("of servers that start at once on one data folder exactly one wins, and stays well", async () => {
  const home = await makeHome();
  for (let round = 0; round < 5; round++) {
    const starts = Array.from({ length: 4 }, () => start(process.execPath, [ME, "up"], { ...home.env, PORT: "0" }));
    const told = () => starts.map(({ stderr }) => stderr()).join("\n--\n");
    const isReady = ({ stderr }: Running) => stderr().includes("Ready: ");
    await until(told, () => starts.every((one) => isReady(one) || one.child.exitCode !== null));
    const [winner, ...more] = starts.filter(isReady);
    if (!winner || more.length > 0) throw new Error(`There is not one winner:\n${told()}`);
    const holder = `Another Gatehouse (process ${winner.child.pid}) runs`;
    for (const loser of starts.filter((one) => one !== winner))
      expect(await loser.finished).toMatchObject({ code: 1, stderr: expect.stringContaining(holder) });
    expect(await meJson(home, ["whoami"])).toMatchObject({ name: "Local owner" });
    winner.child.kill("SIGKILL"); // leaves its lock, and a Postgres on its way out, to the next ones
    await winner.finished;
  }
  await gone(home);
});
