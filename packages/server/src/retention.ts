import type { Logger } from "pino";
import type { Database, Fragment, Sql } from "./db.ts";

/** How long what is over is kept, in days; 0 = for good. */
export interface Retention {
  /** Sessions in which nothing came any more, closed or not. */
  sessions: number;
  /** Entries of the record. */
  audit: number;
}

/** Most sessions that one step looks at, and that it deletes; most entries of the record that it deletes. */
const LOOKED_AT = 500;
const SESSIONS = 20;
const ENTRIES = 1000;
/** How often the record is looked through, once all is deleted that is old. */
const RECORD_MS = 5000;
/** The advisory lock that servers take turns on: an arbitrary number, the same in all. */
const LOCK = 7_070_005;
const FIRST = "00000000-0000-0000-0000-000000000000";

/**
 * Makes what deletes all that is older than it is to be kept, step by step: each is bounded, and shares the work with
 * the other servers on the database.
 */
export function createRetention({ sessions, audit }: Retention, log: Logger): (sql: Database) => Promise<void> {
  let place = FIRST;
  let due = 0;
  return async (sql) => {
    if (sessions > 0) place = await forgetSessions(sql, sessions, place, log);
    if (audit === 0 || performance.now() < due) return;
    if (!(await forgetEntries(sql, audit, log))) due = performance.now() + RECORD_MS;
  };
}

/** Deletes sessions in the order of their age, from a place on. @returns the place to go on from */
async function forgetSessions(sql: Sql, days: number, after: string, log: Logger): Promise<string> {
  const [step] = await sql<{ looked: number; last: string | null; old: number; deleted: number }[]>`
    with seen as materialized (
      select id, last_seq, created_at from sessions
      where id > ${after} and id < first_id(now() - make_interval(days => ${days})) order by id limit ${LOOKED_AT}),
    old as materialized (
      select id, last_seq from seen
      where coalesce((select at from session_events where session_id = id and seq = last_seq), created_at) < now() - make_interval(days => ${days})
      order by id limit ${SESSIONS}),
    gone as (
      delete from sessions where id in (
        -- Nothing came meanwhile; and none that another server deletes.
        select s.id from sessions s join old on old.id = s.id and old.last_seq = s.last_seq for update of s skip locked)
      returning id)
    select (select count(*) from seen)::integer as looked, (select max(id::text) from seen) as last,
           (select count(*) from old)::integer as old, (select count(*) from gone)::integer as deleted`;
  if (!step) return FIRST;
  if (step.deleted > 0) log.info({ sessions: step.deleted }, "deleted sessions that are older than SESSION_RETENTION_DAYS");
  if (step.old === SESSIONS) return after;
  return step.looked === LOOKED_AT && step.last !== null ? step.last : FIRST;
}

/** @returns whether there may be more */
async function forgetEntries(sql: Database, days: number, log: Logger): Promise<boolean> {
  const deleted = await sql.begin(async (tx) => {
    const old = (table: "audit" | "audit_denials", at: "at" | "minute") => tx`
      select id from ${tx(table)} where id < first_id(now() - make_interval(days => ${days})) and ${tx(at)} < now() - make_interval(days => ${days})
      order by id limit ${ENTRIES}`;
    const [found] = await tx<{ any: boolean }[]>`
      select pg_try_advisory_xact_lock(${LOCK}) and (exists (${old("audit", "at")}) or exists (${old("audit_denials", "minute")})) as "any"`;
    if (!found?.any) return 0;
    await tx`select set_config('gatehouse.audit_retention_days', ${String(days)}, true)`;
    await tx`grant delete on audit, audit_denials to current_user`;
    const { count: changes } = await tx`delete from audit where id in (${old("audit", "at")})`;
    const { count: denials } = await tx`delete from audit_denials where id in (${old("audit_denials", "minute")})`;
    await tx`revoke delete on audit, audit_denials from current_user`;
    return changes + denials;
  });
  if (deleted > 0) log.info({ entries: deleted }, "deleted entries of the record that are older than AUDIT_RETENTION_DAYS");
  return deleted >= ENTRIES;
}

/** Most rows that one statement removes, each with what hangs on it: it is soon over, however many there are. */
const AT_ONCE = 1000;

/** Removes rows in steps. @param table its name @param over what is true of those that are to go */
export async function removeInSteps(sql: Sql, table: string, over: Fragment): Promise<void> {
  for (;;) {
    const { count } = await sql`
      delete from ${sql(table)} where ctid = any(array(select ctid from ${sql(table)} t where ${over} limit ${AT_ONCE}))`;
    if (count < AT_ONCE) return;
  }
}
