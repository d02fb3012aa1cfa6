import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Writable } from "node:stream";
import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openFeed } from "../packages/server/src/feed.ts";
import { openBell } from "../packages/server/src/sessions/bell.ts";
import { Streams } from "../packages/server/src/sessions/stream.ts";
import { openTails } from "../packages/server/src/sessions/tails.ts";
import { eventsOf } from "./events.ts";
import { until } from "./run.ts";
import { makeTurns, type Turns } from "./turns.ts";

let turns: Turns;
beforeAll(async () => {
  turns = await makeTurns({ LEASE_SECONDS: "300" });
});
afterAll(() => turns.server.close());

const api = (path: string, headers: Record<string, string> = {}, body?: object) =>
  fetch(`${turns.server.url}/api/v1${path}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${turns.credential}`, "x-me-space": turns.slug, "content-type": "application/json", ...headers },
    ...(body && { body: JSON.stringify(body) }),
  });

test("a session ends when it expires: its run and its turns end, its streams close, and nothing is said in it any more", async () => {
  const expiresAt = new Date(Date.now() + 2000).toISOString();
  const { session } = await turns.must("session.create", { task: "brief", externalId: "brief", message: "one", expiresAt });
  expect(session).toMatchObject({ status: "open", expiresAt });
  const { lease } = await turns.must("run.lease", { tasks: ["brief"], worker: "w", waitSeconds: 5 });
  const hold = { run: lease.run, epoch: lease.epoch };
  const { turn } = (await turns.must("run.next", hold)).input;
  const beating = turns.call("run.heartbeat", { ...hold, turn, waitSeconds: 20 });
  const told = [];
  // It is read to its end, which comes by itself.
  for await (const { event, data } of eventsOf(await api("/sessions/brief/out"))) told.push({ event, ...JSON.parse(data) });
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
  expect(told.map(({ event }) => event)).toEqual(["message", "run", "turn-start", "run-end", "turn-end", "close", "end"]);
  expect(told.slice(-3)).toMatchObject([{ data: { outcome: "stopped" } }, { data: { reason: "expired" } }, { why: "the session is over" }]);
  expect((await beating).error?.data.code, "its worker is told").toBe("LEASE_LOST");
  const late = await api("/sessions/brief/in", {}, { message: "two" });
  expect([late.status, await late.json()]).toMatchObject([409, { code: "SESSION_EXPIRED" }]);
  const again = await api("/sessions", {}, { task: "brief", externalId: "brief" });
  expect([again.status, await again.json()]).toMatchObject([409, { code: "SESSION_EXPIRED" }]);
  expect(await turns.must("session.get", { session: "brief" })).toMatchObject({ status: "expired", closedAt: expect.any(String) });
});

test("who has read more than there is, as before a restored database, is told so; from the very end the stream goes on", async () => {
  const { session } = await turns.must("session.create", { task: "restored", message: "one" });
  const { lastSeq } = session;
  for (const place of [lastSeq + 1, 99]) {
    const beyond = await api(`/sessions/${session.id}/out`, { "last-event-id": String(place) });
    expect(beyond.status, `${place}`).toBe(400);
    expect(await beyond.json()).toMatchObject({ code: "INVALID_PARAMS" });
  }
  const reader = eventsOf(await api(`/sessions/${session.id}/out`, { "last-event-id": String(lastSeq) }));
  await turns.must("session.close", { session: session.id });
  const told = [];
  for await (const { event } of reader) told.push(event);
  expect(told.slice(-2)).toEqual(["close", "end"]);
});

const BYTES = 40_000_000;

/** A line between two sockets: ours, to which is written, and that of a reader. */
async function makeLine(): Promise<{ ours: Socket; reader: Socket }> {
  const listening = createServer().listen(0, "127.0.0.1");
  await once(listening, "listening");
  const reader = connect((listening.address() as AddressInfo).port, "127.0.0.1");
  const [ours] = (await once(listening, "connection")) as [Socket];
  for (const socket of [ours, reader]) socket.on("error", () => {}); // it is cut on purpose
  onTestFinished(() => {
    for (const socket of [ours, reader]) socket.destroy();
    listening.close();
  });
  return { ours, reader };
}

