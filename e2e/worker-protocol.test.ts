import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer({ LEASE_SECONDS: "2" });
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(() => server.close());

const call = (method: string, params: object = {}) => server.call(ada.session, method, params, slug);
// biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
async function must(method: string, params: object = {}): Promise<any> {
  const { result, error } = await call(method, params);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** A session of a task of its own, leased, its first turn begun. */
async function begun(task: string) {
  const { session } = await must("session.create", { task, message: "hello" });
  const { lease } = await must("run.lease", { tasks: [task], worker: "w", waitSeconds: 5 });
  const hold = { run: lease.run, epoch: lease.epoch };
  const { input } = await must("run.next", { ...hold, waitSeconds: 5 });
  return { session: session.id as string, hold, turn: input.turn as number };
}

const chunksOf = async (session: string): Promise<string[]> =>
  (await must("session.events", { session })).events
    .filter(({ kind }: { kind: string }) => kind === "chunks")
    .flatMap(({ data }: { data: { delta: string }[] }) => data.map(({ delta }) => delta));

test("a batch of chunks whose answer was lost counts once when it is sent again; one that skips a batch is refused", async () => {
  const { session, hold, turn } = await begun("batches");
  const emit = (batch: number, delta: string) =>
    call("run.emit", { ...hold, turn, batch, chunks: [{ type: "text-delta", id: "1", delta }] });
  const first = await emit(1, "a");
  expect((await emit(1, "a")).result.seq).toBe(first.result.seq);
  await emit(2, "b");
  expect((await emit(1, "a")).error).toBeUndefined();
  expect((await emit(4, "d")).error?.data.code).toBe("CONFLICT");
  expect(await chunksOf(session)).toEqual(["a", "b"]);
  // Another attempt begins with batch 1 again.
  await must("run.end", hold);
  const { lease } = await must("run.lease", { tasks: ["batches"], worker: "w", waitSeconds: 5 });
  const next = { run: lease.run, epoch: lease.epoch };
  expect((await must("run.next", next)).input).toMatchObject({ turn, attempt: 2 });
  await must("run.emit", { ...next, turn, batch: 1, chunks: [{ type: "text-delta", id: "1", delta: "again" }] });
  expect(await chunksOf(session)).toEqual(["a", "b", "again"]);
});

const emit = ({ hold, turn }: Awaited<ReturnType<typeof begun>>, delta: string) =>
  call("run.emit", { ...hold, turn, chunks: [{ type: "text-delta", id: "1", delta }] });

test("what many workers emit at the same time is all kept, each once, at the place that they are told", async () => {
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => begun(`many/${i}`)));
  const said = Array.from({ length: 10 }, (_, i) => `${i}`);
  const told = await Promise.all(all.map((one) => Promise.all(said.map(async (delta) => (await emit(one, delta)).result.seq as number))));
  for (const [i, { session }] of all.entries()) {
    const { events } = await must("session.events", { session });
    const kept = events.filter(({ kind }: { kind: string }) => kind === "chunks");
    const places = new Map(kept.map(({ seq, data }: { seq: number; data: { delta: string }[] }) => [data[0]?.delta, seq]));
    expect(kept).toHaveLength(said.length);
    expect(said.map((delta) => places.get(delta))).toEqual(told[i]);
    expect(events.map(({ seq }: { seq: number }) => seq)).toEqual(events.map((_: unknown, at: number) => at + 1));
  }
});

test("a session that somebody holds, a worker that lost its run, and what can't be kept hold up nobody who emits at that moment", async () => {
  const [held, lost, bad, ...fine] = await Promise.all(["held", "lost", "bad", "fine/1", "fine/2"].map(begun));
  if (!held || !lost || !bad) throw new Error("no sessions");
  await must("run.end", lost.hold);
  let settled = false;
  let waiting: ReturnType<typeof emit> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`select from sessions where id = ${held.session} for update`;
    for (let i = 0; i < 5; i++) {
      const here = [emit(lost, "late"), emit(bad, "\u0000"), ...fine.map((one) => emit(one, `${i}`))];
      waiting ??= emit(held, "patience").finally(() => {
        settled = true;
      });
      const codes = (await Promise.all(here)).map(({ error }) => error?.data.code);
      expect(codes).toEqual(["LEASE_LOST", "INVALID_PARAMS", undefined, undefined]);
    }
    expect(settled).toBe(false);
  });
  expect((await waiting)?.error).toBeUndefined();
  expect(await chunksOf(held.session)).toEqual(["patience"]);
  for (const { session } of fine) expect(await chunksOf(session)).toEqual(["0", "1", "2", "3", "4"]);
});

test("the end of a turn can be said again, but not another end", async () => {
  const { hold, turn } = await begun("ends");
  const { seq } = await must("run.endTurn", { ...hold, turn, outcome: "complete" });
  expect(await must("run.endTurn", { ...hold, turn, outcome: "complete" })).toEqual({ seq });
  expect((await call("run.endTurn", { ...hold, turn, outcome: "stopped" })).error?.data.code).toBe("CONFLICT");
});

test("a heartbeat of a turn answers when the turn is over", async () => {
  const { hold, turn } = await begun("beats");
  const beating = must("run.heartbeat", { ...hold, turn, waitSeconds: 20 });
  await must("run.endTurn", { ...hold, turn, outcome: "complete" });
  const startedAt = performance.now();
  expect(await beating).toEqual({ stop: false, closed: false });
  expect(performance.now() - startedAt).toBeLessThan(5000);
});

test("whoever asks for the next input keeps the run", async () => {
  const { session, hold, turn } = await begun("waits");
  await must("run.endTurn", { ...hold, turn, outcome: "complete" });
  // Longer than a lease of 2 seconds.
  expect(await must("run.next", { ...hold, waitSeconds: 5 })).toEqual({ input: null, ended: null });
  const { run } = await must("session.send", { session, message: "more" });
  expect(run.id).toBe(hold.run);
  expect((await must("run.next", hold)).input.turn).toBe(turn + 1);
});

test("a worker that has gone while it waited for a run is given none", async () => {
  const waiting = async () => Number((await server.sql`select count(*) from pg_stat_activity where query ilike '%skip locked%'`)[0]?.count);
  const leaving = new AbortController();
  const asked = fetch(`${server.url}/api/v1/space/rpc`, {
    method: "POST",
    headers: { authorization: `Bearer ${ada.session}`, "x-me-space": slug, "content-type": "application/json" },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "run.lease",
      params: { tasks: ["ghosts"], worker: "ghost", waitSeconds: 20 },
    }),
    signal: leaving.signal,
  }).catch((error: Error) => error.name);
  await until("it waits", async () => (await waiting()) > 0);
  leaving.abort();
  expect(await asked).toBe("AbortError");
  const { run } = await must("session.create", { task: "ghosts", message: "anybody?" });
  const { lease } = await must("run.lease", { tasks: ["ghosts"], worker: "w", waitSeconds: 5 });
  expect(lease?.run).toBe(run.id);
});
