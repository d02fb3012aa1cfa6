import { setTimeout as delay } from "node:timers/promises";
import { type Actor, isBrowser } from "./actor.ts";
import { ANSWERED_PER_CALL, BYTES_PER_CALL } from "./meter.ts";
import { late, rateLimited, Share } from "./share.ts";
import { ownTurn } from "./turns.ts";

/**
 * How much of one kind of thing each may have: a credential, a principal with all its credentials, an owner with all their
 * agents, a space, this server.
 */
interface Caps {
  credential: number;
  /** The token of one session, which anybody may have who was let into a chat. All of one principal's count together. */
  browser: number;
  principal: number;
  owner: number;
  space: number;
  server: number;
}

/** What each caller may take of the server. */
interface Limits {
  /** Cost of calls a second. */
  rate: Omit<Caps, "server">;
  /** Calls under way at once. */
  atOnce: Omit<Caps, "server">;
  /** Calls that wait for something to come, such as a worker's for a run. */
  waits: Caps;
  /** Open event streams. */
  streams: Caps;
  /** Bytes of bodies that are on their way, or are read: as many as they were announced to have. */
  bodies: Caps;
  /** Characters of answers that have not left yet: until its client has read it, an answer takes up memory. */
  answers: Caps;
}

/** A million characters. */
const MILLION = 1_000_000;
/** Characters of answers, or of bodies, that a caller may keep whatever others keep. */
const FAIR_CHARACTERS = 4 * MILLION;

/** The limits that follow from the settings. */
export const limitsFrom = ({ callRate, maxStreams, maxWaits }: { callRate: number; maxStreams: number; maxWaits: number }): Limits => ({
  rate: { credential: callRate, browser: callRate / 20, principal: callRate * 2, owner: callRate * 4, space: callRate * 4 },
  atOnce: { credential: 64, browser: 8, principal: 96, owner: 192, space: 192 },
  waits: capsOf(maxWaits),
  streams: capsOf(maxStreams),
  bodies: {
    credential: 64 * MILLION,
    browser: 4 * MILLION,
    principal: 96 * MILLION,
    owner: 128 * MILLION,
    space: 256 * MILLION,
    server: 512 * MILLION,
  },
  answers: {
    credential: 16 * MILLION,
    browser: 4 * MILLION,
    principal: 32 * MILLION,
    owner: 64 * MILLION,
    space: 256 * MILLION,
    server: 512 * MILLION,
  },
});

/** Parts of what this server holds open. */
const capsOf = (server: number): Caps => ({
  credential: Math.max(1, Math.floor(server / 20)),
  browser: Math.max(1, Math.floor(server / 1000)),
  principal: Math.max(1, Math.floor(server / 4)),
  owner: Math.max(1, Math.floor(server / 2)),
  space: Math.max(1, Math.floor((server * 3) / 4)),
  server,
});

/**
 * Calls that take authority back are counted apart, so that no flood of other calls can hold them up: those of a person in
 * person by themselves, those of all keys and tokens of a principal together besides.
 */
const TAKING_BACK = { rate: 100, atOnce: 8 };

/** How long a stream waits before it asks for room once more. */
const AGAIN_MS = 1000;
/** How often shares that nobody uses are forgotten. */
const FORGET_MS = 10_000;

/** The party of a caller's principal: what comes by browsers' tokens stands apart from the rest. */
const partyOf = (actor: Actor): string => `${isBrowser(actor) ? "b" : "p"}:${actor.principal.id}`;

/** The party in whose name a person takes authority back: all sessions of theirs are one, and none of their agents and keys. */
export const lineInPerson = (user: string): string => `c:${user}`;

/**
 * The party in whose name a caller waits for the database. An agent waits in that of its owner, who may have any number of them; a
 * space's service, and an agent of a group, in that of the space's maker, beside what the maker does in person.
 */
export const lineOf = (actor: Actor, takesBack = false): string => {
  if (takesBack && actor.credential.via === "session") return lineInPerson(actor.principal.id);
  if (actor.account) return `${isBrowser(actor) ? "b" : "m"}:${actor.account}`;
  return actor.owner ? `${isBrowser(actor) ? "b" : "p"}:${actor.owner.id}` : partyOf(actor);
};

/** Whose budget a call counts against, from the narrowest on: the kind of its cap, and its name. */
const partiesOf = (actor: Actor): [kind: Exclude<keyof Caps, "server">, name: string][] => [
  [isBrowser(actor) ? "browser" : "credential", `c:${actor.credential.id}`],
  ["principal", partyOf(actor)],
  ["owner", `o:${lineOf(actor)}`],
  ...(actor.standing ? [["space", `s:${actor.standing.space.id}`] as [kind: "space", name: string]] : []),
];

/** Whether a cap is for several owners together. */
const isShared = (kind: keyof Caps): boolean => kind === "space" || kind === "server";

