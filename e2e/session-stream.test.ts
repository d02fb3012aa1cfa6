import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { eventsOf } from "./events.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;

beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(() => server.close());

const rest = (credential: string, path: string, init: RequestInit = {}) =>
  fetch(`${server.url}/api/v1${path}`, {
    ...init,
    headers: { authorization: `Bearer ${credential}`, "x-me-space": slug, "content-type": "application/json", ...init.headers },
  });

test("a log is read as it grows, goes on from the last event that was seen, and ends with its session", async () => {
  const made = await rest(ada.session, "/sessions", {
    method: "POST",
    body: JSON.stringify({ task: "echo", externalId: "talk", message: "one" }),
  });
  expect(made.status).toBe(201);
  const { session } = (await made.json()) as { session: { id: string } };
  const again = await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "talk" }) });
  expect(again.status).toBe(200);

  const out = await rest(ada.session, "/sessions/talk/out");
  expect([out.status, out.headers.get("content-type"), out.headers.get("cache-control")]).toEqual([
    200,
    "text/event-stream; charset=utf-8",
    "no-store",
  ]);
  const reader = eventsOf(out);
  expect((await reader.next()).value).toMatchObject({ id: "1", event: "message" });
  expect((await reader.next()).value).toMatchObject({ id: "2", event: "run" });
  await rest(ada.session, `/sessions/${session.id}/in`, { method: "POST", body: JSON.stringify({ message: "two", inputId: "second" }) });
  expect((await reader.next()).value).toMatchObject({ id: "3", event: "message" });

  const later = eventsOf(await rest(ada.session, "/sessions/talk/out", { headers: { "last-event-id": "2" } }));
  expect((await later.next()).value).toMatchObject({ id: "3" });
  await rest(ada.session, "/sessions/talk/close", { method: "POST" });
  const kinds = [];
  for await (const { event } of reader) kinds.push(event);
  expect(kinds).toEqual(["run-end", "turn-end", "turn-end", "close", "end"]);
  const closed = await rest(ada.session, "/sessions/talk/in", { method: "POST", body: JSON.stringify({ message: "three" }) });
  expect([closed.status, closed.headers.get("content-type"), await closed.json()]).toMatchObject([
    409,
    "application/problem+json; charset=utf-8",
    { code: "SESSION_CLOSED" },
  ]);
  const over = eventsOf(await rest(ada.session, "/sessions/talk/out", { headers: { "last-event-id": "7" } }));
  expect((await over.next()).value).toMatchObject({ event: "end" });
});

test("an empty Last-Event-ID, or an empty after, means the beginning", async () => {
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "empty", message: "one" }) });
  const open = [
    await rest(ada.session, "/sessions/empty/out", { headers: { "last-event-id": "" } }),
    await rest(ada.session, "/sessions/empty/out?after="),
    await rest(ada.session, "/sessions/empty/out?after=", { headers: { "last-event-id": "" } }),
  ];
  for (const out of open) {
    const reader = eventsOf(out);
    expect((await reader.next()).value).toMatchObject({ id: "1", event: "message" });
  }
  const behind = eventsOf(await rest(ada.session, "/sessions/empty/out?after=1", { headers: { "last-event-id": "" } }));
  expect((await behind.next()).value).toMatchObject({ id: "2" });
  const page = await rest(ada.session, "/sessions/empty/events?after=");
  expect(((await page.json()) as { events: { seq: number }[] }).events[0]?.seq).toBe(1);
});

test("a stream ends with its reader's right to read", async () => {
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "private" }) });
  const { key, id } = (await server.call(ada.session, "apiKey.create", { name: "reader" })).result;
  const reader = eventsOf(await rest(key, "/sessions/private/out"));
  await server.call(ada.session, "apiKey.delete", { id });
  expect((await reader.next()).value).toMatchObject({ event: "end", data: JSON.stringify({ why: "access ended" }) });
});

