import { createSpaceClient, followSession, type GatehouseError, type Target } from "@gatehouse/client";
import type { SessionEvent } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startCutter } from "./cutter.ts";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

let server: TestServer;
let ada: TestUser;
let target: Target & { space: string };
beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  const { slug } = (await server.call(ada.session, "space.create", { name: "Acme" })).result;
  target = { server: server.url, credential: ada.session, space: slug };
});
afterAll(() => server.close());

const space = () => createSpaceClient(target);
const open = async () => (await space().session.create({ task: "echo" })).session.id;

/** Follows in the background. @returns what has come so far, and the end */
function following(to: Target, session: string, options: Parameters<typeof followSession>[2] = {}) {
  const events: SessionEvent[] = [];
  const stop = new AbortController();
  const run = async () => {
    for await (const event of followSession(to, session, { signal: stop.signal, ...options })) events.push(event);
  };
  const over = run();
  over.catch(() => {}); // for whoever asks
  onTestFinished(() => stop.abort());
  return { events, over, stop };
}

const places = (events: SessionEvent[]) => events.map(({ seq }) => seq);
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1);

async function cutter(of = server.url) {
  const made = await startCutter(of);
  onTestFinished(() => made.close());
  return made;
}

test("a log is followed from any place, as it grows, until its session is over", async () => {
  const session = await open();
  await space().session.send({ session, message: "one" });
  const all = following(target, session);
  await until("the first message is there", () => all.events.length >= 2);
  const later = following(target, session, { after: 2 });
  await space().session.send({ session, message: "two" });
  await until("the second is there", () => later.events.length === 1);
  await space().session.close({ session });
  await Promise.all([all.over, later.over]);
  const { events } = await space().session.events({ session });
  expect(all.events).toEqual(events);
  expect(later.events).toEqual(events.slice(2));
  // One who comes too late.
  await following(target, session, { after: events.length }).over;
});

test("lines that break anywhere, in the middle of an event or of a character, lose nothing and repeat nothing", async () => {
  const session = await open();
  const line = await cutter();
  line.breaksAfter = (count) => 3000 * count;
  const read = following({ ...target, server: line.url }, session);
  for (let i = 0; i < 40; i++) {
    await space().session.send({ session, message: `${i} ${"🌍ü".repeat(i)}` });
    if (i % 8 === 0) line.cut();
  }
  const { lastSeq } = await space().session.get({ session });
  await until("all is read", () => read.events.length >= lastSeq, 60_000);
  expect(places(read.events)).toEqual(upTo(lastSeq));
  expect(read.events).toEqual((await space().session.events({ session, limit: 1000 })).events);
  expect(line.count).toBeGreaterThan(3);
  // Whole again, it stays.
  line.breaksAfter = () => Number.POSITIVE_INFINITY;
  line.cut();
  await space().session.close({ session });
  await read.over;
});

test("a line on which nothing comes is left for another", async () => {
  const session = await open();
  const line = await cutter();
  const read = following({ ...target, server: line.url }, session, { silenceMs: 1000 });
  await space().session.send({ session, message: "one" });
  await until("it reads", () => read.events.length === 2);
  line.silence();
  const { seq } = await space().session.send({ session, message: "two" });
  await until("it reads again", () => read.events.at(-1)?.seq === seq);
  expect(places(read.events)).toEqual(upTo(seq));
  expect(line.count).toBeGreaterThan(1);
});

test("a server that stops and comes back, elsewhere, is followed on", async () => {
  const databaseUrl = await makeDatabase();
  const first = await startTestServer({ DATABASE_URL: databaseUrl });
  const { session: credential } = await first.user("bo");
  const { slug } = (await first.call(credential, "space.create", { name: "Bo" })).result;
  let url = first.url;
  const moving: typeof fetch = Object.assign((input: string | URL | Request, init?: RequestInit) => {
    const { pathname } = new URL(input.toString());
    return fetch(new URL(pathname, url), init);
  }, fetch);
  const at = { server: first.url, credential, space: slug, fetch: moving };
  const bo = createSpaceClient(at);
  const { session } = await bo.session.create({ task: "echo", message: "one" });
  const read = following(at, session.id);
  await until("it reads", () => read.events.length === 2);
  await first.close();
  const second = await startTestServer({ DATABASE_URL: databaseUrl });
  onTestFinished(() => second.close());
  url = second.url;
  await bo.session.send({ session: session.id, message: "two" });
  await bo.session.close({ session: session.id });
  await read.over;
  expect(places(read.events)).toEqual(upTo(read.events.length));
  expect(read.events.at(-1)?.kind).toBe("close");
});

test("a credential that ends is asked for once more, and the log is read on; without another, it says why it ended", async () => {
  const session = await open();
  const keys = await Promise.all(["one", "two"].map(async (name) => (await server.call(ada.session, "apiKey.create", { name })).result));
  const refused: unknown[] = [];
  let current = 0;
  const credential = (no?: string) => {
    if (no !== undefined) {
      refused.push(no);
      if (current < keys.length - 1) current++;
    }
    return keys[current].key as string;
  };
  const read = following({ ...target, credential }, session);
  await space().session.send({ session, message: "one" });
  await until("it reads", () => read.events.length === 2);
  await server.call(ada.session, "apiKey.delete", { id: keys[0].id });
  await space().session.send({ session, message: "two" });
  await until("it reads on", () => read.events.length === 3);
  await until("the first key is refused", () => refused.length > 0);
  expect(refused).toEqual([keys[0].key]);
  await server.call(ada.session, "apiKey.delete", { id: keys[1].id });
  await expect(read.over).rejects.toMatchObject({ name: "GatehouseError", code: "UNAUTHENTICATED" } satisfies Partial<GatehouseError>);
  expect(places(read.events)).toEqual([1, 2, 3]);
});

test("what is refused is thrown, as are an address where nobody is, and one where somebody else is", async () => {
  const eve = await server.user("eve");
  const session = await open();
  const refused = (to: Target, ref: string) => expect(following(to, ref).over).rejects;
  await refused(target, "no-such").toMatchObject({ code: "NOT_FOUND", requestId: expect.any(String) });
  await refused({ ...target, credential: eve.session }, session).toMatchObject({ code: "NOT_FOUND" });
  await refused({ ...target, credential: "me_nope" }, session).toMatchObject({ code: "UNAUTHENTICATED" });
  await refused({ ...target, server: "http://127.0.0.1:1" }, session).toMatchObject({ code: "UNREACHABLE" });
  const elsewhere = Object.assign(async () => new Response("<h1>hello</h1>", { headers: { "content-type": "text/html" } }), fetch);
  await refused({ ...target, fetch: elsewhere }, session).toMatchObject({ code: "BAD_ANSWER" });
});

test("who stops following hears no more, at once and without an error", async () => {
  const session = await open();
  const read = following(target, session);
  await space().session.send({ session, message: "one" });
  await until("it reads", () => read.events.length === 2);
  read.stop.abort();
  await read.over;
  const none = new AbortController();
  none.abort();
  await following(target, session, { signal: none.signal }).over;
});