/** Whose what is held open counts as: also this server's. */
const holdersOf = (actor: Actor): [kind: keyof Caps, name: string][] => [...partiesOf(actor), ["server", "server"]];

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
  readonly #held = {
    waits: new Map<string, number>(),
    streams: new Map<string, number>(),
    bodies: new Map<string, number>(),
    answers: new Map<string, number>(),
  };
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
   * @throws Refusal RATE_LIMITED, when too many wait or the wait is too long, or the caller does not read their answers
   */
  async take(actor: Actor, cost: number, takesBack = false): Promise<Place> {
    const shares = takesBack ? this.#takingBack(actor) : this.#sharesOf(actor);
    let { taken, waited } = await this.#patiently(async () => {
      const all = await takeAll(shares, takesBack ? 1 : cost);
      if (takesBack || !this.#leavesUnread(actor)) return all;
      for (const { share } of all.taken) share.give();
      throw rateLimited(
        "Too many answers wait to be read by this credential, its principal, its owner or its space, or on this server.",
        5,
      );
    });
    const give = () => {
      for (const { share } of taken.splice(0)) share.give();
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

  /** Counts against a caller's budget what a request has cost besides what was taken for it. */
  owe(actor: Actor, cost: number): void {
    if (cost > 0) for (const { share } of this.#sharesOf(actor)) share.owe(cost);
  }

  /** Counts what is sent to a caller bit by bit, as an answer of that size would count. @returns waits until there is room for more */
  pacer(actor: Actor): (characters: number) => Promise<void> {
    let unpaid = 0;
    return async (characters) => {
      unpaid += characters;
      const cost = Math.floor(unpaid / ANSWERED_PER_CALL);
      if (cost === 0) return;
      unpaid -= cost * ANSWERED_PER_CALL;
      // A stream waits where a call would be refused with RATE_LIMITED.
      const paid = () => this.pay(actor, cost).catch(() => delay(AGAIN_MS, false));
      while ((await paid()) === false);
    };
  }

  /**
   * Reads a request. A large one counts against its caller's budget, and lets everything go first that is ready; so does one
   * that can't be read.
   * @throws Refusal RATE_LIMITED, and what `read` throws
   */
  async reading<T>(actor: Actor, body: Uint8Array, read: (body: Uint8Array) => T): Promise<T> {
    if (body.length <= BYTES_PER_CALL) {
      try {
        return read(body);
      } catch (unreadable) {
        await this.pay(actor, 1);
        throw unreadable;
      }
    }
    const place = await this.take(actor, Math.floor(body.length / BYTES_PER_CALL));
    try {
      await ownTurn();
      return read(body);
    } finally {
      place.give();
    }
  }

  /** Counts something that a caller holds open, or so much of it. @returns gives it back @throws Refusal RATE_LIMITED */
  hold(what: keyof typeof HELD, actor: Actor, amount = 1): () => void {
    const counts = this.#held[what];
    const together = (name: string) => (counts.get(name) ?? 0) + amount;
    const fair = what === "bodies" && together(partyOf(actor)) <= FAIR_CHARACTERS;
    if (holdersOf(actor).some(([kind, name]) => together(name) > this.#limits[what][kind] && !(fair && isShared(kind))))
      throw rateLimited(HELD[what], 5);
    return count(counts, actor, amount);
  }

  /** Counts an answer among its caller's until it has left. */
  keep(actor: Actor, characters: number, left: Promise<void>): void {
    left.then(count(this.#held.answers, actor, characters));
  }

  /** Whether so much is kept already for a caller, or for all, that there is to be no further answer. */
  #leavesUnread(actor: Actor): boolean {
    const kept = (name: string) => this.#held.answers.get(name) ?? 0;
    const fair = kept(partyOf(actor)) < FAIR_CHARACTERS;
    return holdersOf(actor).some(([kind, name]) => kept(name) >= this.#limits.answers[kind] && !(fair && isShared(kind)));
  }

  async #patiently<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (refusal) {
      await late();
      throw refusal;
    }
  }

  #sharesOf(actor: Actor): Used[] {
    const { rate, atOnce } = this.#limits;
    return partiesOf(actor).map(([kind, name], i, all) => ({
      share: this.#share(name, rate[kind], atOnce[kind]),
      // Each takes its turn in the next: a credential in its principal's, an agent in its owner's, an owner in the space's.
      party: all[i - 1]?.[1] ?? name,
    }));
  }

  #takingBack(actor: Actor): Used[] {
    const names = [`back ${actor.credential.id}`, `back ${lineOf(actor, true)}`];
    return names.map((name, i) => ({ share: this.#share(name, TAKING_BACK.rate, TAKING_BACK.atOnce), party: names[i - 1] ?? name }));
  }

  #share(name: string, rate: number, atOnce: number): Share {
    const share = this.#shares.get(name) ?? new Share(rate, atOnce);
    this.#shares.set(name, share);
    return share;
  }
}

/** Counts so much more for all whose it is. @returns takes it off again, once */
function count(counts: Map<string, number>, actor: Actor, amount: number): () => void {
  const names = holdersOf(actor).map(([, name]) => name);
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + amount);
  return () => {
    for (const name of names.splice(0)) {
      const left = (counts.get(name) ?? amount) - amount;
      if (left === 0) counts.delete(name);
      else counts.set(name, left);
    }
  };
}

/** A share, and the party in whose name a call uses it. */
interface Used {
  share: Share;
  party: string;
}

/** Takes a place in each share, or in none. */
async function takeAll(shares: readonly Used[], cost: number): Promise<{ taken: Used[]; waited: boolean }> {
  const taken: Used[] = [];
  let waited = false;
  try {
    for (const used of shares) {
      const wait = used.share.take(used.party, cost);
      waited ||= wait !== undefined;
      await wait;
      taken.push(used);
    }
  } catch (thrown) {
    for (const { share } of taken) share.give();
    throw thrown;
  }
  return { taken, waited };
}

const HELD = {
  waits: "Too many calls wait already by this credential, its principal, its owner or its space, or on this server.",
  streams: "Too many event streams are open already by this credential, its principal, its owner or its space, or on this server.",
  bodies: "Too much is being sent already by this credential, its principal, its owner or its space, or to this server.",
};
