/** So many at once, first come first served. */
export class Slots {
  #free: number;
  readonly #queue: (() => void)[] = [];
  readonly #watching: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Takes a slot, at once if one is free. @returns when it is taken */
  async take(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
  }

  give(): void {
    const next = this.#queue.shift();
    if (next) next();
    else {
      this.#free++;
      for (const look of this.#watching.splice(0)) look();
    }
  }

  /** Waits until a slot is free, and leaves it so. */
  async free(): Promise<void> {
    while (this.#free === 0) await new Promise<void>((resolve) => this.#watching.push(resolve));
  }
}
