import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openConfiguredDatabase, openDatabase, readConfig } from "@gatehouse/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { eventsOf } from "./events.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { until } from "./run.ts";

// A Postgres of its own, which this file stops and starts: the server under test outlives it.

let folder: string;
let postgres: Awaited<ReturnType<typeof openConfiguredDatabase>>;
let server: TestServer;
let session: string;
let key: string;
const startPostgres = () => openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-loss-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
  postgres = await startPostgres();
  server = await startTestServer({ DATABASE_URL: postgres.address });
  session = (await server.user("Alice")).session;
  key = (await server.call(session, "apiKey.create", { name: "survivor" })).result.key;
});
afterAll(async () => {
  await server.close();
  await postgres.close();
  await rm(folder, { recursive: true, force: true });
});

const get = async (path: string) => {
  const answer = await fetch(server.url + path);
  const text = await answer.text();
  expectClean(text);
  return answer.status;
};
async function expectUnavailable(answer: Awaited<ReturnType<TestServer["call"]>>): Promise<void> {
  expect(answer).toMatchObject({ error: { code: 503, data: { code: "UNAVAILABLE" } } });
  expectClean(JSON.stringify(answer.error));
}

type Answers = ReturnType<TestServer["call"]>[];
type Transaction = Parameters<Parameters<TestServer["sql"]["begin"]>[0]>[0];

/** Starts calls that can't be done, because another transaction holds the table; when they hang there, goes on. */
async function whileHeld(calls: readonly [method: string, params: object][], goOn: (held: Answers, tx: Transaction) => Promise<void>) {
  const blocker = openDatabase(postgres.address);
  await blocker
    .begin(async (tx) => {
      await tx`lock table principals in access exclusive mode`;
      const held = calls.map(([method, params]) => server.call(session, method, params));
      await until("the calls wait for the lock", async () => {
        const waiting = await tx`select from pg_locks where not granted and relation = 'principals'::regclass`;
        return waiting.length === calls.length;
      });
      await goOn(held, tx);
    })
    .finally(() => blocker.end());
}
const WRITE_AND_READ = [
  ["space.create", { name: "half made" }],
  ["agent.list", {}],
] as const satisfies [string, object][];

describe("a database that goes away", () => {
  test("in the middle of a call: UNAVAILABLE, and nothing was done", async () => {
    await whileHeld(WRITE_AND_READ, async (held, tx) => {
      await tx`select pg_terminate_backend(pid) from pg_locks where not granted and relation = 'principals'::regclass`;
      for (const answer of await Promise.all(held)) await expectUnavailable(answer);
    });
    // The line is new, the server the same.
    expect((await server.call(session, "space.list")).result).toEqual({ spaces: [], next: null });
  });

  test("all lines cut at once: the next calls get through", async () => {
    await postgres.sql`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`;
    await until("both kinds of credential work again", async () => {
      const [bySession, byKey] = await Promise.all([server.call(session, "whoami"), server.call(key, "space.list")]);
      for (const answer of [bySession, byKey]) if (answer.error) await expectUnavailable(answer);
      return bySession.result && byKey.result;
    });
  });

  test("and stays away: every call is UNAVAILABLE, soon, and the server lives; when it is back, so is the server", async () => {
    expect(await get("/readyz")).toBe(200);
    const gone = whileHeld(WRITE_AND_READ, async (held) => {
      await postgres.close();
      for (const answer of await Promise.all(held)) await expectUnavailable(answer);
    });
    await expect(gone, "what held them has gone too").rejects.toThrow("onnection");

    for (let round = 0; round < 3; round++) {
      for (const credential of [session, key]) {
        const answer = await server.call(credential, "whoami");
        await expectUnavailable(answer);
        expect(answer.status).toBe(503);
      }
      expect(await get("/readyz")).toBe(503);
      expect(await get("/healthz")).toBe(200);
    }
    // What needs no database is told as ever: nothing about it may depend on whether there is one.
    expect((await server.call(undefined, "whoami")).status).toBe(401);
    expect((await server.call(`${key.slice(0, -1)}!`, "whoami")).status).toBe(401);

    const signIn = await fetch(`${server.url}/api/auth/sign-in/email`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ email: "alice@example.com", password: "correct horse battery staple" }),
    });
    const problem = await signIn.text();
    expectClean(problem);
    expect(JSON.parse(problem)).toMatchObject({ status: 503, code: "UNAVAILABLE" });

    postgres = await startPostgres();
    await until("it is ready again", async () => (await get("/readyz")) === 200);
    await until("sessions are known again", async () => (await server.call(session, "whoami")).result);
    expect((await server.call(key, "space.create", { name: "after" })).result.name).toBe("after");
    const { result } = await server.call(session, "space.list");
    expect(result.spaces.map(({ name }: { name: string }) => name)).toEqual(["after"]);
  });

  test("a reader of a session who has read all there is stays through it, and misses nothing", async () => {
    const { slug } = (await server.call(session, "space.create", { name: "Talk" })).result;
    const talk = (await server.call(session, "session.create", { task: "echo", message: "one" }, slug)).result.session.id;
    const headers = { authorization: `Bearer ${session}`, "x-me-space": slug };
    const reader = eventsOf(await fetch(`${server.url}/api/v1/sessions/${talk}/out`, { headers }));
    expect([(await reader.next()).value?.event, (await reader.next()).value?.event]).toEqual(["message", "run"]);
    await postgres.close();
    await expectUnavailable(await server.call(session, "session.send", { session: talk, message: "lost" }, slug));
    postgres = await startPostgres();
    await until("it is kept", async () => (await server.call(session, "session.send", { session: talk, message: "two" }, slug)).result);
    expect((await reader.next()).value).toMatchObject({ id: "3", event: "message" });
  });
});
