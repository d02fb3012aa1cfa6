import { LRUCache } from "lru-cache";
import { type Authenticate, type Credentials, hashOf, isHopeless } from "../authenticate.ts";
import { lineOf } from "../budgets.ts";
import { FairSemaphore } from "../fair-semaphore.ts";
import { Refusal } from "../refusal.ts";
import { createFailures } from "./failures.ts";
import { networkOf } from "./network.ts";

/** How many credentials that were good here are kept in mind. */
const KNOWN = 50_000;
/**
 * Unknown credentials that are looked up at once for all networks that have sent too many wrong ones, for one of them, and how
 * many of one may wait: a good one among them has its turn.
 */
const LOOKUPS = { all: 4, each: 2, waiting: 20_000 };

/** Wrong credentials, by network: who is held up by them, and who is not. */
export interface Guesses {
  /** Counts a wrong credential that came from an address. */
  count(address: string): void;
  /** Seconds for which wrong credentials from an address are answered 429; 0 = they are not. */
  wait(address: string): number;
  /** Whether a credential was good on this server, and has not been refused since. */
  isKnown(presented: Credentials): boolean;
  /** The party in whose name such a credential calls; undefined of any other. */
  partyOf(presented: Credentials): string | undefined;
  /**
   * Looks up a credential that is unknown, in its turn. Where an address is over the limit, its turn comes after those that it sent before.
   * @param share which of its lines it stands in: revocation has one of its own
   * @throws Refusal RATE_LIMITED where too many wait
   */
  lookUp<T>(address: string, run: () => Promise<T>, share?: "revocation"): Promise<T>;
  /** Holds up wrong credentials of networks over the limit, and nothing else. To be asked only about what is not remembered. */
  guard(authenticate: Authenticate): Authenticate;
}

/** @param perMinute wrong credentials of a network after which more of them are held up; 0 = never */
export function createGuesses(perMinute: number, now: () => number = Date.now): Guesses {
  const failures = createFailures(perMinute, now);
  /** The party of each that is known. */
  const known = new LRUCache<string, string>({ max: KNOWN });
  const newLine = () => new FairSemaphore(LOOKUPS.all, LOOKUPS.each, LOOKUPS.waiting);
  const lines = { usual: newLine(), revocation: newLine() };
  const wait = (address: string) => failures.wait(networkOf(address));
  const heldUp = (retryAfter: number) =>
    new Refusal("RATE_LIMITED", "Too many wrong credentials came from this address. Wait for the seconds named in Retry-After.", {
      retryAfter,
    });

  async function lookUp<T>(address: string, run: () => Promise<T>, share: keyof typeof lines = "usual"): Promise<T> {
    if (wait(address) === 0) return run();
    const [line, network] = [lines[share], networkOf(address)];
    if (line.isFull(network)) throw heldUp(1);
    const release = await new Promise<() => void>((granted) => line.request(network, granted));
    return run().finally(release);
  }

  return {
    count: (address) => failures.count(networkOf(address)),
    wait,
    isKnown: (presented) => known.has(hashOf(presented)),
    partyOf: (presented) => known.get(hashOf(presented)),
    lookUp,
    guard: (authenticate) => async (presented) => {
      const { address, toEnd } = presented;
      const name = hashOf(presented);
      // A wrong checksum is refused without a lookup.
      const unseen = address !== undefined && !known.has(name) && !isHopeless(presented);
      try {
        const asked = () => authenticate(presented);
        const actor = await (unseen ? lookUp(address, asked, toEnd && "revocation") : asked());
        known.set(name, lineOf(actor, true));
        return actor;
      } catch (thrown) {
        if (!(thrown instanceof Refusal && thrown.code === "UNAUTHENTICATED")) throw thrown;
        known.delete(name);
        const seconds = address === undefined || presented.authorization === undefined ? 0 : wait(address);
        throw seconds === 0 ? thrown : heldUp(seconds);
      }
    },
  };
}
