import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { Line } from "./line.ts";
import { loggable } from "./telemetry.ts";

/** The channel on which triggers tell, tag by tag, what has changed (migrations/0004_feed.sql). */
const CHANNEL = "gatehouse";
/** How often a beat is sent; and how long, from when it was sent, one that came back is good for. */
const BEAT_MS = 200;
const FRESH_MS = 600;
/** How long anything asked of the database here may take. Then the line counts as lost. */
const LOST_MS = 2000;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1000;

/** Told what has ended: all that hangs on a tag; without a tag, it may have been anything. */
type Ended = (tag?: string) => void;

/** What a server hears of changes in the database, its own and those of others; and whether it hears. */
export interface Feed {
  /** Whether all has been told to those who watch that was committed until 600 ms ago, and before the last `doubt`. */
  fresh(): boolean;
  /** To be called after each commit of this server: nothing is fresh until the feed has caught up with it. */
  doubt(): void;
  /** Instead of `doubt`, after a commit of which it is known what it has ended. @param tags as `tell` in migrations/ keeps them */
  tell(tags: string): void;
  watch(ended: Ended): void;
  close(): Promise<void>;
}

interface Beat {
  /** When it was sent: by the clock that never jumps, and by the one that goes on while the machine sleeps. */
  steady: number;
  wall: number;
  /** How many doubts there had been. */
  doubts: number;
}

/**
 * Listens for changes, and knows by a heartbeat that it hears them. Postgres tells notifications in the order of their
 * commits: when a beat comes back, all that was committed before it was sent has been told. It comes by the way that
 * changes come, from another session to one that is idle, so that whatever holds those up holds it up too: a cut line,
 * a paused process, a pooler that lends sessions by the transaction.
 */
export function openFeed(address: string, log: Logger): Feed {
  const watchers: Ended[] = [];
  let heard: Beat | undefined;
  let doubts = 0;
  let wake = () => {};
  let hangUp = () => {};
  let closed = false;
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const tell: Ended = (tag) => {
    for (const ended of watchers) ended(tag);
  };
  const doubt = () => {
    doubts++;
    if (heard) wake();
  };

  /** Listens for as long as the line holds. @throws what it was lost by */
  async function listen(): Promise<never> {
    const own = `${CHANNEL} ${randomUUID()}`; // a beat of the line before, late on its way, is none of this one
    let comeBack = () => {};
    const onNotify = (channel: string, payload: string) => (channel === own ? comeBack() : tell(payload === "*" ? undefined : payload));
    const ear = new Line(address, { name: "gatehouse feed", onNotify });
    const voice = new Line(address, { name: "gatehouse feed" });
    let lost: Error | undefined;
    let fail = (_lost: Error) => {};
    const lose = (error: Error) => {
      if (lost) return; // what a line that is gone still says must not end the pause before the next
      lost = error;
      heard = undefined;
      fail(error);
      wake();
    };
    hangUp = () => lose(new Error("closed"));
    for (const line of [ear, voice]) line.gone.then(lose);
    const step = async (work: Promise<unknown>) => {
      const timer = setTimeout(() => lose(new Error(`no answer within ${LOST_MS} ms`)), LOST_MS);
      await new Promise((resolve, reject) => {
        fail = reject;
        if (lost) reject(lost);
        work.then(resolve, reject);
      }).finally(() => clearTimeout(timer));
    };

    try {
      await step(Promise.all([ear.open(), voice.open()]));
      await step(ear.query(`listen ${CHANNEL}; listen "${own}"`));
      tell(); // what was committed before, nobody has heard
      for (;;) {
        const beat = { steady: performance.now(), wall: Date.now(), doubts };
        const back = new Promise<void>((resolve) => {
          comeBack = resolve;
        });
        await step(Promise.all([back, voice.query(`notify "${own}"`)]));
        if (lost) throw lost;
        heard = beat;
        report();
        if (beat.doubts === doubts) await pause(BEAT_MS);
      }
    } catch (error) {
      lose(error as Error);
      throw error;
    } finally {
      for (const line of [ear, voice]) line.lose(lost ?? new Error("closed"));
    }
  }

  let hears: boolean | undefined;
  /** One line in the log for each time that the feed is lost, or back. */
  function report(cause?: unknown): void {
    const before = hears;
    hears = cause === undefined;
    if (hears === before || closed) return;
    if (!hears) log.warn({ cause: loggable(cause) }, "the feed of changes is lost: until it is back, each call asks the database");
    else if (before === false) log.info("the feed of changes is back");
  }

  async function keepListening(): Promise<void> {
    for (let failures = 0; !closed; failures++) {
      await listen().catch((cause) => {
        if (hears) failures = 0;
        report(cause);
      });
      // Not all servers at once, when the database that they all lost is back.
      if (!closed) await pause(Math.random() * Math.min(FIRST_BACKOFF_MS * 2 ** failures, MAX_BACKOFF_MS));
    }
  }
  const listening = keepListening();

  return {
    fresh: () =>
      heard !== undefined && heard.doubts === doubts && performance.now() - heard.steady < FRESH_MS && Date.now() - heard.wall < FRESH_MS,
    doubt,
    tell(tags) {
      const ended = tags.split("\n");
      if (ended.includes("*")) doubt();
      else for (const tag of ended) if (tag) tell(tag);
    },
    watch(ended) {
      watchers.push(ended);
    },
    async close() {
      closed = true;
      hangUp();
      wake();
      await listening;
    },
  };
}
