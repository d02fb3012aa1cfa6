import { setTimeout as delay } from "node:timers/promises";
import type { Actor } from "./actor.ts";
import { Refusal } from "./refusal.ts";

/** How much of one kind of thing each may have: a credential, a principal with all its credentials, a space, this server. */
interface Caps {
  credential: number;
  principal: number;
  space: number;
  server: number;
}

/** What each caller may take of the server. Rates are per second, and allow a burst of two seconds' worth. */
export interface Limits {
  /** Calls a second; a call that costs more counts as several. */
  rate: Omit<Caps, "server">;
  /** Calls under way at once. */
  atOnce: Omit<Caps, "server">;
  /** Calls that wait for something to come, such as a worker's for a run. */
  waits: Caps;
  /** Open event streams. */
  streams: Caps;
}

/** The limits that follow from the settings. */
export const limitsFrom = ({ callRate, maxStreams, maxWaits }: { callRate: number; maxStreams: number; maxWaits: number }): Limits => ({
  rate: { credential: callRate, principal: callRate * 2, space: callRate * 4 },
  atOnce: { credential: 64, principal: 96, space: 192 },
  waits: capsOf(maxWaits),
  streams: capsOf(maxStreams),
});

/** Of what this server holds open, all credentials of one principal have half at most, and one credential has a twentieth. */
const capsOf = (server: number): Caps => ({
  credential: Math.max(1, Math.floor(server / 20)),
  principal: Math.max(1, Math.floor(server / 2)),
  space: Math.max(1, Math.floor((server * 3) / 4)),
  server,
});

/** Calls that take authority back are counted apart, so that no flood of other calls can hold them up: by credential alone. */
const TAKING_BACK: { rate: number; atOnce: number } = { rate: 100, atOnce: 8 };

/** Seconds of its rate that a share may save up. */
const BURST_SECONDS = 2;
/** Most calls that wait for one share, and how long each may. */
const MAX_QUEUE = 256;
const MAX_WAIT_MS = 5000;
/** Bytes of a request that cost nothing to read; all more cost a call for as many. */
const SMALL_BYTES = 16_384;
/** How late a refusal is told, and of how many at once. */
const DELAY_MS = 1000;
const MAX_DELAYED = 10_000;
/** How often shares that nobody uses are forgotten. */
const FORGET_MS = 10_000;

interface Waiting {
  cost: number;
  /** By when it is refused. */
  until: number;
  go(): void;
  refuse(refusal: Refusal): void;
}

