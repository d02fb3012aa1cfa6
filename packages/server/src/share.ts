import { setTimeout as delay } from "node:timers/promises";
import { Refusal } from "./refusal.ts";

/** Seconds of its rate that a share may save up. */
const BURST_SECONDS = 2;
/** How many seconds' worth a share may owe: nobody waits longer for what is done already. */
const MOST_OWED_SECONDS = 4;
/** Most calls of one party that wait. */
const MAX_WAITING = 256;
/** Longest that a call may have to wait by the pace of its share; and in truth, as while the database is away. */
const MAX_PACE_MS = 5000;
const MAX_WAIT_MS = 15_000;

interface Waiting {
  party: string;
  cost: number;
  /** By when it is refused, by the clock that never jumps. */
  until: number;
  go(): void;
  refuse(refusal: Refusal): void;
  /** It was let in, or refused. */
  over?: true;
}

/**
 * A share of the server: so many calls at once, and so many a second. Those beyond wait, and are let in at that pace. It is fair
 * between the parties that use it: each that waits is let in by turns, whoever else has how many calls waiting.
 */
export class Share {
  readonly #rate: number;
  readonly #atOnce: number;
  /** Calls that wait, by party. The order of the map is the order of turns. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** All of them as they came, which is as they are refused: those that are over are passed by. */
  #arrived: Waiting[] = [];
  #head = 0;
  #running = 0;
  #saved: number;
  #countedAt = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param rate cost a second @param atOnce calls */
  constructor(rate: number, atOnce: number) {
    this.#rate = rate;
    this.#atOnce = atOnce;
    this.#saved = rate * BURST_SECONDS;
  }

  /**
   * Takes a place, at once or when there is one.
   * @param party whose call it is
   * @returns nothing, where there was no wait
   * @throws Refusal RATE_LIMITED, at once where the wait would be too long
   */
  take(party: string, cost: number): Promise<void> | undefined {
    if (this.#waiting.size === 0 && this.#admit(cost)) return undefined;
    const line = this.#waiting.get(party) ?? [];
    const seconds = this.#secondsFor(line, cost);
    if (line.length >= MAX_WAITING || seconds * 1000 > MAX_PACE_MS) throw refusal(seconds);
    this.#waiting.set(party, line);
    return new Promise((go, refuse) => {
      const waiting = { party, cost, until: performance.now() + MAX_WAIT_MS, go, refuse };
      line.push(waiting);
      this.#arrived.push(waiting);
      this.#serve();
    });
  }

  /** Takes what a call has cost more than was taken for it: those that come after it wait the longer. */
  owe(cost: number): void {
    this.#refill();
    this.#saved = Math.max(this.#saved - cost, -this.#rate * MOST_OWED_SECONDS);
  }

  /** Gives a place back. */
  give(): void {
    this.#running--;
    if (this.#waiting.size > 0) this.#serve();
  }

  /** Whether nothing is lost when it is forgotten. */
  get idle(): boolean {
    this.#refill();
    return this.#running === 0 && this.#waiting.size === 0 && this.#saved >= this.#rate * BURST_SECONDS;
  }

  #admit(cost: number): boolean {
    this.#refill();
    // What costs more than can be saved up is let in on credit, once all is there that there can be.
    if (this.#running >= this.#atOnce || this.#saved < Math.min(cost, this.#rate * BURST_SECONDS)) return false;
    this.#running++;
    this.#saved -= cost;
    return true;
  }

  #refill(): void {
    const now = performance.now();
    this.#saved = Math.min(this.#rate * BURST_SECONDS, this.#saved + ((now - this.#countedAt) / 1000) * this.#rate);
    this.#countedAt = now;
  }

  #serve(): void {
    const now = performance.now();
    for (let first = this.#first(); first && first.until <= now; first = this.#first()) {
      const line = this.#leave(first);
      first.refuse(refusal(this.#secondsFor(line, 0)));
      if (line.length === 0) this.#waiting.delete(first.party);
    }
    for (const [party, line] of this.#waiting) {
      const [first] = line as [Waiting];
      if (!this.#admit(first.cost)) break;
      this.#leave(first);
      this.#waiting.delete(party);
      if (line.length > 0) this.#waiting.set(party, line); // behind the others
      first.go();
    }
    this.#wake();
  }

  /** Takes the first call of its party out of line. @returns those behind it */
  #leave(waiting: Waiting): Waiting[] {
    waiting.over = true;
    const line = this.#waiting.get(waiting.party) as Waiting[];
    line.shift();
    return line;
  }

  /** The call that has waited for the longest time. */
  #first(): Waiting | undefined {
    while (this.#arrived[this.#head]?.over) this.#head++;
    if (this.#head > MAX_WAITING && this.#head * 2 > this.#arrived.length) {
      this.#arrived = this.#arrived.slice(this.#head);
      this.#head = 0;
    }
    return this.#arrived[this.#head];
  }

  /** Looks again when the next can be let in, or one must be refused. */
  #wake(): void {
    clearTimeout(this.#timer);
    const [next] = this.#waiting.values();
    const first = this.#first();
    if (!next || !first) return;
    const pace = this.#running >= this.#atOnce ? MAX_WAIT_MS : (((next[0] as Waiting).cost - this.#saved) / this.#rate) * 1000;
    this.#timer = setTimeout(() => this.#serve(), Math.max(1, Math.min(pace, first.until - performance.now())));
  }

  /** Seconds until a call would be let in that came now behind a line, by the rate alone. */
  #secondsFor(line: readonly Waiting[], cost: number): number {
    const before = line.reduce((sum, each) => sum + each.cost, cost);
    const parties = this.#waiting.size + (line.length === 0 ? 1 : 0);
    return Math.max(0, before * parties - this.#saved) / this.#rate;
  }
}

const refusal = (seconds: number): Refusal =>
  rateLimited("This is more than one caller may ask for at once.", Math.max(1, Math.ceil(seconds)));

/** @param seconds to wait, at least */
export const rateLimited = (why: string, seconds: number): Refusal =>
  new Refusal("RATE_LIMITED", `${why} Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`, { retryAfter: seconds });

/** How late a refusal is told, in milliseconds, and how many at once. */
const DELAY_MS = 1000;
const MAX_DELAYED = 10_000;

let delayed = 0;

/** Waits before a refusal of too much is told: whoever asks again at once gains nothing by it, and takes up nobody's time. */
export async function late(): Promise<void> {
  if (delayed >= MAX_DELAYED) return;
  delayed++;
  await delay(DELAY_MS);
  delayed--;
}
