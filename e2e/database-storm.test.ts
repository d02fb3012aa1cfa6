import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openConfiguredDatabase, openDatabase, readConfig } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openLine } from "./database-line.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { until } from "./run.ts";

// What a server does under load when it loses its database: a Postgres of its own, which this file stops and starts.

const CALLERS = 64;
/** Longest that a call may take while the database comes and goes. Most of it is the machine's, which has all callers on it too. */
const MOST_MS = 5000;
/** How soon after the database is back each call gets through. */
const BACK_MS = 2000;
/** The longest a query waits for its answer, and what comes on top. */
const FROZEN_MS = 35_000;

let folder: string;
let postgres: Awaited<ReturnType<typeof openConfiguredDatabase>>;
let line: Awaited<ReturnType<typeof openLine>>;
let server: TestServer;
let session: string;
let key: string;
const startPostgres = () => openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-storm-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
  postgres = await startPostgres();
  line = await openLine(postgres.address);
  server = await startTestServer({ DATABASE_URL: line.url });
  session = (await server.user("Alice")).session;
  key = (await server.call(session, "apiKey.create", { name: "survivor" })).result.key;
});
afterAll(async () => {
  await server.close();
  await line.close();
  await postgres.close();
  await rm(folder, { recursive: true, force: true });
});

interface Called {
  at: number;
  ms: number;
  code: string;
}

/** Callers who never pause, some of whom write, while something happens. */
async function storm(happen: () => Promise<unknown>): Promise<Called[]> {
  const calls: Called[] = [];
  let on = true;
  const asks = [
    () => server.call(key, "space.list"),
    () => server.call(session, "agent.list"),
    () => server.call(key, "whoami"),
    (n: number) => server.call(session, "space.create", { name: `stormy ${n}` }),
  ];
  const callers = Array.from({ length: CALLERS }, async (_, i) => {
    while (on) {
      const at = performance.now();
      const { error } = await (asks[i % asks.length] as (typeof asks)[3])(i);
      calls.push({ at, ms: performance.now() - at, code: error?.data.code ?? "OK" });
    }
  });
  const count = calls.length;
  await until("the callers are at it", async () => calls.length > count + CALLERS);
  try {
    await happen();
  } finally {
    on = false;
    await Promise.all(callers);
  }
  return calls;
}

/** Lets callers go on for as long as some may not get through, and for a while in which all must. */
const goOn = () => new Promise((resolve) => setTimeout(resolve, BACK_MS + 1000));
const activity = () => postgres.sql<{ state: string }[]>`
  select state from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and state <> 'idle'`;

/** What takes the database away; it is back when this is done. */
const losses: Record<string, () => Promise<unknown>> = {
  "is restarted": async () => {
    await postgres.close();
    postgres = await startPostgres();
  },
  "ends all its sessions": () =>
    postgres.sql`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`,
  "is behind a line that is cut": async () => line.reset(),
};

test.each(Object.entries(losses))("a database that %s, under load: no call hangs, and all soon get through", async (_how, lose) => {
  let back = Number.POSITIVE_INFINITY;
  const calls = await storm(async () => {
    for (let round = 0; round < 3; round++) {
      await lose();
      back = performance.now();
      await goOn();
    }
  });
  expect(calls.filter(({ code }) => code === "UNAVAILABLE").length, "something was lost").toBeGreaterThan(0);
  expect(Math.max(...calls.map(({ ms }) => ms))).toBeLessThan(MOST_MS);
  expect(new Set(calls.map(({ code }) => code))).toEqual(new Set(["OK", "UNAVAILABLE"]));
  const after = calls.filter(({ at }) => at > back + BACK_MS);
  expect(after.length).toBeGreaterThan(CALLERS / 2);
  expect(new Set(after.map(({ code }) => code))).toEqual(new Set(["OK"]));
  await until("every connection is idle", async () => (await activity()).length === 0);
});

test("a database that is frozen: each call is UNAVAILABLE in the end, and what may take its time goes on", async () => {
  const [begun, frozen] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const sql = openDatabase(line.url);
  const patient = sql.begin(
    async (tx) => {
      begun.resolve();
      await frozen.promise;
      return tx`select 1 as one`;
    },
    { patient: true },
  );
  await begun.promise;
  const calls = await storm(async () => {
    line.stop();
    frozen.resolve();
    await new Promise((resolve) => setTimeout(resolve, FROZEN_MS));
  });
  expect(Math.max(...calls.map(({ ms }) => ms))).toBeLessThan(FROZEN_MS);
  expect(new Set(calls.map(({ code }) => code))).toEqual(new Set(["OK", "UNAVAILABLE"]));
  line.go();
  expect(await patient).toEqual([{ one: 1 }]);
  await sql.end();
  await until("calls get through", async () => (await server.call(key, "space.list")).result);
});