test("it ends so however full its reader keeps their own line to the database", async () => {
  const eve = await server.user("eve");
  await server.join(slug, ada, eve);
  await server.call(ada.session, "access.grant", { principal: eve.id, permission: "read:tasks" }, slug);
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "watched" }) });
  const reader = eventsOf(await rest(eve.session, "/sessions/watched/out"));
  const own = (await server.call(eve.session, "space.create", { name: "Own" })).result.slug;
  let lists: Promise<unknown>[] = [];
  await server.sql.begin(async (tx) => {
    await tx`lock table sessions in access exclusive mode`;
    lists = Array.from({ length: 60 }, () => server.call(eve.session, "session.list", {}, own));
    await until("her line is full", async () => {
      const [waiting] = await tx<{ count: string }[]>`select count(*) from pg_locks where not granted and relation = 'sessions'::regclass`;
      return Number(waiting?.count) >= 6;
    });
    const removedAt = performance.now();
    expect((await server.call(ada.session, "principal.remove", { principal: eve.id }, slug)).error).toBeUndefined();
    expect((await reader.next()).value).toMatchObject({ event: "end", data: JSON.stringify({ why: "access ended" }) });
    expect(performance.now() - removedAt).toBeLessThan(5000);
  });
  await Promise.all(lists);
});

test("nothing is written to a reader of whom it can't be told whether they still may", async () => {
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "gated" }) });
  const { key, id } = (await server.call(ada.session, "apiKey.create", { name: "gated" })).result;
  const reader = eventsOf(await rest(key, "/sessions/gated/out"));
  const witness = eventsOf(await rest(ada.session, "/sessions/gated/out"));
  await server.sql.begin(async (tx) => {
    await tx`lock table auth."user" in access exclusive mode`;
    await server.sql`delete from api_keys where id = ${id}`;
    await until("it is being asked whether the reader may", async () => {
      const [waiting] = await tx<
        { count: string }[]
      >`select count(*) from pg_locks where not granted and relation = 'auth."user"'::regclass`;
      return Number(waiting?.count) > 0;
    });
    const askedAt = performance.now();
    await until("what was answered before is too old", () => performance.now() - askedAt > 400);
    await server.sql`
      select log_event(s.id, 'in', 'message', null, null, null, '{"id": "1", "message": "secret"}') from sessions s where external_id = 'gated'`;
    expect((await witness.next()).value).toMatchObject({ event: "message" });
  });
  expect((await reader.next()).value).toMatchObject({ event: "end", data: JSON.stringify({ why: "access ended" }) });
});

test("a stream whose log can't be read is closed, so that its reader comes again", async () => {
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "away", message: "one" }) });
  const told: string[] = [];
  await server.sql.begin(async (tx) => {
    await tx`lock table session_events in access exclusive mode`;
    let over = false;
    const reading = (async () => {
      for await (const { event } of eventsOf(await rest(ada.session, "/sessions/away/out"))) told.push(event);
      over = true;
    })();
    await until("the stream is over, as the line to the database breaks whenever the log is read", async () => {
      await tx`select pg_terminate_backend(pid) from pg_locks where not granted and relation = 'session_events'::regclass`;
      return over;
    });
    await reading;
  });
  expect(told, "nothing, and nothing of an end").toEqual([]);
  const again = eventsOf(await rest(ada.session, "/sessions/away/out"));
  expect((await again.next()).value).toMatchObject({ id: "1", event: "message" });
});

test("what is said on one server is read on another as soon as it is kept", async () => {
  const other = await startTestServer({ DATABASE_URL: server.databaseUrl });
  onTestFinished(() => other.close());
  const must = async (method: string, params: object) => (await server.call(ada.session, method, params, slug)).result;
  const { session } = await must("session.create", { task: "afar", message: "one" });
  const { run, epoch } = (await must("run.lease", { tasks: ["afar"], worker: "w", waitSeconds: 5 })).lease;
  const { turn } = (await must("run.next", { run, epoch })).input;
  const headers = { authorization: `Bearer ${ada.session}`, "x-me-space": slug };
  const reader = eventsOf(await fetch(`${other.url}/api/v1/sessions/${session.id}/out`, { headers }));
  for (let i = 0; i < 3; i++) await reader.next();
  // One after the other, so that none is told of by the next.
  for (const delta of ["a", "b", "c"]) {
    const { seq } = await must("run.emit", { run, epoch, turn, chunks: [{ type: "text-delta", id: "1", delta }] });
    expect((await reader.next()).value).toMatchObject({ id: String(seq), event: "chunks" });
  }
});
