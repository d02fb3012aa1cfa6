import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { StreamEnd } from "@gatehouse/protocol";
import type { Logger } from "pino";
import type { Feed } from "../feed.ts";
import { loggable } from "../telemetry.ts";
import { judgesTurn } from "../turns.ts";
import type { Follower } from "./tails.ts";

/** How often a stream on which nothing comes says that it is open. */
const BEAT_MS = 15_000;
/** How often readers are asked about whatever has changed or not: of what ends by time alone, no feed tells. It is remembered, as a rule. */
const EXPIRY_MS = 500;
/** How often it is asked whether readers still may read, when anything they hang on may have changed: half of what is promised. */
const JUDGE_MS = 250;
const STALLED_MS = 30_000;
/** How long after it was asked an answer that a reader may read is good for: what comes later is written once they were asked again. */
const GOOD_MS = 300;
/** What is written was allowed so long ago at most, however slowly that was answered: less than the second that is promised. */
const MOST_MS = 900;

/** Most readers of one party that are asked at once. */
const AT_ONCE = 16;

/** The reader of a stream. */
interface Reader {
  /** In whose name they read. */
  party: string;
  /** Undefined where that can't be told, as while the database is away. */
  allowed(): Promise<boolean | undefined>;
  sent(characters: number): Promise<void>;
}

/** The open event streams of this server. */
export class Streams {
  readonly #parties = new Map<string, Party>();
  readonly #timers: ReturnType<typeof setInterval>[];
  readonly #log: Logger;
  readonly #stalledMs: number;
  #changed = false;

  /** @param stalledMs how long a reader may take for what was written to it, before it is dropped */
  constructor(feed: Feed, log: Logger, stalledMs = STALLED_MS) {
    this.#log = log;
    this.#stalledMs = stalledMs;
    feed.watch(() => {
      this.#changed = true;
    });
    this.#timers = [
      setInterval(() => {
        for (const stream of this.#open()) stream.beat();
      }, BEAT_MS),
      setInterval(() => {
        this.#changed = true;
      }, EXPIRY_MS),
      setInterval(() => {
        if (!this.#changed && feed.fresh()) return;
        this.#changed = false;
        for (const party of this.#parties.values()) void party.judge();
      }, JUDGE_MS),
    ];
  }

  /**
   * Writes a session's events to a reader as server-sent events (WHATWG HTML §9.2), until the session is over, the
   * reader goes, stops reading, or may read no more. Where the log can't be read, as the database is away, the line is
   * closed: its reader comes again. One that has read all there is stays, and goes on when the database is back.
   * @param party in whose name they read: none waits until the readers of another are asked
   * @param allowed whether the reader still may: asked again whenever what it hangs on may have changed, and before anything is
   * written where that was a while ago
   * @param sent told how many characters went to the reader; no more goes before it resolves
   * @param over the session is, and the reader has read all of it
   */
  async serve(response: Writable, follower: Follower, reader: Reader, over = false): Promise<void> {
    const stream = new Stream(response, follower, reader, this.#stalledMs);
    if (over) return stream.end("the session is over");
    const party = this.#parties.get(reader.party) ?? new Party();
    this.#parties.set(reader.party, party);
    party.streams.add(stream);
    try {
      await stream.run();
    } catch (cause) {
      this.#log.warn({ cause: loggable(cause) }, "a session's log can't be read: its reader is to come again");
    } finally {
      party.streams.delete(stream);
      if (party.streams.size === 0 && this.#parties.get(reader.party) === party) this.#parties.delete(reader.party);
      stream.close();
    }
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const stream of this.#open()) stream.end("the server stops");
  }

  #open(): Stream[] {
    return [...this.#parties.values()].flatMap(({ streams }) => [...streams]);
  }
}

/** The streams that are read in the name of one party. */
class Party {
  readonly streams = new Set<Stream>();
  #judging = false;
  #again = false;

  /**
   * Asks of every stream whether its reader still may read: of each in a turn of the event loop of its own, of some at a time, as
   * there may be thousands, and all of them once more if it is called meanwhile.
   */
  async judge(): Promise<void> {
    this.#again = true;
    if (this.#judging) return;
    this.#judging = true;
    while (this.#again) {
      this.#again = false;
      const streams = this.streams.values();
      const some = async () => {
        for (const stream of streams) await stream.judge();
      };
      await Promise.allSettled(Array.from({ length: Math.min(AT_ONCE, this.streams.size) }, some));
    }
    this.#judging = false;
  }
}

class Stream {
  readonly #response: Writable;
  readonly #follower: Follower;
  readonly #reader: Reader;
  readonly #stalledMs: number;
  /** When it was last asked whether the reader may, and they did. */
  #goodSince = Number.NEGATIVE_INFINITY;
  #over = false;

  constructor(response: Writable, follower: Follower, reader: Reader, stalledMs: number) {
    this.#response = response;
    this.#follower = follower;
    this.#reader = reader;
    this.#stalledMs = stalledMs;
    response.on("close", () => this.#finish());
    response.on("error", () => this.#finish());
    // Who hung up while the stream was being opened is told of no more.
    if (response.destroyed) this.#finish();
  }

  async run(): Promise<void> {
    // Asked once more, now that it is among those who are asked: what changed before was not heard of.
    await this.judge();
    for (;;) {
      const events = await this.#follower.next();
      await this.#mayRead();
      if (!events || this.#over) return;
      const text = events.map(({ text }) => text).join("");
      await this.#write(text);
      await this.#reader.sent(text.length);
      // The last of the log.
      if (events.at(-1)?.kind === "close") this.end("the session is over");
    }
  }

  /** Asks whether the reader still may, in a turn of the event loop of its own; ends the stream where they may not. */
  async judge(): Promise<void> {
    await judgesTurn(this.#reader.party);
    if (this.#over) return;
    const askedAt = performance.now();
    const allowed = await this.#reader.allowed();
    if (allowed) this.#goodSince = askedAt;
    else if (allowed === false) this.end("access ended");
  }

  /** Waits until it is known that the reader still may, or the stream is over. */
  async #mayRead(): Promise<void> {
    const askedSince = () => performance.now() - this.#goodSince;
    while (!this.#over && askedSince() > GOOD_MS) {
      await this.judge();
      if (this.#over || askedSince() <= MOST_MS) return;
      await delay(JUDGE_MS);
    }
  }

  beat(): void {
    if (!this.#over && !this.#response.writableNeedDrain) this.#response.write(": open\n\n");
  }

  end(why: StreamEnd["why"]): void {
    if (this.#over) return;
    this.#response.write(`event: end\ndata: ${JSON.stringify({ why } satisfies StreamEnd)}\n\n`);
    this.close();
  }

  close(): void {
    this.#response.end();
    this.#finish();
  }

  async #write(text: string): Promise<void> {
    if (this.#over || this.#response.write(text)) return;
    await new Promise<void>((resolve) => {
      const go = () => {
        clearTimeout(timer);
        // One that stayed would keep what was written, for as long as the stream is open.
        this.#response.off("drain", go).off("close", go);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#response.destroy();
        go();
      }, this.#stalledMs);
      this.#response.on("drain", go).on("close", go);
    });
  }

  #finish(): void {
    this.#over = true;
    this.#follower.end();
  }
}