test("a reader who stops reading holds little, and is dropped after a while; one who reads is not", async () => {
  const { session } = await turns.must("session.create", { task: "long", message: "one" });
  // More than any socket holds.
  await turns.server.sql`
    select log_event(${session.id}, 'out', 'chunks', 1, null, null, to_jsonb(array[repeat('x', 200000)])) from generate_series(1, ${BYTES / 200_000})`;
  const sql = openDatabase(turns.server.databaseUrl);
  const log = { warn: () => {}, info: () => {} } as never;
  const [feed, bell] = [openFeed(turns.server.databaseUrl, log), openBell(turns.server.databaseUrl, log)];
  const stalledMs = 1000;
  const streams = new Streams(feed, log, stalledMs);
  onTestFinished(async () => {
    streams.close();
    await Promise.all([feed.close(), bell.close()]);
    await sql.end();
  });
  const tails = openTails(bell);
  const reader = { party: "somebody", allowed: async () => true, sent: async () => {} };
  const [stuck, reading] = [await makeLine(), await makeLine()];

  // Each listener that stayed would hold what was written before it was added, for as long as the stream is open.
  let [most, writes] = [0, 0];
  const slow = new Writable({
    highWaterMark: 1,
    write(_chunk, _encoding, done) {
      most = Math.max(most, slow.listenerCount("close"));
      writes++;
      setImmediate(done);
    },
  });
  void streams.serve(slow, tails.follow(session.id, 0, sql, sql), reader);

  let taken = 0;
  reading.reader.on("data", (chunk: Buffer) => {
    taken += chunk.length;
  });
  stuck.reader.pause();
  const startedAt = performance.now();
  const serving = streams.serve(stuck.ours, tails.follow(session.id, 0, sql, sql), reader);
  void streams.serve(reading.ours, tails.follow(session.id, 0, sql, sql), reader);
  let held = 0;
  await until("it is dropped", () => {
    held = Math.max(held, stuck.ours.writableLength);
    return stuck.ours.destroyed;
  });
  expect(held, "bytes of an event that holds 200,000").toBeLessThan(300_000);
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(stalledMs - 50);
  await serving;
  await until("the other has all of it", () => taken > BYTES);
  expect(reading.ours.destroyed).toBe(false);
  await until("the slow one has much of it", () => writes > 100);
  expect(most, "listeners of an open stream").toBeLessThanOrEqual(3);
});

test("many readers of one party, who take long to be asked, hold up the end of no other's stream, and are asked in one round at a time", async () => {
  const { session } = await turns.must("session.create", { task: "many", message: "one" });
  const sql = openDatabase(turns.server.databaseUrl);
  const log = { warn: () => {}, info: () => {} } as never;
  const [feed, bell] = [openFeed(turns.server.databaseUrl, log), openBell(turns.server.databaseUrl, log)];
  const streams = new Streams(feed, log);
  const tails = openTails(bell);
  const MANY = 400;
  /** Readers that are asked now: their answers come when the test says. */
  const asked: (() => void)[] = [];
  let open = true;
  let counted = 0;
  const wait = () =>
    new Promise<boolean>((resolve) => {
      counted++;
      if (open) resolve(true);
      else asked.push(() => resolve(true));
    });
  onTestFinished(async () => {
    open = true;
    for (const go of asked) go();
    streams.close();
    await Promise.all([feed.close(), bell.close()]);
    await sql.end();
  });
  const reading = (party: string, allowed: () => Promise<boolean>) => {
    const written: string[] = [];
    const to = new Writable({
      write(chunk, _encoding, done) {
        written.push(String(chunk));
        done();
      },
    });
    void streams.serve(to, tails.follow(session.id, 0, sql, sql), { party, allowed, sent: async () => {} });
    return written;
  };
  for (let i = 0; i < MANY; i++) reading("many", wait);
  let mayRead = true;
  const other = reading("other", async () => mayRead);
  await until("all are open", () => counted >= MANY && other.join("").includes("event: message"));
  open = false;
  await until("some are asked, and wait", () => asked.length > 0);
  mayRead = false;
  await until("the other's stream has ended", () => other.join("").includes("access ended"));
  // Of theirs no more are asked than before, in however many rounds.
  const before = asked.length;
  await until("another round was due", async () => (await turns.must("session.get", { session: session.id })).id === session.id);
  expect([before <= 16, asked.length]).toEqual([true, before]);
});
