import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openConfiguredDatabase, readConfig } from "@gatehouse/server";
import { afterEach, expect, test } from "vitest";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { whileLocked } from "./rivals.ts";
import { makeHome, startUp, until } from "./run.ts";
import { tapWire } from "./wire.ts";

type Wire = Awaited<ReturnType<typeof tapWire>>;

/** Longest that a server may go on accepting what was revoked. */
const BOUND_MS = 1000;

const after: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of after.splice(0).reverse()) await end();
});

async function startOn(database: string, options: Parameters<typeof tapWire>[1] = {}) {
  const wire = await tapWire(database, options);
  after.push(wire.close);
  const server = await startTestServer({ DATABASE_URL: wire.url });
  after.push(server.close);
  return { wire, server };
}

async function makeKey(server: TestServer) {
  const { session } = await server.user("Ada");
  const { id, key } = (await server.call(session, "apiKey.create", { name: "k" })).result as { id: string; key: string };
  return {
    key,
    revoke: () => server.call(session, "apiKey.delete", { id }),
    byTheSide: () => server.sql`delete from api_keys where id = ${id}`,
  };
}

const whoami = (url: string, key: string) =>
  fetch(`${url}/api/v1/user/rpc`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "whoami" }),
  });

const warm = (wire: Wire, url: string, key: string) =>
  until(
    "a call asks the database nothing",
    async () => (await wire.during(async () => expect((await whoami(url, key)).status).toBe(200))) === 0,
  );

/** Calls until the call is refused. @returns when the last one was sent that was not */
async function lastAccepted(url: string, key: string): Promise<number> {
  for (let last = Number.NEGATIVE_INFINITY; ; ) {
    const sent = performance.now();
    if ((await whoami(url, key)).status === 401) return last;
    last = sent;
  }
}

test("what strangers ask at the doors of sign-in, and is refused or only read, keeps nobody's calls from memory", async () => {
  const { wire, server } = await startOn(await makeDatabase());
  const { key } = await makeKey(server);
  await warm(wire, server.url, key);
  const stranger = async () => {
    const json = { "content-type": "application/json", origin: server.url };
    await fetch(`${server.url}/api/auth/get-session`);
    await fetch(`${server.url}/api/auth/passkey/delete-passkey`, {
      method: "POST",
      headers: json,
      body: JSON.stringify({ id: "019f0000-0000-7000-8000-000000000000" }),
    });
  };
  const together = () => Promise.all(Array.from({ length: 20 }, () => Promise.all([stranger(), whoami(server.url, key)])));
  await until("no call asks the database anything", async () => (await wire.during(together)) === 0);
});

test("a server whose line is cut without a word stops trusting what it keeps, until it hears again", async () => {
  const { wire, server } = await startOn(await makeDatabase());
  const { key, byTheSide } = await makeKey(server);
  await warm(wire, server.url, key);
  wire.holdFeed();
  await byTheSide();
  const revoked = performance.now();
  expect((await lastAccepted(server.url, key)) - revoked).toBeLessThan(BOUND_MS);

  const other = await makeKey(server);
  for (let i = 0; i < 3; i++) expect(await wire.during(() => whoami(server.url, other.key))).toBeGreaterThan(0);
  wire.releaseFeed();
  await warm(wire, server.url, other.key);
});

test("what a server has done itself, it knows in the next call, whether it hears of it or not", async () => {
  const { wire, server } = await startOn(await makeDatabase());
  const { key, revoke } = await makeKey(server);
  await warm(wire, server.url, key);
  wire.holdFeed();
  await revoke();
  expect((await whoami(server.url, key)).status).toBe(401);
});

test("behind a pooler that loses notifications, nothing is kept and all is right", async () => {
  const { wire, server } = await startOn(await makeDatabase(), { pooled: true });
  const { key, byTheSide } = await makeKey(server);
  for (const end = Date.now() + 2000; Date.now() < end; )
    expect(await wire.during(async () => expect((await whoami(server.url, key)).status).toBe(200))).toBeGreaterThan(0);
  await byTheSide();
  expect((await whoami(server.url, key)).status).toBe(401);
});

test("what was read before it changed is not kept", async () => {
  const { wire, server } = await startOn(await makeDatabase());
  const { session, id } = await server.user("Before");
  const { key } = (await server.call(session, "apiKey.create", { name: "k" })).result as { key: string };
  const name = async () => ((await (await whoami(server.url, key)).json()) as { result: { name: string } }).result.name;
  let first: Promise<string> | undefined;
  // The first call with a key reads whose it is, then notes that the key was used: there it waits.
  await whileLocked(server.sql, "select from api_keys where hash = sha256($1::text::bytea) for update", key, async (waiting) => {
    first = name();
    await waiting(1);
    await server.sql`update auth."user" set name = 'After' where id = ${id}`;
    // A change that the server made later has been told: so has this one.
    await warm(wire, server.url, (await makeKey(server)).key);
  });
  expect(await first).toBe("Before");
  expect(await name()).toBe("After");
});

test("a server that is paused while something is revoked does not accept it when it goes on", async () => {
  const database = await makeDatabase();
  const { server } = await startOn(database);
  const wire = await tapWire(database);
  after.push(wire.close);
  const paused = await startUp(
    await makeHome({ DATABASE_URL: wire.url, GATEHOUSE_SECRET: server.secret, RATE_LIMIT: "0", FAILED_AUTH_LIMIT: "0" }),
  );
  for (let round = 0; round < 5; round++) {
    const { key, revoke } = await makeKey(server);
    await warm(wire, paused.url, key);
    paused.child.kill("SIGSTOP");
    const since = Date.now();
    await revoke();
    const calls = Array.from({ length: 20 }, () => whoami(paused.url, key));
    await until("it is the last beat's word no more", () => Date.now() - since > BOUND_MS);
    paused.child.kill("SIGCONT");
    for (const answer of await Promise.all(calls)) expect(answer.status).toBe(401);
  }
  await paused.stop();
});

test("a database that restarts, and is changed before it is listened to again, takes nobody in", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-feed-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
  after.push(() => rm(folder, { recursive: true, force: true }));
  const startPostgres = () => openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
  let postgres = await startPostgres();
  after.push(() => postgres.close());
  const { wire, server } = await startOn(postgres.address);
  const { key, byTheSide } = await makeKey(server);
  const kept = await makeKey(server);
  await warm(wire, server.url, key);
  await postgres.close();
  postgres = await startPostgres();
  await until("the database is back", async () => (await byTheSide()).count === 1);
  await until("and a call gets through", async () => (await whoami(server.url, key)).status !== 503);
  expect((await whoami(server.url, key)).status).toBe(401);
  await warm(wire, server.url, kept.key);
});
