import { FairSemaphore, QueueFullError } from "./fair-semaphore.ts";
import { CONNECT_MS, connectionLost, Line, type LineOptions, noAnswer } from "./line.ts";

/** Longest silence in the middle of a query, locks included: a database that is frozen says nothing, and closes nothing. */
const SILENCE_MS = 30_000;
/** A call that had to wait for longer, in milliseconds, is judged again before it goes on. */
export const LONG_MS = 250;
/** The party of what the server asks by itself. Its requests are never refused, however many wait. */
export const SERVER = "server";
/** Most requests of any other party that wait for a connection. */
const MOST_WAITING = 1000;

/** How many connections there are, and how many of them one person holds at most, or of those that are kept one kind of work of theirs. */
interface Share {
  connections: number;
  most: number;
}

/** Who borrows a connection. */
export interface Borrower {
  party: string;
  /** Whether it may use what is kept for urgent work. */
  urgent: boolean;
  /** Asked by one who had to wait, before the connection is used. @throws where it is not to be used any more */
  still?: (() => Promise<void>) | undefined;
}

/** Whose a party is. One person is several, as budgets.ts names them: what stands before the last colon is the kind of their work. */
const personOf = (party: string): string => party.slice(party.lastIndexOf(":") + 1);
/** Work of one kind: all that a person does by keys and tokens, what they do in person, and what tells whether they may. */
const kindOf = (party: string): string => party.replace(/^[mb]:/, "p:");

/** A pool of connections, lent to one query or one transaction at a time. */
export class Lines {
  readonly #address: string;
  readonly #options: LineOptions;
  readonly #common: FairSemaphore;
  readonly #kept: FairSemaphore;
  readonly #idle: Line[] = [];
  readonly #open = new Set<Line>();
  readonly #lent = new Set<Promise<unknown>>();
  #ending = false;
  #cut = false;

  /**
   * @param shares of the connections that all use, and of those that are kept for urgent work
   */
  constructor(address: string, { common, kept }: { common: Share; kept?: Share }, options: LineOptions = {}) {
    this.#address = address;
    this.#options = options;
    this.#common = new FairSemaphore(common.connections, common.most, MOST_WAITING, personOf);
    this.#kept = new FairSemaphore(kept?.connections ?? 0, kept?.most ?? 0, MOST_WAITING, kindOf);
  }

  /**
   * Lends a connection, and throws it away if it was lost meanwhile.
   * @throws QueueFullError where too much of the party waits; ConnectionError where none is free, or can be opened, for 10 s
   */
  lend<T>(borrower: Borrower, run: (line: Line) => Promise<T>): Promise<T> {
    if (this.#ending) return Promise.reject(connectionLost());
    const lent = this.#borrow(borrower, run);
    this.#lent.add(lent);
    return lent.finally(() => this.#lent.delete(lent));
  }

  /** Runs something during which the database may be silent for as long as it likes. */
  async patiently<T>(line: Line, run: () => Promise<T>): Promise<T> {
    line.onSilence(0);
    return run().finally(() => this.#bound(line));
  }

  /** Waits for what is under way, for so many milliseconds at most, and closes all connections. */
  async end(graceMs?: number): Promise<void> {
    this.#ending = true;
    const timer = graceMs === undefined ? undefined : setTimeout(() => this.#giveUp(), graceMs);
    await Promise.allSettled(this.#lent);
    await Promise.all([...this.#open].map((line) => line.close()));
    clearTimeout(timer);
  }

  #giveUp(): void {
    this.#cut = true;
    for (const line of this.#open) line.lose(connectionLost());
  }

  async #borrow<T>({ party, urgent, still }: Borrower, run: (line: Line) => Promise<T>): Promise<T> {
    const askedAt = performance.now();
    const release = await acquire(party, urgent ? [this.#common, this.#kept] : [this.#common]);
    try {
      if (still && performance.now() - askedAt > LONG_MS) await still();
      const line = this.#idle.pop() ?? (await this.#connect());
      try {
        return await run(line);
      } finally {
        if (!line.lost) this.#idle.push(line);
      }
    } finally {
      release();
    }
  }

  async #connect(): Promise<Line> {
    if (this.#cut) throw connectionLost();
    const line = new Line(this.#address, this.#options);
    this.#open.add(line);
    line.gone.then(() => {
      this.#open.delete(line);
      const at = this.#idle.indexOf(line);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    await line.open();
    this.#bound(line);
    return line;
  }

  /** After 30 s of silence, gives up a connection that is lent, and closes one that is idle. */
  #bound(line: Line): void {
    line.onSilence(SILENCE_MS, () => {
      const at = this.#idle.indexOf(line);
      if (at < 0) return line.lose(noAnswer());
      this.#idle.splice(at, 1);
      line.close();
    });
  }
}

/** Waits for a permit of any of these semaphores. @returns how to release it */
function acquire(party: string, queues: FairSemaphore[]): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const open = queues.filter((queue) => party === SERVER || !queue.isFull(party));
    if (open.length === 0) return reject(new QueueFullError("Too many requests of this party wait for the database."));
    let granted = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const cancels: (() => void)[] = [];
    const settle = () => {
      clearTimeout(timer);
      for (const cancel of cancels) cancel();
    };
    for (const queue of open) {
      const cancel = queue.request(party, (release) => {
        granted = true;
        settle();
        resolve(release);
      });
      if (granted) return;
      cancels.push(cancel);
    }
    timer = setTimeout(() => {
      settle();
      reject(noAnswer());
    }, CONNECT_MS);
  });
}
