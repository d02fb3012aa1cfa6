import type { UIMessageChunk } from "ai";

/** Milliseconds between two batches: what comes meanwhile goes together. */
const FLUSH_MS = 15;
/** Characters of JSON, and chunks, that go into one batch. */
const MAX_CHARACTERS = 65_536;
const MAX_CHUNKS = 1000;

/** Sends the chunks of one answer in batches that have numbers: the first at once, then as they come, in their order. */
export class Emitter {
  readonly #send: (batch: number, chunks: UIMessageChunk[]) => Promise<void>;
  #waiting: { chunk: UIMessageChunk; size: number }[] = [];
  #size = 0;
  #batch = 0;
  #sending: Promise<void> | undefined;
  #failure: { cause: unknown } | undefined;
  #hurry = () => {};
  #closed = false;

  /** @param send sends one batch, as often as it takes */
  constructor(send: (batch: number, chunks: UIMessageChunk[]) => Promise<void>) {
    this.#send = send;
  }

  /** Takes a chunk; waits only while much is waiting to be sent. @throws what sending failed with */
  async push(chunk: UIMessageChunk): Promise<void> {
    const size = JSON.stringify(chunk).length;
    this.#waiting.push({ chunk, size });
    this.#size += size;
    this.#sending ??= this.#drain();
    if (this.#size > 4 * MAX_CHARACTERS) await this.#sending;
    if (this.#failure) throw this.#failure.cause;
  }

  /** Sends what is left. @throws what sending failed with */
  async close(): Promise<void> {
    this.#closed = true;
    this.#hurry();
    await this.#sending;
    if (this.#failure) throw this.#failure.cause;
  }

  async #drain(): Promise<void> {
    // What an agent says in one breath goes together.
    await new Promise((resolve) => setImmediate(resolve));
    try {
      while (this.#waiting.length > 0) await Promise.all([this.#send(++this.#batch, this.#take()), this.#pause()]);
    } catch (cause) {
      this.#failure = { cause };
    } finally {
      this.#sending = undefined;
    }
  }

  #take(): UIMessageChunk[] {
    let count = 0;
    for (let sum = 0; count < Math.min(this.#waiting.length, MAX_CHUNKS); count++) {
      sum += this.#waiting[count]?.size ?? 0;
      if (count > 0 && sum > MAX_CHARACTERS) break;
    }
    const taken = this.#waiting.splice(0, count);
    for (const { size } of taken) this.#size -= size;
    return taken.map(({ chunk }) => chunk);
  }

  #pause(): Promise<void> | undefined {
    if (this.#closed) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, FLUSH_MS);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
