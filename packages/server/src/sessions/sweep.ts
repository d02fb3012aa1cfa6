import type { Logger } from "pino";
import type { Database, Sql } from "../db.ts";
import { loggable } from "../telemetry.ts";

/** How often a turn is delivered whose worker is lost over it, before it is given up. */
export const MAX_ATTEMPTS = 5;
const EVERY_MS = 500;
/** Most rows that one sweep deals with, so that servers share the work. */
const AT_ONCE = 100;
/** Most expired tokens that are removed at once: more than are made meanwhile. */
const TOKENS_AT_ONCE = 1000;
/** Milliseconds for which one sweep removes rows of what was deleted. */
const REMOVING_MS = 200;

/**
 * Ends what time ends: runs whose worker is silent for longer than its lease, and sessions that expire; and, apart from that, removes
 * what was deleted.
 * @param retain deletes a part of what is to be kept no longer
 * @returns stops it. A sweep that is under way ends with the database, which may be frozen: that is not waited for
 */
export function startSweeping(sql: Database, log: Logger, retain: (sql: Database) => Promise<void>): () => void {
  const stops = [
    repeating(() =>
      sweep(sql).catch((cause: unknown) => {
        log.debug({ cause: loggable(cause) }, "a sweep failed");
        return false;
      }),
    ),
    repeating(async () => {
      await removeRemains(sql).catch((cause: unknown) =>
        log.warn({ cause: loggable(cause) }, "rows of deleted sessions, spaces and keys were not removed"),
      );
      await retain(sql).catch((cause: unknown) => log.warn({ cause: loggable(cause) }, "what is to be kept no longer was not deleted"));
      return false;
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

/** Does something again and again, with a pause in between, but where there is more. @param run tells whether there is @returns stops it */
function repeating(run: () => Promise<boolean>): () => void {
  let stopped = false;
  let wake = () => {};
  void (async () => {
    while (!stopped) {
      const more = await run();
      if (stopped) return;
      if (more) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, EVERY_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  })();
  return () => {
    stopped = true;
    wake();
  };
}

/** Removes expired tokens, and rows of sessions, spaces and keys that were deleted, in small steps. @throws Error what one failed with */
async function removeRemains(sql: Database): Promise<void> {
  const until = performance.now() + REMOVING_MS;
  // Those minted from others first: whoever deletes a token takes those along.
  await sql`
    delete from tokens where ctid = any(array(
      select ctid from tokens t where t.expires_at < now() and not exists (select from tokens c where c.parent_id = t.id) limit ${TOKENS_AT_ONCE}))`;
  while (performance.now() < until) {
    const [step] = await sql<{ worked: boolean; failure: string | null }[]>`select * from clear_remains()`;
    if (step?.failure) throw new Error(step.failure);
    if (!step?.worked) return;
  }
}

/**
 * One after the other, each in a statement of its own: what ends one does not wait for another.
 * @returns whether there may be more of them
 */
async function sweep(sql: Sql): Promise<boolean> {
  const lost = await sql<{ id: string }[]>`select lost_runs(${AT_ONCE}) as id`;
  for (const { id } of lost) await sql`select end_lost_run(${id}, ${MAX_ATTEMPTS})`;
  const over = await sql<{ id: string }[]>`
    select id from sessions where closed_at is null and expires_at <= now() order by expires_at limit ${AT_ONCE}`;
  for (const { id } of over) await sql`select close_session(${id}, 'expired', null)`;
  return lost.length === AT_ONCE || over.length === AT_ONCE;
}
