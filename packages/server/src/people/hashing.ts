import { availableParallelism } from "node:os";
import { Refusal } from "../refusal.ts";

/** Hashing a password takes a core for some 50 ms, and 32 MiB: so many at once, of which one is kept for people who are known. */
const AT_ONCE = Math.max(2, availableParallelism());
/** Most that wait in a lane: about a second's work, so that nobody waits longer. And most of one network, or one account. */
const MAX_WAITING = 16 * AT_ONCE;
const MAX_OF_ONE = 4;

/** Who has a password hashed. */
interface Client {
  /** Their network; of a person who has signed in from there before, their account. */
  key: string;
  known: boolean;
}

/** Those who wait, by their key: each key has its turn, however many wait by another. */
class Lane {
  readonly #waiting = new Map<string, (() => void)[]>();
  #size = 0;

  /** @returns whether there is room */
  join(key: string, go: () => void): boolean {
    const line = this.#waiting.get(key) ?? [];
    if (this.#size >= MAX_WAITING || line.length >= MAX_OF_ONE) return false;
    line.push(go);
    this.#waiting.set(key, line);
    this.#size++;
    return true;
  }

  next(): (() => void) | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [key, line] = first;
    const go = line.shift();
    this.#waiting.delete(key);
    if (line.length > 0) this.#waiting.set(key, line); // behind all others
    this.#size--;
    return go;
  }
}

/**
 * Bounds the hashing of passwords on this server, whoever asks: guesses from ever new networks must not make a line that has no
 * end. People who have signed in from where they are before have a lane of their own, and go first.
 */
export function createHashing(atOnce = AT_ONCE) {
  const lanes = { known: new Lane(), stranger: new Lane() };
  const running = { known: 0, stranger: 0 };
  const free = (lane: keyof typeof lanes) =>
    running.known + running.stranger < atOnce && (lane === "known" || running.stranger < atOnce - 1);
  /** Lets those go on for whom there is room. */
  const proceed = () => {
    for (const lane of ["known", "stranger"] as const)
      while (free(lane)) {
        const go = lanes[lane].next();
        if (!go) break;
        running[lane]++;
        go();
      }
  };
  return {
    /** Whether somebody who is not known would have to wait. */
    busy: () => !free("stranger"),
    /** Does what hashes a password, in its turn. @throws Refusal RATE_LIMITED at once, and not later, where too many wait */
    run<T>({ key, known }: Client, work: () => Promise<T>): Promise<T> {
      const lane = known ? "known" : "stranger";
      const { promise: turn, resolve: go } = Promise.withResolvers<void>();
      if (!lanes[lane].join(key, go))
        throw new Refusal("RATE_LIMITED", "Too many people sign in at this moment. Try again in a second.", { retryAfter: 1 });
      proceed();
      return turn.then(work).finally(() => {
        running[lane]--;
        proceed();
      });
    },
  };
}

export type Hashing = ReturnType<typeof createHashing>;
