import { LRUCache } from "lru-cache";
import { type Authenticate, type Credentials, hashOf, isHopeless } from "../authenticate.ts";
import { Refusal } from "../refusal.ts";
import { createFailures } from "./failures.ts";
import { networkOf } from "./network.ts";

/** How many credentials that were good here are kept in mind. */
const KNOWN = 50_000;
/** Unknown credentials a second that are looked up for one network, once it has sent too many wrong ones. */
const LOOKUPS = 20;
/** Networks whose lookups are counted at most. */
const MAX_NETWORKS = 50_000;

/** Wrong credentials, by network: who is held up by them, and who is not. */
export interface Guesses {
  /** Counts a wrong credential that came from an address. */
  count(address: string): void;
  /** Seconds for which wrong credentials from an address are answered 429; 0 = they are not. */
  wait(address: string): number;
  /** Whether a credential was good on this server, and has not been refused since. */
  isKnown(presented: Credentials): boolean;
  /**
   * Takes one of an address's lookups of unknown credentials.
   * @param share which of its lookups: revocation has some of its own
   * @throws Refusal RATE_LIMITED where there are none left
   */
  mustLookUp(address: string, share?: "revocation"): void;
  /** Holds up wrong credentials of networks over the limit, and nothing else. To be asked only about what is not remembered. */
  guard(authenticate: Authenticate): Authenticate;
}

/** @param perMinute wrong credentials of a network after which more of them are held up; 0 = never */
export function createGuesses(perMinute: number, now: () => number = Date.now): Guesses {
  const failures = createFailures(perMinute, now);
  const known = new LRUCache<string, true>({ max: KNOWN });
  const lookups = new LRUCache<string, { second: number; left: number }>({ max: MAX_NETWORKS });
  const wait = (address: string) => failures.wait(networkOf(address));
  const heldUp = (retryAfter: number) =>
    new Refusal("RATE_LIMITED", "Too many wrong credentials came from this address. Wait for the seconds named in Retry-After.", {
      retryAfter,
    });

  function mustLookUp(address: string, share = ""): void {
    if (wait(address) === 0) return;
    const key = `${networkOf(address)} ${share}`;
    const second = Math.floor(now() / 1000);
    const taken = lookups.get(key);
    const left = taken?.second === second ? taken.left : LOOKUPS;
    if (left === 0) throw heldUp(1);
    lookups.set(key, { second, left: left - 1 });
  }

  return {
    count: (address) => failures.count(networkOf(address)),
    wait,
    isKnown: (presented) => known.has(hashOf(presented)),
    mustLookUp,
    guard: (authenticate) => async (presented) => {
      const { address, toEnd } = presented;
      const name = hashOf(presented);
      // A wrong checksum is refused without a lookup.
      if (address !== undefined && !known.has(name) && !isHopeless(presented)) mustLookUp(address, toEnd && "revocation");
      try {
        const actor = await authenticate(presented);
        known.set(name, true);
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
