import { context } from "@opentelemetry/api";
import type { Database, Sql } from "../db.ts";
import { isUnreachable } from "../unreachable.ts";

/** Most that one transaction adds: in number, and in characters of JSON. */
const MAX_TOGETHER = 64;
const MAX_CHARACTERS = 1_048_576;

/** What a worker adds to the answer of a turn. */
interface Emission {
  run: string;
  epoch: number;
  /** Who holds the run. */
  worker: string;
  turn: number;
  /** The number of the batch: one that is there already counts once. */
  batch: number | null;
  /** JSON: an array. */
  chunks: string;
}

/** Where it stands in the log, and whether the worker is to stop; or why it was not added. */
interface Emitted {
  place: number | null;
  stop: boolean | null;
  problem: "LEASE_LOST" | "CONFLICT" | null;
}

/** Adds to the log of a session. */
export type Emit = (emission: Emission) => Promise<Emitted>;

interface Waiting {
  emission: Emission;
  /** Runs something where whoever asked for it stands in a trace. */
  traced<T>(run: () => T): T;
  done(emitted: Emitted): void;
  failed(cause: unknown): void;
}

/**
 * Adds what workers emit to the logs of sessions. A write to the disk costs the same however much it writes: what comes while
 * one is under way goes together, with the next.
 */
export function createEmit(sql: Database): Emit {
  let waiting: Waiting[] = [];
  let busy = false;

  async function work(): Promise<void> {
    busy = true;
    while (waiting.length > 0) await together(take());
    busy = false;
  }

  /** Those that go next: of a run one, so that they keep their order. */
  function take(): Waiting[] {
    const taken = new Map<string, Waiting>();
    let characters = 0;
    const later = waiting.filter((each) => {
      const { run, chunks } = each.emission;
      characters += chunks.length;
      if (taken.has(run) || taken.size === MAX_TOGETHER || (taken.size > 0 && characters > MAX_CHARACTERS)) return true;
      taken.set(run, each);
      return false;
    });
    waiting = later;
    return [...taken.values()];
  }

  async function together(some: Waiting[]): Promise<void> {
    try {
      const [{ traced }] = some as [Waiting];
      const emitted = await traced(() =>
        write(
          sql,
          some.map(({ emission }) => emission),
        ),
      );
      for (const [i, { problem, ...rest }] of emitted.entries())
        if (problem === "BUSY") alone(some[i] as Waiting);
        else (some[i] as Waiting).done({ ...rest, problem });
    } catch (cause) {
      // One that the database does not take must not fail the others: of all of them, none was added.
      if (isUnreachable(cause) || some.length === 1) for (const { failed } of some) failed(cause);
      else for (const each of some) alone(each);
    }
  }

  /** Waits for whoever holds the session. */
  function alone({ emission, traced, done, failed }: Waiting): void {
    const add = async (tx: Sql) => {
      await tx`select from sessions where id = (select session_id from runs where id = ${emission.run}) for update`;
      return write(tx, [emission]);
    };
    traced(() => sql.begin(add)).then(([emitted]) => done(emitted as Emitted), failed);
  }

  return (emission) =>
    new Promise((done, failed) => {
      const here = context.active();
      waiting.push({ emission, traced: (run) => context.with(here, run), done, failed });
      if (!busy) void work();
    });
}

/** @returns how it went, for each in its place */
const write = async (sql: Sql, emissions: Emission[]) => {
  const texts = emissions.map(({ run, epoch, worker, turn, batch, chunks }) => {
    const rest = JSON.stringify({ run, held: epoch, holder: worker, which: turn, number: batch });
    return `${rest.slice(0, -1)},"chunks":${chunks}}`;
  });
  return sql<(Omit<Emitted, "problem"> & { problem: Emitted["problem"] | "BUSY" })[]>`
    select place::integer, stop, problem from emit_chunks(${`[${texts.join(",")}]`}::jsonb)`;
};
