/** One party has too many requests waiting for the database already: this one was not queued. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
}

/** Called with a permit; `release` is called once, when the work is done. */
type Granted = (release: () => void) => void;

/**
 * A semaphore that is fair between parties. Free permits go round: each party that waits gets one permit per round. Within
 * a party, requests are served in their order. Several parties can be bounded together.
 */
export class FairSemaphore {
  #free: number;
  readonly #mostHeld: number;
  readonly #mostWaiting: number;
  readonly #held = new Map<string, number>();
  readonly #groupOf: (party: string) => string;
  /** The order of the map is the order of the round: a party that was served moves to its end. */
  readonly #waiting = new Map<string, Set<Granted>>();

  /**
   * @param permits how many there are
   * @param mostHeld most permits that one group holds at a time
   * @param mostWaiting most requests of one party that wait
   * @param groupOf names the group of a party; left out, each is a group of its own
   */
  constructor(permits: number, mostHeld: number, mostWaiting: number, groupOf = (party: string) => party) {
    this.#groupOf = groupOf;
    this.#free = permits;
    this.#mostHeld = mostHeld;
    this.#mostWaiting = mostWaiting;
  }

  /** Whether a request of this party would be one too many. */
  isFull(party: string): boolean {
    return (this.#waiting.get(party)?.size ?? 0) >= this.#mostWaiting;
  }

  /** Requests a permit, which may be granted before this returns. @returns how to cancel a request that waits */
  request(party: string, granted: Granted): () => void {
    const requests = this.#waiting.get(party) ?? new Set();
    this.#waiting.set(party, requests.add(granted));
    this.#serve();
    return () => {
      if (requests.delete(granted) && requests.size === 0) this.#waiting.delete(party);
    };
  }

  #serve(): void {
    for (const [party, requests] of this.#waiting) {
      if (this.#free === 0) return;
      const group = this.#groupOf(party);
      const held = this.#held.get(group) ?? 0;
      if (held >= this.#mostHeld) continue;
      const [granted] = requests as unknown as [Granted];
      requests.delete(granted);
      this.#waiting.delete(party);
      if (requests.size > 0) this.#waiting.set(party, requests);
      this.#free--;
      this.#held.set(group, held + 1);
      granted(() => this.#release(group));
    }
  }

  #release(group: string): void {
    const held = (this.#held.get(group) as number) - 1;
    if (held === 0) this.#held.delete(group);
    else this.#held.set(group, held);
    this.#free++;
    this.#serve();
  }
}
