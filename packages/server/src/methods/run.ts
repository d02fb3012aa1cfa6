import type { runMethods } from "@gatehouse/protocol";
import { standingOf } from "../actor.ts";
import { inTransaction, type Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import type { Bell, Listener } from "../sessions/bell.ts";
import type { Emit } from "../sessions/emit.ts";
import { addTo, lockThenJudge } from "../sessions/lock.ts";
import { dataOf, runNamed, runRows, sessionNamed } from "../sessions/rows.ts";
import { MAX_ATTEMPTS } from "../sessions/sweep.ts";
import { type Work, workTopic } from "../sessions/work.ts";
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

/** Locks the session of a run that its worker holds, and judges the call again. @returns its id @throws Refusal LEASE_LOST, and others */
async function lockHeld(sql: Sql, { run, epoch }: Hold, at: At): Promise<string> {
  const { id } = await runNamed(run, { ...at, sql });
  await lockThenJudge(sql, id, at);
  const [held] = await sql<{ yes: boolean }[]>`select holds_run(${run}, ${epoch}, ${at.actor.principal.id}) as yes`;
  if (!held?.yes) throw new Refusal("LEASE_LOST");
  return id;
}

/** What answers in sessions need besides the database. */
export interface Serving {
  bell: Bell;
  work: Work;
  emit: Emit;
  leaseSeconds: number;
}

export const runHandlers = ({ bell, work, emit, leaseSeconds }: Serving): Handlers<typeof runMethods> => {
  /** Looks until something is found, or the time is over; woken whenever something was added to the log. @throws Refusal where access ended meanwhile */
  async function look<T>(
    listener: Listener,
    waitSeconds: number,
    { gone, wait }: At,
    once: () => Promise<T | Wait>,
  ): Promise<T | undefined> {
    const until = performance.now() + waitSeconds * 1000;
    gone.addEventListener("abort", listener.end, { once: true });
    try {
      // Nothing is found for a worker that has gone: it would not hear of it.
      while (!gone.aborted) {
        listener.reset();
        const found = await once();
        const left = until - performance.now();
        if (!(found instanceof Wait)) return found;
        if (left <= 0 || gone.aborted) return undefined;
        if (!(await wait(() => listener.wait(Math.max(1, Math.min(left, found.ms)))))) return undefined;
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

    async "run.lease"({ tasks, worker, waitSeconds }, at) {
      const { actor, sql, gone } = at;
      const { space } = standingOf(actor);
      const take = async () => {
        const [lease] = await sql<Lease[]>`
          with free as materialized (select free_run(${space.id}, ${tasks}::text[]) as id)
          update runs r set epoch = nextval('run_epoch'), worker = ${worker}, worker_id = ${actor.principal.id}, leased_at = now(),
            leased_until = clock_timestamp() + make_interval(secs => ${leaseSeconds})
          from free, sessions s where r.id = free.id and s.id = r.session_id
          returning r.id as run, r.epoch::integer, s.id as session, s.external_id, s.task, s.metadata, r.number, r.reason, s.idle_timeout_seconds`;
        if (!lease) return new Wait(waitSeconds * 1000);
        place.took(lease.task);
        return { ...lease, leaseSeconds };
      };
      const place = work.enter(space.id, tasks);
      const lease = (await look(place, waitSeconds, at, take)) ?? null;
      // It left while the run was being given to it: the next worker need not wait until the lease is over.
      if (lease && gone.aborted)
        await sql`
          with freed as (update runs set leased_until = null where id = ${lease.run} and epoch = ${lease.epoch} and ended_at is null returning 1)
          select pg_notify('gatehouse_log', ${workTopic(space.id, lease.task)}) from freed`;
      return { lease };
    },

    async "run.next"({ waitSeconds, ...hold }, at) {
      const { id } = await runNamed(hold.run, at);
      const take = () => addTo(at, id, (sql) => nextInput(sql, hold, { session: id, worker: at.actor.principal.id, leaseSeconds }));
      return (await look(bell.listen(id), waitSeconds, at, take)) ?? { input: null, ended: null };
    },

    async "run.emit"({ run, epoch, turn, batch = null, chunks }, at) {
      const known = await runNamed(run, at);
      const worker = at.actor.principal.id;
      const emission = { run: known.run, epoch, worker, turn, batch, chunks: dataOf(chunks) };
      const { place, stop, problem } = await emit(emission, at.still);
      if (problem) throw new Refusal(problem, problem === "CONFLICT" ? NOT_RUNNING : undefined);
      bell.ring(known.id);
      return { seq: place as number, stop: stop ?? false };
    },

    async "run.endTurn"({ turn, outcome, error, ...hold }, at) {
      return inTransaction(at.sql, async (sql) => {
        const id = await lockHeld(sql, hold, at);
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
        await lockHeld(sql, hold, at);
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
      return (await look(bell.listen(id), waitSeconds, at, beat)) ?? { stop: false, closed: false };
    },
  };
};

const NOT_RUNNING = "That turn is not being answered by this run: it has ended, or has not begun.";

type Lease = NonNullable<Awaited<ReturnType<Handlers<typeof runMethods>["run.lease"]>>["lease"]>;

/** The turn that a run is in, or the next one, which begins; or how long there is still to wait for one. @throws Refusal LEASE_LOST */
async function nextInput(
  sql: Sql,
  { run, epoch }: Hold,
  { session, worker, leaseSeconds }: { session: string; worker: string; leaseSeconds: number },
) {
  const { ended, waitMs, problem, ...input } = one(
    await sql<Next[]>`
      select which as turn, attempt, named as input_id, kind, data, trace as traceparent, ended, wait_ms, problem
      from next_input((select ${run}::uuid from lock_session(${session})), ${epoch}, ${worker}, ${leaseSeconds}, ${MAX_ATTEMPTS})`,
  );
  if (problem) throw new Refusal(problem);
  if (ended) return { input: null, ended };
  return waitMs === null ? { input, ended: null } : new Wait(Math.min(waitMs, (leaseSeconds * 1000) / 3));
}

type Next = NonNullable<Awaited<ReturnType<Handlers<typeof runMethods>["run.next"]>>["input"]> & {
  ended: "idle" | "closed" | null;
  waitMs: number | null;
  problem: "LEASE_LOST" | null;
};
