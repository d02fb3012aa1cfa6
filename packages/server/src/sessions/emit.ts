import { context } from "@opentelemetry/api";
import type { Database, Sql } from "../db.ts";
import { LONG_MS } from "../lines.ts";
import { Refusal } from "../refusal.ts";
import { isUnreachable } from "../unreachable.ts";

/** Most that one transaction adds: in number, and in characters of JSON. */
const MAX_TOGETHER = 64;
const MAX_CHARACTERS = 1_048_576;
/** Most of one worker's that waits, in characters of JSON. */
const MAX_WAITING = 8_388_608;

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

/**
 * Adds to the log of a session.
 * @param still asked before an emission is added that had to wait: what it throws, the emission is refused with
 * @throws Refusal RATE_LIMITED where too much of the worker's waits already
 */
export type Emit = (emission: Emission, still: () => Promise<void>) => Promise<Emitted>;

interface Waiting {
  emission: Emission;
  since: number;
  still(): Promise<void>;
  /** Runs something where whoever asked for it stands in a trace. */
  traced<T>(run: () => T): T;
  done(emitted: Emitted): void;
  failed(cause: unknown): void;
}

/**
 * Adds what workers emit to the logs of sessions. A write to the disk costs the same however much it writes: what a worker
 * emits while a write of theirs is under way goes together, with the next. Each worker has a lane of their own, so that nobody
 * waits behind what another emits.
 */
export function createEmit(sql: Database): Emit {
  const lanes = new Map<string, Lane>();
  return async (emission, still) => {
    const { worker } = emission;
    const lane = lanes.get(worker) ?? new Lane(sql.as(`p:${worker}`), () => lanes.delete(worker));
    lanes.set(worker, lane);
    return lane.add(emission, still);
  };
}

/** What one worker emits. */
class Lane {
  readonly #sql: Database;
  readonly #emptied: () => void;
  #waiting: Waiting[] = [];
  #characters = 0;
  #busy = false;
  /** Runs of which one emission waits for whoever holds the session: those that come after it stay behind it. */
  readonly #held = new Set<string>();

  /** @param emptied called when nothing is left to be added */
  constructor(sql: Database, emptied: () => void) {
    this.#sql = sql;
    this.#emptied = emptied;
  }

  add(emission: Emission, still: () => Promise<void>): Promise<Emitted> {
    if (this.#characters + emission.chunks.length > MAX_WAITING)
      throw new Refusal("RATE_LIMITED", "More is emitted than can be added. Send it more slowly.", { retryAfter: 1 });
    return new Promise((done, failed) => {
      const here = context.active();
      this.#characters += emission.chunks.length;
      this.#waiting.push({ emission, since: performance.now(), still, traced: (run) => context.with(here, run), done, failed });
      void this.#work();
    });
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let some = this.#take(); some.length > 0; some = this.#take()) await this.#together(await allowed(some));
    } finally {
      this.#busy = false;
    }
    if (this.#waiting.length === 0 && this.#held.size === 0) this.#emptied();
  }

  /** Those that go next: of a run one, so that they keep their order. */
  #take(): Waiting[] {
    const taken = new Map<string, Waiting>();
    const left: Waiting[] = [];
    let length = 0;
    for (const each of this.#waiting) {
      const { run, chunks } = each.emission;
      const full = taken.size === MAX_TOGETHER || (taken.size > 0 && length + chunks.length > MAX_CHARACTERS);
      if (full || taken.has(run) || this.#held.has(run)) left.push(each);
      else {
        taken.set(run, each);
        length += chunks.length;
      }
    }
    this.#waiting = left;
    this.#characters -= length;
    return [...taken.values()];
  }

  async #together(some: Waiting[]): Promise<void> {
    const [first] = some;
    if (!first) return;
    try {
      const emissions = some.map(({ emission }) => emission);
      const answers = await first.traced(() => write(this.#sql, emissions));
      for (const [i, each] of some.entries()) {
        const { problem, ...place } = answers[i] as Answer;
        if (problem === "BUSY") void this.#alone(each);
        else each.done({ ...place, problem });
      }
    } catch (cause) {
      if (isUnreachable(cause)) {
        // For those who wait it is away, too: else they would find that out one after the other.
        for (const { failed } of [...some, ...this.#waiting]) failed(cause);
        this.#waiting = [];
        this.#characters = 0;
      } else if (some.length === 1) first.failed(cause);
      else {
        // One that the database does not take must not fail the others: of all of them none was added.
        const half = some.length >> 1;
        await this.#together(some.slice(0, half));
        await this.#together(some.slice(half));
      }
    }
  }

  /** Waits for whoever holds the session. */
  async #alone({ emission, still, traced, done, failed }: Waiting): Promise<void> {
    const { run } = emission;
    this.#held.add(run);
    const add = async (tx: Sql) => {
      await tx`select from sessions where id = (select session_id from runs where id = ${run}) for update`;
      await still();
      const [answer] = await write(tx, [emission]);
      return answer as Emitted;
    };
    await traced(() => this.#sql.begin(add)).then(done, failed);
    this.#held.delete(run);
    await this.#work();
  }
}

/** Judges those again that waited for long, and refuses those whose caller may no longer emit. @returns the others */
async function allowed(some: readonly Waiting[]): Promise<Waiting[]> {
  const judged = some.map(async (each) => {
    if (performance.now() - each.since <= LONG_MS) return each;
    return each.traced(each.still).then(
      () => each,
      (refusal: unknown) => void each.failed(refusal),
    );
  });
  return (await Promise.all(judged)).filter((each) => each !== undefined);
}

type Answer = Omit<Emitted, "problem"> & { problem: Emitted["problem"] | "BUSY" };

/** @returns how it went, for each in its place */
async function write(sql: Sql, emissions: Emission[]): Promise<Answer[]> {
  const texts = emissions.map(({ chunks, ...rest }) => `${JSON.stringify(rest).slice(0, -1)},"chunks":${chunks}}`);
  return sql<Answer[]>`select place::integer, stop, problem from emit_chunks(${`[${texts.join(",")}]`}::jsonb)`;
}
