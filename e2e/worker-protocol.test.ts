import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "./run.ts";
import { makeTurns, type Turns } from "./turns.ts";

let turns: Turns;
beforeAll(async () => {
  turns = await makeTurns({ LEASE_SECONDS: "2" });
});
afterAll(() => turns.server.close());

test("a batch of chunks whose answer was lost counts once when it is sent again; one that skips a batch is refused", async () => {
  const { session, hold, turn } = await turns.begun("batches");
  const emit = (batch: number, delta: string) =>
    turns.call("run.emit", { ...hold, turn, batch, chunks: [{ type: "text-delta", id: "1", delta }] });
  const first = await emit(1, "a");
  expect((await emit(1, "a")).result.seq).toBe(first.result.seq);
  await emit(2, "b");
  expect((await emit(1, "a")).error).toBeUndefined();
  expect((await emit(4, "d")).error?.data.code).toBe("CONFLICT");
  expect(await turns.chunksOf(session)).toEqual(["a", "b"]);
  // Another attempt begins with batch 1 again.
  await turns.must("run.end", hold);
  const { lease } = await turns.must("run.lease", { tasks: ["batches"], worker: "w", waitSeconds: 5 });
  const next = { run: lease.run, epoch: lease.epoch };
  expect((await turns.must("run.next", next)).input).toMatchObject({ turn, attempt: 2 });
  await turns.must("run.emit", { ...next, turn, batch: 1, chunks: [{ type: "text-delta", id: "1", delta: "again" }] });
  expect(await turns.chunksOf(session)).toEqual(["a", "b", "again"]);
});

test("the end of a turn can be said again, but not another end", async () => {
  const { hold, turn } = await turns.begun("ends");
  const { seq } = await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" });
  expect(await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" })).toEqual({ seq });
  expect((await turns.call("run.endTurn", { ...hold, turn, outcome: "stopped" })).error?.data.code).toBe("CONFLICT");
});

test("a heartbeat of a turn answers when the turn is over", async () => {
  const { hold, turn } = await turns.begun("beats");
  const beating = turns.must("run.heartbeat", { ...hold, turn, waitSeconds: 20 });
  await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" });
  const startedAt = performance.now();
  expect(await beating).toEqual({ stop: false, closed: false });
  expect(performance.now() - startedAt).toBeLessThan(5000);
});

test("whoever asks for the next input keeps the run", async () => {
  const { session, hold, turn } = await turns.begun("waits");
  await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" });
  // Longer than a lease of 2 seconds.
  expect(await turns.must("run.next", { ...hold, waitSeconds: 5 })).toEqual({ input: null, ended: null });
  const { run } = await turns.must("session.send", { session, message: "more" });
  expect(run.id).toBe(hold.run);
  expect((await turns.must("run.next", hold)).input.turn).toBe(turn + 1);
});

test("a worker that has gone while it waited for a run is given none", async () => {
  const waiting = async () =>
    Number((await turns.server.sql`select count(*) from pg_stat_activity where query ilike '%skip locked%'`)[0]?.count);
  const leaving = new AbortController();
  const asked = fetch(`${turns.server.url}/api/v1/space/rpc`, {
    method: "POST",
    headers: { authorization: `Bearer ${turns.credential}`, "x-me-space": turns.slug, "content-type": "application/json" },
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
  const { run } = await turns.must("session.create", { task: "ghosts", message: "anybody?" });
  const { lease } = await turns.must("run.lease", { tasks: ["ghosts"], worker: "w", waitSeconds: 5 });
  expect(lease?.run).toBe(run.id);
});
