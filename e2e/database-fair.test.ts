import { openDatabase, QueueFullError } from "@gatehouse/server";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { toRefusal } from "../packages/server/src/refusal.ts";
import { makeDatabase } from "./harness.ts";
import { until } from "./run.ts";

// How the pool is shared: by one party that floods it, and others that ask one thing at a time. A table that is locked
// stands for all that is slow, so that what is counted does not depend on how fast this machine is.

type Database = ReturnType<typeof openDatabase>;
type Blocker = Parameters<Parameters<Database["begin"]>[0]>[0];

const FLOOD = 1000;

let pool: Database;
let watch: Database;
beforeAll(async () => {
  const address = await makeDatabase();
  [pool, watch] = [openDatabase(address), openDatabase(address)];
  await watch`create table slow (id int)`;
});
beforeEach(async () => {
  served.clear();
});
afterAll(async () => {
  await Promise.all([pool.end(), watch.end()]);
});

/** How many queries of each party were answered. */
const served = new Map<string, number>();
const count = (party: string) => () => {
  served.set(party, (served.get(party) ?? 0) + 1);
};
const flood = (party: string, queries = FLOOD, on = pool.as(party)) =>
  Array.from({ length: queries }, () => on`select from slow`.then(count(party)));
const waiting = async () => (await watch`select from pg_locks where not granted and relation = 'slow'::regclass`).length;
const waitingIs = (most: number) => until(`${most} queries wait for the lock`, async () => (await waiting()) === most);

/** Runs while nothing that asks the table gets an answer. */
const whileSlow = (run: (tx: Blocker) => Promise<void>) =>
  watch.begin(async (tx) => {
    await tx`lock table slow in access exclusive mode`;
    await run(tx);
  });

test("a party whose thousand queries hang holds 6 connections of 10: another is served before any of them", async () => {
  let flooding: Promise<void>[] = [];
  await whileSlow(async () => {
    flooding = flood("flood");
    await waitingIs(6);
    for (let i = 0; i < 20; i++) expect(await pool.as("victim")`select 1 as one`).toEqual([{ one: 1 }]);
    expect(await pool.as("victim").begin(async (tx) => tx`select 1 as one`)).toEqual([{ one: 1 }]);
    expect(await waiting()).toBe(6);
    expect(served.get("flood")).toBeUndefined();
  });
  await Promise.all(flooding);
  expect(served.get("flood")).toBe(FLOOD);
});

test("where all connections are taken, each party that waits gets one in turn", async () => {
  const PARTIES = 5;
  let started = 0;
  let before = Number.NaN;
  const all: Promise<unknown>[] = [];
  await whileSlow(async () => {
    for (let i = 0; i < PARTIES; i++)
      for (let n = 0; n < FLOOD / PARTIES; n++)
        all.push(
          pool.as(`flood ${i}`).begin((tx) => {
            started++;
            return tx`select from slow`;
          }),
        );
    await waitingIs(8);
    all.push(
      pool.as("victim").begin(async () => {
        before = started;
      }),
    );
  });
  await Promise.all(all);
  expect(started).toBe(FLOOD);
  // What was under way, and a turn of each.
  expect(before).toBeLessThanOrEqual(8 + PARTIES);
});

test("within a party, what was asked first is served first", async () => {
  const order: number[] = [];
  const party = pool.as("one");
  let held: Promise<void>[] = [];
  await whileSlow(async () => {
    held = flood("one", 5);
    await waitingIs(5);
    await Promise.all(Array.from({ length: 50 }, (_, i) => party.begin(async () => void order.push(i))));
  });
  await Promise.all(held);
  expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test("what is urgent is served while every common connection hangs, also for the party that made them hang", async () => {
  let flooding: Promise<void>[] = [];
  await whileSlow(async () => {
    flooding = [...flood("one"), ...flood("two")];
    await waitingIs(8);
    for (const party of ["health", "one", "two"]) expect(await pool.as(party, { urgent: true })`select 1 as one`).toEqual([{ one: 1 }]);
    // One party can't take all that is kept: one of the two stays free for others.
    flooding.push(...flood("three", 20, pool.as("three", { urgent: true })));
    await waitingIs(9);
    expect(await pool.as("health", { urgent: true })`select 1 as one`).toEqual([{ one: 1 }]);
    expect(served.size).toBe(0);
  });
  await Promise.all(flooding);
});

test("a party's queue has an end: one more is refused at once, and another party is not", async () => {
  let flooding: Promise<void>[] = [];
  await whileSlow(async () => {
    flooding = flood("flood", 6 + 1000);
    await waitingIs(6);
    const refused = await pool.as("flood")`select`.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(QueueFullError);
    expect(toRefusal(refused)).toMatchObject({ code: "RATE_LIMITED", details: { retryAfter: 1 } });
    await expect(pool.as("flood").begin(async () => {})).rejects.toThrow(QueueFullError);
    expect(await pool.as("victim")`select 1 as one`).toEqual([{ one: 1 }]);
    expect(await pool.as("flood", { urgent: true })`select 1 as one`).toEqual([{ one: 1 }]);
  });
  await Promise.all(flooding);
});

test("where no party is named, it is the server's own: it too leaves others a connection", async () => {
  let own: Promise<void>[] = [];
  await whileSlow(async () => {
    own = flood("server", 20, pool);
    await waitingIs(6);
    expect(await pool.as("victim")`select 1 as one`).toEqual([{ one: 1 }]);
  });
  await Promise.all(own);
});

test("a query that had to wait for long is not sent, if whoever asked it may not any more", async () => {
  let ended = false;
  let judged = 0;
  const still = async () => {
    judged++;
    if (ended) throw new Error("ended meanwhile");
  };
  const mine = pool.as("judged", { still });
  expect(await mine`select 1 as one`).toEqual([{ one: 1 }]);
  expect(judged, "one that did not wait").toBe(0);
  const slow = Array.from({ length: 20 }, () => mine`select pg_sleep(0.2)`);
  const last = mine`select set_config('test.sent', 'yes', false) as sent`;
  ended = true;
  const outcomes = await Promise.allSettled([...slow, last]);
  expect(outcomes.at(-1)).toMatchObject({ status: "rejected", reason: { message: "ended meanwhile" } });
  expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBeGreaterThan(0);
  ended = false;
  expect(await mine`select 2 as two`).toEqual([{ two: 2 }]);
});
