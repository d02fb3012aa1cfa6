import { MAX_EVENT_BYTES, type runMethods } from "@gatehouse/protocol";
import { standingOf } from "../actor.ts";
import { inTransaction, type Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import type { Bell } from "../sessions/bell.ts";
import { runNamed, runRows, sessionNamed } from "../sessions/rows.ts";
import { MAX_ATTEMPTS } from "../sessions/sweep.ts";
import { one, paged } from "./rows.ts";

interface Hold {
  run: string;
  epoch: number;
}

/** Nothing yet: look again when something came, or after so long. */
class Wait {
  readonly ms: number;

  constructor(ms: number) {
    this.ms = ms;
  }
}

/** Locks the session of a run that its worker holds. @throws Refusal LEASE_LOST */
async function lockHeld(
  sql: Sql,
  { run, epoch }: Hold,
  worker: string,
): Promise<{ id: string; closed: boolean; idleMs: number; idleFor: number }> {
  const [session] = await sql<{ id: string; closed: boolean; idleMs: number }[]>`
    select s.id, s.closed_at is not null as closed, s.idle_timeout_seconds * 1000 as idle_ms
    from sessions s where s.id = (select session_id from runs where id = ${run}) for update`;
  const [held] = await sql<{ yes: boolean; idleFor: number }[]>`
    select holds_run(${run}, ${epoch}, ${worker}) as yes, coalesce(extract(epoch from clock_timestamp() - idle_since) * 1000, 0)::integer as idle_for
    from runs where id = ${run}`;
  if (!session || !held?.yes) throw new Refusal("LEASE_LOST");
  return { ...session, idleFor: held.idleFor };
}

export const runHandlers = ({ bell, leaseSeconds }: { bell: Bell; leaseSeconds: number }): Handlers<typeof runMethods> => {
  /** Looks until something is found, or the time is over; woken whenever something was added to the log. */
  async function look<T>(topic: string, waitSeconds: number, gone: AbortSignal, once: () => Promise<T | Wait>): Promise<T | undefined> {
    const until = performance.now() + waitSeconds * 1000;
    const listener = bell.listen(topic);
    gone.addEventListener("abort", listener.end, { once: true });
    try {
      // Nothing is found for a worker that has gone: it would not hear of it.
      while (!gone.aborted) {
        listener.reset();
        const found = await once();
        const left = until - performance.now();
        if (!(found instanceof Wait)) return found;
        if (left <= 0 || gone.aborted) return undefined;
        if (!(await listener.wait(Math.max(1, Math.min(left, found.ms))))) return undefined;
      }
      return undefined;
    } finally {
      listener.end();
    }
  }

  return {
    "run.get": async ({ run }, { sql }) => one(await runRows(sql, sql`r.id = ${run}`)),

    async "run.list"({ session, after, limit }, at) {
      const { id } = await sessionNamed(session, at);
      const { sql } = at;
      const which = sql`r.session_id = ${id} ${after === undefined ? sql`` : sql`and r.id > ${after}`} order by r.id limit ${limit + 1}`;
      const { rows, next } = paged(await runRows(sql, which), limit);
      return { runs: rows, next };
    },

    async "run.lease"({ tasks, worker, waitSeconds }, { actor, sql, gone }) {
      const { space } = standingOf(actor);
      const take = async () => {
        const [lease] = await sql<Lease[]>`
          with free as (
            select r.id from runs r join sessions s on s.id = r.session_id
            where r.ended_at is null and r.leased_until is null and s.space_id = ${space.id} and s.task = any(${tasks}::text[])
            order by r.id limit 1 for update of r skip locked)
          update runs r set epoch = nextval('run_epoch'), worker = ${worker}, worker_id = ${actor.principal.id}, leased_at = now(),
            leased_until = clock_timestamp() + make_interval(secs => ${leaseSeconds})
          from free, sessions s where r.id = free.id and s.id = r.session_id
          returning r.id as run, r.epoch::integer, s.id as session, s.external_id, s.task, s.metadata, r.number, r.reason, s.idle_timeout_seconds`;
        return lease ? { ...lease, leaseSeconds } : new Wait(waitSeconds * 1000);
      };
      const lease = (await look("work", waitSeconds, gone, take)) ?? null;
      // It left while the run was being given to it: the next worker need not wait until the lease is over.
      if (lease && gone.aborted)
        await sql`
          with freed as (update runs set leased_until = null where id = ${lease.run} and epoch = ${lease.epoch} and ended_at is null returning 1)
          select pg_notify('gatehouse_log', 'work') from freed`;
      return { lease };
    },

    async "run.next"({ waitSeconds, ...hold }, at) {
      const { id } = await runNamed(hold.run, at);
      const take = () => inTransaction(at.sql, (sql) => nextInput(sql, hold, at.actor.principal.id, leaseSeconds));
      return (await look(id, waitSeconds, at.gone, take)) ?? { input: null, ended: null };
    },

    async "run.emit"({ run, epoch, turn, batch, chunks }, { actor, sql }) {
      if (Buffer.byteLength(JSON.stringify(chunks)) > MAX_EVENT_BYTES)
        throw new Refusal("INVALID_PARAMS", `Send at most ${MAX_EVENT_BYTES / 1024} KiB of chunks together.`);
      const [said] = await sql<{ place: number | null; stop: boolean | null; problem: "LEASE_LOST" | "CONFLICT" | null }[]>`
        select place::integer, stop, problem
        from emit_chunks(${run}, ${epoch}, ${actor.principal.id}, ${turn}, ${batch ?? null}, ${sql.json(chunks)})`;
      if (said?.problem) throw new Refusal(said.problem, said.problem === "CONFLICT" ? NOT_RUNNING : undefined);
      return { seq: said?.place as number, stop: said?.stop ?? false };
    },

    async "run.endTurn"({ turn, outcome, error, ...hold }, at) {
      return inTransaction(at.sql, async (sql) => {
        const { id } = await lockHeld(sql, hold, at.actor.principal.id);
        const [mine] = await sql<{ status: string; seq: number | null }[]>`
          select status, (select e.seq::integer from session_events e
            where e.session_id = t.session_id and e.turn = t.turn and e.kind = 'turn-end' limit 1) as seq
          from turns t where session_id = ${id} and turn = ${turn} and run_id = ${hold.run}`;
        // Said again: the answer to it was lost.
        if (mine?.seq && mine.status === outcome) return { seq: mine.seq };
        if (mine?.status !== "running") throw new Refusal("CONFLICT", NOT_RUNNING);
        await sql`select finish_turn(${id}, ${turn}, ${hold.run}, ${outcome}, ${error ?? null})`;
        const { seq } = one(
          await sql<{ seq: number }[]>`update runs set idle_since = clock_timestamp() where id = ${hold.run}
          returning (select last_seq from sessions where id = ${id})::integer as seq`,
        );
        return { seq };
      });
    },

    async "run.end"({ reason, ...hold }, at) {
      await inTransaction(at.sql, async (sql) => {
        await lockHeld(sql, hold, at.actor.principal.id);
        await sql`select end_run(${hold.run}, ${reason}, ${MAX_ATTEMPTS})`;
      });
      return {};
    },

    async "run.heartbeat"({ turn, waitSeconds, run, epoch }, at) {
      const { id } = await runNamed(run, at);
      const beat = async () => {
        const [held] = await at.sql<{ stop: boolean; closed: boolean; over: boolean }[]>`
          update runs r set leased_until = clock_timestamp() + make_interval(secs => ${leaseSeconds})
          from sessions s where r.id = ${run} and s.id = r.session_id and holds_run(r.id, ${epoch}, ${at.actor.principal.id})
          returning s.closed_at is not null as closed,
            exists (select from turns t where t.session_id = s.id and t.turn = ${turn ?? null} and t.status = 'running' and t.stop_asked) as stop,
            ${turn !== undefined} and not exists (
              select from turns t where t.session_id = s.id and t.turn = ${turn ?? null} and t.status = 'running' and t.run_id = r.id) as over`;
        if (!held) throw new Refusal("LEASE_LOST");
        const { stop, closed, over } = held;
        return stop || closed || over ? { stop, closed } : new Wait((leaseSeconds * 1000) / 3);
      };
      return (await look(id, waitSeconds, at.gone, beat)) ?? { stop: false, closed: false };
    },
  };
};

const NOT_RUNNING = "That turn is not being answered by this run: it has ended, or has not begun.";

type Lease = NonNullable<Awaited<ReturnType<Handlers<typeof runMethods>["run.lease"]>>["lease"]>;

/** The turn that a run is in, or the next one, which begins; or how long there is still to wait for one. */
async function nextInput(sql: Sql, hold: Hold, worker: string, leaseSeconds: number) {
  const session = await lockHeld(sql, hold, worker);
  // Who asks lives.
  await sql`update runs set leased_until = clock_timestamp() + make_interval(secs => ${leaseSeconds}) where id = ${hold.run}`;
  if (session.closed) {
    await sql`select end_run(${hold.run}, 'closed', ${MAX_ATTEMPTS})`;
    return { input: null, ended: "closed" as const };
  }
  const [begun] = await sql<{ turn: number; attempts: number; inputId: string; inputSeq: string; fresh: boolean }[]>`
    update turns t set status = 'running', run_id = ${hold.run}, attempts = t.attempts + (t.status = 'queued')::integer,
      batch = case when t.status = 'queued' then 0 else t.batch end
    from turns before
    where t.session_id = ${session.id} and before.session_id = t.session_id and before.turn = t.turn
      and t.turn = (select turn from turns where session_id = ${session.id} and status in ('running', 'queued') order by turn limit 1)
    returning t.turn, t.attempts, t.input_id, t.input_seq, before.status = 'queued' as fresh`;
  if (begun) {
    const { turn, attempts, inputId, inputSeq, fresh } = begun;
    if (fresh)
      await sql`select log_event(${session.id}, 'out', 'turn-start', ${turn}, ${hold.run}, null, ${sql.json({ attempt: attempts })})`;
    await sql`update runs set idle_since = null where id = ${hold.run}`;
    const { kind, data } = one(
      await sql<
        { kind: "message" | "action"; data: never }[]
      >`select kind, data from session_events where session_id = ${session.id} and seq = ${inputSeq}`,
    );
    return { input: { turn, attempt: attempts, inputId, kind, data }, ended: null };
  }
  if (session.idleFor >= session.idleMs && session.idleFor > 0) {
    await sql`select end_run(${hold.run}, 'idle', ${MAX_ATTEMPTS})`;
    return { input: null, ended: "idle" as const };
  }
  await sql`update runs set idle_since = coalesce(idle_since, clock_timestamp()) where id = ${hold.run}`;
  return new Wait(Math.min(session.idleMs - session.idleFor, (leaseSeconds * 1000) / 3));
}
