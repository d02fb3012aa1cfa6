import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { eventsOf } from "./events.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { whileLocked } from "./rivals.ts";

// Connections to the database, where one caller holds all that they may have: others go on.

/** Connections that one person may hold; with one that is kept for what they take back; and by keys, too. */
const HELD = { usual: 6, urgent: 7, all: 8 };
/** More calls than that. */
const MANY = 14;

let server: TestServer;
let ada: TestUser;
let ben: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  [ada, ben] = [await server.user("ada"), await server.user("ben")];
  await server.acquaint(ada, ben);
  slug = (await must(server, ada.session, "space.create", { name: "Lines" })).slug;
  await call(ada.session, "principal.add", { principal: ben.id });
  await call(ada.session, "access.grant", { principal: ben.id, permission: "write:tasks:t" });
});
afterAll(() => server.close());

/** Calls in the space. */
const call = (credential: string, method: string, params: object) => must(server, credential, method, params, slug);

/** Milliseconds that it takes. */
async function time(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
}

test("a person with many sessions, all of which wait to take something back, leaves connections to others", async () => {
  const sessions = await Promise.all(Array.from({ length: MANY }, () => server.signIn(ben.id)));
  let calls: Promise<unknown>[] = [];
  await whileLocked(server.sql, "select from principals where id = $1 for update", ben.id, async (waiting) => {
    calls = sessions.map((session) => server.call(session, "token.revoke", { token: "x" }));
    await waiting(HELD.urgent);
    expect(
      await time(() => call(ada.session, "access.revoke", { principal: ben.id, permission: "read:nothing" }).catch(() => {})),
    ).toBeLessThan(2000);
    expect(await time(() => call(ada.session, "group.create", { name: "while they wait" }))).toBeLessThan(2000);
  });
  await Promise.all(calls);
});

test("a person who changes and takes back something in person and by a key at once leaves connections to others", async () => {
  const { key } = await must(server, ben.session, "apiKey.create", { name: "ben" });
  const { key: adas, id } = await must(server, ada.session, "apiKey.create", { name: "ada" });
  for (const one of [key, adas]) await must(server, one, "whoami");
  let calls: Promise<unknown>[] = [];
  await whileLocked(server.sql, "select from principals where id = $1 for update", ben.id, async (waiting) => {
    const many = (credential: string, method: string, params: object) =>
      Array.from({ length: MANY }, () => server.call(credential, method, params));
    calls = [
      ...many(ben.session, "space.create", { name: "x" }),
      ...many(ben.session, "token.revoke", { token: "x" }),
      ...many(key, "token.revoke", { token: "x" }),
    ];
    await waiting(HELD.all);
    expect(await time(() => must(server, ada.session, "apiKey.delete", { id }))).toBeLessThan(2000);
    expect((await server.call(adas, "whoami")).status).toBe(401);
    expect(await time(() => must(server, ada.session, "space.create", { name: "while they wait" }))).toBeLessThan(2000);
  });
  await Promise.all(calls);
});

test("a person whose sessions wait to be ended leaves connections to others who sign out", async () => {
  const session = await server.signIn(ben.id);
  const out = (token: string) =>
    fetch(`${server.url}/api/auth/sign-out`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
  let calls: Promise<unknown>[] = [];
  await whileLocked(server.sql, 'select from auth.session where "userId" = $1 for update', ben.id, async (waiting) => {
    calls = Array.from({ length: MANY }, () => out(session));
    await waiting(HELD.urgent);
    const another = await server.signIn(ada.id);
    let status = 0;
    expect(await time(async () => (status = (await out(another)).status))).toBeLessThan(2000);
    expect(status).toBe(200);
  });
  await Promise.all(calls);
});

test("who opened a log first, and fills their own line, holds up no other reader", async () => {
  const { session } = await call(ada.session, "session.create", { task: "t", message: "one" });
  const { session: other } = await call(ben.session, "session.create", { task: "t", message: "held" });
  const out = (credential: string, signal?: AbortSignal) =>
    fetch(`${server.url}/api/v1/sessions/${session.id}/out`, {
      headers: { authorization: `Bearer ${credential}`, "x-me-space": slug },
      ...(signal && { signal }),
    });
  const leaving = new AbortController();
  const first = await out(ben.session, leaving.signal);
  const events = eventsOf(await out(ada.session));
  leaving.abort();
  await first.text().catch(() => {});
  let calls: Promise<unknown>[] = [];
  await whileLocked(server.sql, "select from sessions where id = $1 for update", other.id, async (waiting) => {
    calls = Array.from({ length: MANY }, (_, i) => server.call(ben.session, "session.update", { session: other.id, tags: [`${i}`] }, slug));
    await waiting(HELD.usual);
    await call(ada.session, "session.send", { session: session.id, message: "two" });
    for await (const { event, data } of events) if (event === "message" && data.includes("two")) break;
  });
  await Promise.all(calls);
});