/** One party's share of the server: so many calls at once, and so many a second. Those beyond wait in line, and are let in at that pace. */
class Share {
  readonly #rate: number;
  readonly #atOnce: number;
  readonly #queue: Waiting[] = [];
  #running = 0;
  #saved: number;
  #countedAt = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(rate: number, atOnce: number) {
    this.#rate = rate;
    this.#atOnce = atOnce;
    this.#saved = rate * BURST_SECONDS;
  }

  /** Takes a place, at once or when there is one. @returns nothing, where there was no wait @throws Refusal RATE_LIMITED */
  take(cost: number): Promise<void> | undefined {
    if (this.#queue.length === 0 && this.#admit(cost)) return undefined;
    // Whoever would wait too long is told at once.
    if (this.#queue.length >= MAX_QUEUE || this.#secondsFor(cost) * 1000 > MAX_WAIT_MS) throw this.#refusal();
    return new Promise((go, refuse) => {
      this.#queue.push({ cost, until: performance.now() + MAX_WAIT_MS, go, refuse });
      this.#wake();
    });
  }

  /** Gives a place back. */
  give(): void {
    this.#running--;
    if (this.#queue.length > 0) this.#serve();
  }

  get idle(): boolean {
    this.#refill();
    return this.#running === 0 && this.#queue.length === 0 && this.#saved >= this.#rate * BURST_SECONDS;
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
    for (let first = this.#queue[0]; first; first = this.#queue[0]) {
      if (first.until <= now) first.refuse(this.#refusal());
      else if (this.#admit(first.cost)) first.go();
      else break;
      this.#queue.shift();
    }
    if (this.#queue.length > 0) this.#wake();
  }

  /** Looks again when the first in line can be let in, or must be refused. */
  #wake(): void {
    clearTimeout(this.#timer);
    const [first] = this.#queue as [Waiting];
    const pace = this.#running >= this.#atOnce ? MAX_WAIT_MS : ((first.cost - this.#saved) / this.#rate) * 1000;
    const ms = Math.max(1, Math.min(pace, first.until - performance.now()));
    this.#timer = setTimeout(() => this.#serve(), ms);
  }

  /** Seconds until a call would be let in that came now, by the rate alone. */
  #secondsFor(cost: number): number {
    const waiting = this.#queue.reduce((sum, each) => sum + each.cost, cost);
    return Math.max(0, waiting - this.#saved) / this.#rate;
  }

  #refusal(): Refusal {
    return rateLimited("This is more than one caller may ask for at once.", Math.max(1, Math.ceil(this.#secondsFor(0))));
  }
}

const rateLimited = (why: string, retryAfter: number): Refusal =>
  new Refusal("RATE_LIMITED", `${why} Try again in ${retryAfter} ${retryAfter === 1 ? "second" : "seconds"}.`, { retryAfter });

/** Whose budget a call counts against, by the names of their shares. */
const partiesOf = ({ credential, principal, standing }: Actor) => ({
  credential: `c:${credential.id}`,
  principal: `p:${principal.id}`,
  space: standing ? `s:${standing.space.id}` : undefined,
});

/** A call's place in the shares of those whom it counts against. */
export interface Place {
  /** Whether it had to be waited for: since then, the caller's credential may have been revoked. */
  readonly waited: boolean;
  /** Gives the place up while the call waits for something else, and takes it again. @throws Refusal RATE_LIMITED */
  leave<T>(waiting: () => Promise<T>): Promise<T>;
  /** Gives the place up. */
  give(): void;
}

/**
 * The budgets of all callers of this server. Each call takes a place in the shares of its credential, its principal and its
 * space; whatever is held open (waits, streams) is counted for the same, and for the server.
 */
export class Budgets {
  readonly #limits: Limits;
  readonly #shares = new Map<string, Share>();
  readonly #held = { waits: new Map<string, number>(), streams: new Map<string, number>() };
  #turn = Promise.resolve();
  #delayed = 0;
  readonly #forgetting: ReturnType<typeof setInterval>;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#forgetting = setInterval(() => {
      for (const [name, share] of this.#shares) if (share.idle) this.#shares.delete(name);
    }, FORGET_MS);
    this.#forgetting.unref();
  }

  close(): void {
    clearInterval(this.#forgetting);
  }

  /**
   * Takes a place for a call, in line behind others of the same parties.
   * @param cost in calls
   * @param takesBack whether it takes authority back: then it waits for no call of another kind
   * @throws Refusal RATE_LIMITED, when too many wait or the wait is too long
   */
  async take(actor: Actor, cost: number, takesBack = false): Promise<Place> {
    const shares = takesBack ? [this.#takingBack(actor)] : this.#sharesOf(actor);
    let { taken, waited } = await this.#patiently(() => takeAll(shares, takesBack ? 1 : cost));
    const give = () => {
      for (const share of taken.splice(0)) share.give();
    };
    return {
      waited,
      give,
      leave: async (waiting) => {
        const release = this.hold("waits", actor);
        give();
        try {
          return await waiting();
        } finally {
          release();
          ({ taken, waited } = await takeAll(shares, 0));
        }
      },
    };
  }

  /** Counts what is no call against a caller's budget. @throws Refusal RATE_LIMITED */
  async pay(actor: Actor, cost: number, takesBack = false): Promise<void> {
    (await this.take(actor, cost, takesBack)).give();
  }

  /**
   * Reads a request. A large one counts against its caller's budget, and lets everything go first that is ready; so does one
   * that can't be read.
   * @throws Refusal RATE_LIMITED, and what `read` throws
   */
  async reading<T>(actor: Actor, body: Uint8Array, read: (body: Uint8Array) => T): Promise<T> {
    if (body.length <= SMALL_BYTES) {
      try {
        return read(body);
      } catch (unreadable) {
        await this.pay(actor, 1);
        throw unreadable;
      }
    }
    const place = await this.take(actor, Math.floor(body.length / SMALL_BYTES));
    try {
      // Two of them never follow each other: each has a turn of the event loop of its own.
      this.#turn = this.#turn.then(() => new Promise((resolve) => setImmediate(resolve)));
      await this.#turn;
      return read(body);
    } finally {
      place.give();
    }
  }

  /** Counts something that a caller holds open. @returns gives it back @throws Refusal RATE_LIMITED */
  hold(what: "waits" | "streams", actor: Actor): () => void {
    const counts = this.#held[what];
    const caps = this.#limits[what];
    const parties = Object.entries({ ...partiesOf(actor), server: "server" }) as [keyof Caps, string | undefined][];
    const names = parties.flatMap(([party, name]) => {
      if (name === undefined) return [];
      if ((counts.get(name) ?? 0) >= caps[party]) throw rateLimited(HELD[what], 5);
      return [name];
    });
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    return () => {
      for (const name of names.splice(0)) {
        const left = (counts.get(name) ?? 1) - 1;
        if (left === 0) counts.delete(name);
        else counts.set(name, left);
      }
    };
  }

  /** A refusal is told a second late: whoever asks again at once gains nothing by it. */
  async #patiently<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (refusal) {
      if (this.#delayed < MAX_DELAYED) {
        this.#delayed++;
        await delay(DELAY_MS);
        this.#delayed--;
      }
      throw refusal;
    }
  }

  #sharesOf(actor: Actor): Share[] {
    const { rate, atOnce } = this.#limits;
    const { credential, principal, space } = partiesOf(actor);
    return [
      this.#share(credential, rate.credential, atOnce.credential),
      this.#share(principal, rate.principal, atOnce.principal),
      ...(space ? [this.#share(space, rate.space, atOnce.space)] : []),
    ];
  }

  #takingBack({ credential }: Actor): Share {
    return this.#share(`back ${credential.id}`, TAKING_BACK.rate, TAKING_BACK.atOnce);
  }

  #share(name: string, rate: number, atOnce: number): Share {
    const share = this.#shares.get(name) ?? new Share(rate, atOnce);
    this.#shares.set(name, share);
    return share;
  }
}

/** Takes a place in each share, or in none. */
async function takeAll(shares: readonly Share[], cost: number): Promise<{ taken: Share[]; waited: boolean }> {
  const taken: Share[] = [];
  let waited = false;
  try {
    for (const share of shares) {
      const wait = share.take(cost);
      waited ||= wait !== undefined;
      await wait;
      taken.push(share);
    }
  } catch (thrown) {
    for (const share of taken) share.give();
    throw thrown;
  }
  return { taken, waited };
}

const HELD = {
  waits: "Too many calls wait already by this credential, its principal or its space, or on this server.",
  streams: "Too many event streams are open already by this credential, its principal or its space, or on this server.",
};
