import type { SessionEvent } from "@gatehouse/protocol";
import { expect, onTestFinished, test } from "vitest";
import { openChaos } from "./chaos.ts";
import { faultsOf } from "./chaos-log.ts";
import { type Talk, talk } from "./chaos-people.ts";

// More of it, or the same again: CHAOS_SESSIONS=2000 CHAOS_SEED=… bun run test e2e/chaos.test.ts
const SESSIONS = Number(process.env.CHAOS_SESSIONS ?? 60);
const SEED = process.env.CHAOS_SEED ?? String(Date.now());
const AT_ONCE = 80;
/** Most rounds that it takes until a worker was too late with what it had to write. */
const ROUNDS = 5;

test(`nothing acknowledged is lost or doubled, whatever dies (seed ${SEED})`, { timeout: 60_000 + ROUNDS * SESSIONS * 1000 }, async () => {
  const chaos = await openChaos(SEED);
  onTestFinished(() => chaos.close());
  const over = new AbortController();
  const wrecking = chaos.wreck(over.signal);
  const talks: Talk[] = [];
  const late = () => chaos.printed().match(/^late run\.\w+$/gm)?.length ?? 0;
  const startedAt = performance.now();
  try {
    for (let round = 0; round === 0 || (late() === 0 && round < ROUNDS); round++) {
      const names = Array.from({ length: SESSIONS }, (_, i) => `${SEED}.${round * SESSIONS + i}`).values();
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          for (const name of names) talks.push(await talk(name, chaos.place));
        }),
      );
    }
  } finally {
    over.abort();
    await wrecking;
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000);

  const sql = chaos.sql();
  const rows = await sql<(SessionEvent & { session: string })[]>`
    select session_id as session, seq::integer, at, direction, kind, turn, run_id as run, data from session_events order by session_id, seq`;
  const logs = Map.groupBy(rows, ({ session }) => session);
  expect(logs.size).toBe(talks.length);
  for (const { session, said, seen } of talks) {
    const log = (logs.get(session) ?? []).map(({ session: _, ...event }) => event);
    expect(faultsOf(log), `the log of ${session}`).toEqual([]);
    for (const { inputId, seq, turn } of said)
      expect(log[seq - 1], "what was acknowledged").toMatchObject({ kind: "message", turn, data: { id: inputId } });
    for (const events of seen) expect(events, `what a reader of ${session} saw`).toEqual(log);
  }
  // What is kept beside the log says the same.
  expect(
    await sql`
      select t.session_id, t.turn, t.status from turns t left join session_events e
        on e.session_id = t.session_id and e.turn = t.turn and e.kind = 'turn-end' and e.data->>'outcome' = t.status
      where e.seq is null`,
  ).toEqual([]);
  expect(await sql`select id from runs where ended_at is null`).toEqual([]);
  expect(await sql`select id from sessions s where last_seq <> (select count(*) from session_events where session_id = s.id)`).toEqual([]);

  const printed = chaos.printed();
  expect(printed.match(/^.*INTERNAL_ERROR.*$/gm) ?? []).toEqual([]);
  expect(late(), "late writers, refused").toBeGreaterThan(0);
  for (const [what, times] of chaos.done) expect(times, what).toBeGreaterThan(0);
  const ends = Map.groupBy(rows, ({ kind, data }) => (kind === "turn-end" ? (data as { outcome: string }).outcome : kind));
  const tally = (kinds: Map<string, { length: number }>) => [...kinds].map(([kind, { length }]) => `${kind} ${length}`).join(", ");
  console.log(
    `seed ${SEED}, ${seconds} s, something wrong every ${Math.round((seconds * 1000) / [...chaos.done.values()].reduce((a, b) => a + b))} ms: ${talks.length} sessions, ${rows.length} events (${tally(ends)}); ` +
      `${[...chaos.done].map(([what, times]) => `${what} ${times}`).join(", ")}; late writers refused ${late()}`,
  );
});
