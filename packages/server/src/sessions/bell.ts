import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { connectionLost, Line, noAnswer } from "../line.ts";
import { loggable } from "../telemetry.ts";

const CHANNEL = "gatehouse_log";
const RECONNECT_MS = 200;
/** How often it is tried whether what is told comes through. While it does not, all look for themselves as often. */
const BEAT_MS = 2000;
/** How long what rings here is gathered, before others are told: all of it together. */
const GATHER_MS = 5;
/** Most topics that are told together: a notification has less than 8000 bytes. */
const MAX_TOLD = 200;

/** Rings when something was added to a log, on any server. */
export interface Bell {
  /** Calls `heard` whenever it rings. @param topic a session's id, or what `workTopic` makes @returns ends it */
  on(topic: string, heard: () => void): () => void;
  /** Begins to listen. @param topic a session's id */
  listen(topic: string): Listener;
  /**
   * Rings for what was added by no transaction that told of it: here at once, on other servers a moment later, or, if this
   * one dies within the moment, with what is added next.
   */
  ring(topic: string): void;
  /** Whether it has been closed: nothing rings any more, and nobody waits. */
  closed(): boolean;
  close(): Promise<void>;
}

/** Somebody who waits for something to come: they look, and wait, and look again. */
export interface Listener {
  /** To be called before one looks: what comes from now on ends the next wait. */
  reset(): void;
  /** Waits until something may have come since the last reset, at most for so long. @returns whether it makes sense to look again */
  wait(ms: number): Promise<boolean>;
  end(): void;
}

/** Listens to the log's notifications, over a line of its own that is taken up again whenever it is lost. */
export function openBell(address: string, log: Logger): Bell {
  const topics = new Map<string, Set<() => void>>();
  let closed = false;
  let line: Line | undefined;
  let wake = () => {};
  /** What rang here, and others are to hear of. */
  const untold = new Set<string>();
  let speak = () => {};

  const ring = (topic: string) => {
    for (const heard of topics.get(topic) ?? []) heard();
  };
  const ringAll = () => {
    for (const topic of topics.keys()) ring(topic);
  };

  async function listen(): Promise<void> {
    const own = randomUUID();
    let heardAt = performance.now();
    const onNotify = (_channel: string, payload: string) => {
      const [teller, ...told] = payload.split(" ");
      // Our own notification: its topics rang here already, and that it came back says that the line works.
      if (teller === own) heardAt = performance.now();
      else for (const topic of [teller as string, ...told]) ring(topic);
    };
    const opened = new Line(address, { name: "gatehouse log", onNotify });
    line = opened;
    try {
      await within(BEAT_MS, opened, opened.open());
      await within(BEAT_MS, opened, opened.query(`listen ${CHANNEL}`));
      ringAll(); // what came before, nobody has heard
      await Promise.race([opened.gone, tellOthers(opened, own, () => heardAt)]);
    } finally {
      opened.lose(connectionLost());
    }
  }

  /** Tells what rings here, and something in any case from time to time. @throws when the line is lost, or silent */
  async function tellOthers(line: Line, own: string, heardAt: () => number): Promise<never> {
    for (;;) {
      const some = [...untold].slice(0, MAX_TOLD);
      for (const topic of some) untold.delete(topic);
      try {
        // Our own id comes before the topics. Other servers take it for a topic that nobody listens to.
        await within(BEAT_MS, line, line.query("select pg_notify($1, $2)", [CHANNEL, [own, ...some].join(" ")]));
      } catch (cause) {
        for (const topic of some) untold.add(topic);
        throw cause;
      }
      // A pooler that lends lines by the transaction passes no notification on.
      if (performance.now() - heardAt() > 2 * BEAT_MS) ringAll();
      if (untold.size === 0)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, BEAT_MS);
          speak = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      await delay(GATHER_MS);
    }
  }

  const listening = (async () => {
    while (!closed) {
      await listen().catch((cause: unknown) => closed || log.warn({ cause: loggable(cause) }, "the log's line is lost"));
      if (closed) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, RECONNECT_MS);
      });
    }
  })();

  const on: Bell["on"] = (topic, heard) => {
    const those = topics.get(topic) ?? new Set();
    topics.set(topic, those.add(heard));
    return () => {
      those.delete(heard);
      if (those.size === 0) topics.delete(topic);
    };
  };

  return {
    on,
    listen(topic) {
      let rung = false;
      let go = () => {};
      const off = on(topic, () => {
        rung = true;
        go();
      });
      return {
        reset() {
          rung = false;
        },
        wait: (ms) =>
          new Promise((resolve) => {
            if (rung || closed) return resolve(!closed);
            const timer = setTimeout(() => resolve(true), ms);
            go = () => {
              clearTimeout(timer);
              resolve(!closed);
            };
          }),
        end() {
          off();
          go();
        },
      };
    },
    ring(topic) {
      ring(topic);
      untold.add(topic);
      speak();
    },
    closed: () => closed,
    async close() {
      if (closed) return;
      closed = true;
      wake();
      speak();
      ringAll();
      line?.lose(connectionLost()); // politely, one would wait for a database that may be frozen
      await listening;
    },
  };
}

/** Gives up a line on which something takes longer than `ms`. */
async function within<T>(ms: number, line: Line, asked: Promise<T>): Promise<T> {
  const timer = setTimeout(() => line.lose(noAnswer()), ms);
  return asked.finally(() => clearTimeout(timer));
}
