import { afterAll, beforeAll, expect, test } from "vitest";
import { createEmit } from "../packages/server/src/sessions/emit.ts";
import { until } from "./run.ts";
import { type Begun, makeTurns, type Turns } from "./turns.ts";

let turns: Turns;
beforeAll(async () => {
  turns = await makeTurns({ LEASE_SECONDS: "120" });
});
afterAll(() => turns.server.close());

const emit = ({ hold, turn }: Begun, delta: string) =>
  turns.call("run.emit", { ...hold, turn, chunks: [{ type: "text-delta", id: "1", delta }] });

test("what many workers emit at the same time is all kept, each once, at the place that they are told", async () => {
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => turns.begun(`many/${i}`)));
  const said = Array.from({ length: 10 }, (_, i) => `${i}`);
  const told = await Promise.all(all.map((one) => Promise.all(said.map(async (delta) => (await emit(one, delta)).result.seq as number))));
  for (const [i, { session }] of all.entries()) {
    const { events } = await turns.must("session.events", { session });
    const kept = events.filter(({ kind }: { kind: string }) => kind === "chunks");
    const places = new Map(kept.map(({ seq, data }: { seq: number; data: { delta: string }[] }) => [data[0]?.delta, seq]));
    expect(kept).toHaveLength(said.length);
    expect(said.map((delta) => places.get(delta))).toEqual(told[i]);
    expect(events.map(({ seq }: { seq: number }) => seq)).toEqual(events.map((_: unknown, at: number) => at + 1));
  }
});

test("a session that somebody holds, a worker that lost its run, and what can't be kept hold up nobody who emits at that moment", async () => {
  const [held, lost, bad, ...fine] = await Promise.all(["held", "lost", "bad", "fine/1", "fine/2"].map(turns.begun));
  if (!held || !lost || !bad) throw new Error("no sessions");
  await turns.must("run.end", lost.hold);
  let settled = false;
  let waiting: ReturnType<typeof emit> | undefined;
  await turns.server.sql.begin(async (tx) => {
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
  expect(await turns.chunksOf(held.session)).toEqual(["patience"]);
  for (const { session } of fine) expect(await turns.chunksOf(session)).toEqual(["0", "1", "2", "3", "4"]);
});

/** What is emitted past the door, by the same worker. */
function direct({ hold, turn }: Begun) {
  const emitted = createEmit(turns.server.sql);
  const may = async () => {};
  return (delta: string, { of = hold.run, at = turn, batch = null as number | null } = {}) =>
    emitted(
      { ...hold, run: of, worker: turns.worker, turn: at, batch, chunks: JSON.stringify([{ type: "text-delta", id: "1", delta }]) },
      may,
    );
}

test("one that the database does not take fails alone, wherever it stands among others", async () => {
  const all = await Promise.all(Array.from({ length: 9 }, (_, i) => turns.begun(`poison/${i}`)));
  const emitted = createEmit(turns.server.sql);
  const told = await Promise.allSettled(
    all.map(({ hold, turn }, i) => {
      const chunks = i === 4 ? '[{"type":"\\u0000"}]' : '[{"type":"text-delta","id":"1","delta":"fine"}]';
      return emitted({ ...hold, worker: turns.worker, turn, batch: 1, chunks }, async () => {});
    }),
  );
  expect(told.map(({ status }) => status)).toEqual(all.map((_, i) => (i === 4 ? "rejected" : "fulfilled")));
  for (const [i, { session }] of all.entries()) expect(await turns.chunksOf(session)).toEqual(i === 4 ? [] : ["fine"]);
});

test("of a run all keeps its order, also while somebody holds the session", async () => {
  const one = await turns.begun("order");
  const emitted = direct(one);
  let told: Promise<unknown[]> | undefined;
  await turns.server.sql.begin(async (tx) => {
    await tx`select from sessions where id = ${one.session} for update`;
    told = Promise.all([1, 2, 3, 4, 5].map((batch) => emitted(`${batch}`, { batch })));
    await until(
      "the first of them waits",
      async () =>
        (await turns.server.sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length > 0,
    );
  });
  expect(await told).toMatchObject(Array.from({ length: 5 }, () => ({ problem: null })));
  expect(await turns.chunksOf(one.session)).toEqual(["1", "2", "3", "4", "5"]);
});

test("however much one worker has waiting, another's turn comes soon", async () => {
  const [hog, other] = await Promise.all([turns.begun("hog"), turns.begun("other")]);
  const emitted = direct(hog);
  let done = 0;
  const much = Array.from({ length: 100 }, () => emitted("x".repeat(60_000)).then(() => done++));
  await emitted("soon", { of: other.hold.run, at: other.turn });
  expect(done).toBeLessThan(10);
  await Promise.all(much);
});

test("what still waits when its key is revoked is not added", async () => {
  const one = await turns.begun("revoked");
  const { id, key } = (await turns.server.call(turns.credential, "apiKey.create", { name: "worker" })).result;
  const emitBy = (batch: number) =>
    turns.server.call(key, "run.emit", { ...one.hold, turn: one.turn, batch, chunks: [{ type: "x" }] }, turns.slug);
  let told: Promise<Awaited<ReturnType<typeof emitBy>>[]> | undefined;
  await turns.server.sql.begin(async (tx) => {
    await tx`select from sessions where id = ${one.session} for update`;
    told = Promise.all([1, 2, 3].map(emitBy));
    await until(
      "the first of them waits",
      async () =>
        (await turns.server.sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length > 0,
    );
    expect((await turns.server.call(turns.credential, "apiKey.delete", { id })).error).toBeUndefined();
    await tx`select pg_sleep(0.3)`; // what has only just come is not asked again
  });
  expect((await told)?.map(({ status }) => status)).toEqual([401, 401, 401]);
  expect(await turns.chunksOf(one.session)).toEqual([]);
});
