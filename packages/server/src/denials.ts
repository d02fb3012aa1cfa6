import { setTimeout as delay } from "node:timers/promises";
import { context, ROOT_CONTEXT } from "@opentelemetry/api";
import type { Logger } from "pino";
import { uuidv7 } from "uuidv7";
import { type Audited, columnsOf } from "./audit.ts";
import type { Database } from "./db.ts";
import type { Refusal } from "./refusal.ts";
import { loggable } from "./telemetry.ts";
import { isUnreachable } from "./unreachable.ts";

/** Most different denials that wait to be written; beyond, those that come are counted in the log alone. */
const MAX_WAITING = 10_000;
/** Most that one statement writes. */
const MAX_TOGETHER = 500;

/** What is worth another try: the table is locked (55P03), or two servers waited for each other (40P01). */
const GAVE_WAY = new Set(["55P03", "40P01"]);
const CLOSE_MS = 2000;

interface Denied extends ReturnType<typeof columnsOf> {
  id: string;
  minute: string;
  space_id: string | null;
  reason: string | null;
  count: number;
}

/**
 * Records denials in groups, after they were answered: a denial has no round trip of its own, so that a storm of them costs
 * the database next to nothing. Equal ones of a minute are one row with a count. A server that crashes loses those of
 * the last `delayMs`.
 */
export class Denials {
  readonly #sql: Database;
  readonly #log: Logger;
  readonly #delayMs: number;
  #waiting = new Map<string, Denied>();
  #lost = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** @param delayMs longest time, in milliseconds, between a denial and its record */
  constructor(sql: Database, log: Logger, delayMs: number) {
    this.#sql = sql;
    this.#log = log;
    this.#delayMs = delayMs;
  }

  /** Counts a denial, to be recorded within the delay. */
  add(audited: Audited, refusal: Refusal): void {
    const columns = columnsOf(audited);
    const space_id = refusal.spaceId ?? audited.actor.standing?.space.id ?? null;
    const minute = new Date(Math.floor(Date.now() / 60_000) * 60_000).toISOString();
    const key = [columns.actor_id, columns.credential_id, columns.method, space_id, minute].join(" ");
    const same = this.#waiting.get(key);
    if (same) same.count++;
    else if (this.#waiting.size >= MAX_WAITING) this.#lost++;
    else this.#waiting.set(key, { ...columns, id: uuidv7(), minute, space_id, reason: refusal.details.reason ?? null, count: 1 });
    this.#timer ??= setTimeout(() => void this.written(), this.#delayMs);
  }

  /** Writes what was counted so far. @returns when it is on record, or could not be written */
  written(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // What is written for many belongs to the trace of none.
    this.#writing = this.#writing.then(() => context.with(ROOT_CONTEXT, () => this.#write()));
    return this.#writing;
  }

  async #write(): Promise<void> {
    const some = [...this.#waiting].slice(0, MAX_TOGETHER);
    if (some.length === 0) return;
    for (const [key] of some) this.#waiting.delete(key);
    try {
      await insert(
        this.#sql,
        some.map(([, denied]) => denied),
      );
    } catch (cause) {
      const again = isUnreachable(cause) || GAVE_WAY.has(String((cause as { code?: unknown }).code));
      const count = some.reduce((sum, [, denied]) => sum + denied.count, 0);
      this.#log.error({ cause: loggable(cause), count, again }, "denials were not recorded");
      if (!again) return this.#write();
      for (const [key, denied] of some) {
        const since = this.#waiting.get(key);
        this.#waiting.set(key, since ? { ...denied, count: denied.count + since.count } : denied);
      }
      this.#timer ??= setTimeout(() => void this.written(), this.#delayMs);
      return;
    }
    if (this.#lost > 0) this.#log.error({ denials: this.#lost }, "too many different denials came at once: these are in no record");
    this.#lost = 0;
    await this.#write();
  }

  /** Writes what is left, if the database takes it within two seconds. */
  async close(): Promise<void> {
    await Promise.race([this.written(), delay(CLOSE_MS, undefined, { ref: false })]);
    clearTimeout(this.#timer);
  }
}

/**
 * Adds denials to the record, or to the counts of their likes within the minute: those take no new place in the record. A
 * table that is locked is waited for only briefly.
 */
async function insert(sql: Database, denied: readonly Denied[]): Promise<void> {
  const sorted = denied.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  await sql.begin(async (tx) => {
    await tx`set local lock_timeout = '1s'`;
    await tx`
      with given as (
        select * from jsonb_populate_recordset(null::audit_denials, ${tx.json(sorted)})),
      counted as (
        update audit_denials d set count = d.count + g.count from given g
        where d.actor_id = g.actor_id and d.credential_id = g.credential_id and d.method = g.method and d.minute = g.minute
          and d.space_id is not distinct from g.space_id
        returning g.id)
      insert into audit_denials (id, minute, space_id, actor_id, actor_kind, actor_name, credential_id, via, owner_id, acting_id, method,
        request_id, trace_id, reason, count)
      select id, minute, space_id, actor_id, actor_kind, actor_name, credential_id, via, owner_id, acting_id, method,
        request_id, trace_id, reason, count
      from given where id not in (select id from counted) order by id
      on conflict (actor_id, credential_id, method, space_id, minute) do update set count = audit_denials.count + excluded.count`;
  });
}
