import { inTransaction, type Sql } from "../db.ts";
import type { At } from "../rpc.ts";

/** SQLSTATE of a lock that another transaction held for longer than `lock_session` waits (migrations/0027_session_lock.sql). */
const LOCK_NOT_AVAILABLE = "55P03";

/** Locks a session in a transaction, then judges the call again: while it waited, its credential may have been revoked. @throws Refusal */
export async function lockThenJudge(sql: Sql, session: string, { still }: At): Promise<void> {
  await sql`select from sessions where id = ${session} for update`;
  await still();
}

/**
 * Runs a statement that adds to a session by `lock_session`. Where another transaction holds the session, it is waited for in
 * a transaction, and the call is judged again before the statement runs.
 * @throws Refusal
 */
export async function addTo<T>(at: At, session: string, run: (sql: Sql) => Promise<T>): Promise<T> {
  try {
    return await run(at.sql);
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw thrown;
  }
  return inTransaction(at.sql, async (sql) => {
    await lockThenJudge(sql, session, at);
    return run(sql);
  });
}
