import { context } from "@opentelemetry/api";
import type { Database, Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import { isUnreachable } from "../unreachable.ts";

/** Most that one transaction adds: in number, and in characters of JSON. */
const MAX_TOGETHER = 64;
const MAX_CHARACTERS = 1_048_576;
/** Most that waits, in characters of JSON. */
const MAX_WAITING = 67_108_864;

/** What a worker adds to the answer of a turn. */
interface Emission {
  /** Its id as the database writes it. */
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

/** Adds to the log of a session. @throws Refusal UNAVAILABLE where too much waits already */
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
 * one is under way goes together, with the next; its query stands in the trace of the first.
 */
export function createEmit(sql: Database): Emit {
  let waiting: Waiting[] = [];
  let characters = 0;
  let busy = false;
  /** Runs of which one waits for whoever holds the session: what comes after it stays behind it. */
  const held = new Set<string>();

  async function work(): Promise<void> {
    if (busy) return;
    busy = true;
    try {
      for (let some = take(); some.length > 0; some = take()) await together(some);
    } finally {
      busy = false;
    }
  }

  /** Those that go next: of a run one, so that they keep their order. */
  function take(): Waiting[] {
    const taken = new Map<string, Waiting>();
    const left: Waiting[] = [];
    let length = 0;
    for (const each of waiting) {
      const { run, chunks } = each.emission;
      const full = taken.size === MAX_TOGETHER || (taken.size > 0 && length + chunks.length > MAX_CHARACTERS);
      if (full || taken.has(run) || held.has(run)) left.push(each);
      else {
        taken.set(run, each);
        length += chunks.length;
      }
    }
    waiting = left;
    characters -= length;
    return [...taken.values()];
  }

  async function together(some: Waiting[]): Promise<void> {
    const [first] = some as [Waiting];
    try {
      const emissions = some.map(({ emission }) => emission);
      const answers = await first.traced(() => write(sql, emissions));
      for (const [i, each] of some.entries()) {
        const { problem, ...place } = answers[i] as Answer;
        if (problem === "BUSY") void alone(each);
        else each.done({ ...place, problem });
      }
    } catch (cause) {
      if (isUnreachable(cause)) {
        // For those who wait it is away, too: else they would find that out one after the other.
        for (const { failed } of [...some, ...waiting]) failed(cause);
        waiting = [];
        characters = 0;
      } else if (some.length === 1) first.failed(cause);
      else {
        // One that the database does not take must not fail the others: of all of them none was added.
        const half = some.length >> 1;
        await together(some.slice(0, half));
        await together(some.slice(half));
      }
    }
  }

  /** Waits for whoever holds the session. */
  async function alone({ emission, traced, done, failed }: Waiting): Promise<void> {
    const { run } = emission;
    held.add(run);
    const add = async (tx: Sql) => {
      await tx`select from sessions where id = (select session_id from runs where id = ${run}) for update`;
      const [answer] = await write(tx, [emission]);
      return answer as Emitted;
    };
    await traced(() => sql.begin(add)).then(done, failed);
    held.delete(run);
    await work();
  }

  return async (emission) => {
    if (characters + emission.chunks.length > MAX_WAITING) throw new Refusal("UNAVAILABLE");
    return new Promise((done, failed) => {
      const here = context.active();
      characters += emission.chunks.length;
      waiting.push({ emission, traced: (run) => context.with(here, run), done, failed });
      void work();
    });
  };
}

type Answer = Omit<Emitted, "problem"> & { problem: Emitted["problem"] | "BUSY" };

/** @returns how it went, for each in its place */
async function write(sql: Sql, emissions: Emission[]): Promise<Answer[]> {
  const texts = emissions.map(({ chunks, ...rest }) => `${JSON.stringify(rest).slice(0, -1)},"chunks":${chunks}}`);
  return sql<Answer[]>`select place::integer, stop, problem from emit_chunks(${`[${texts.join(",")}]`}::jsonb)`;
}
