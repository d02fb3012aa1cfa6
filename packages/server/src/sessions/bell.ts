import { Client } from "pg";
import type { Logger } from "pino";
import { loggable } from "../telemetry.ts";

const CHANNEL = "gatehouse_log";
const RECONNECT_MS = 200;
/** Longest that somebody waits without looking for themselves: for a line that was cut unnoticed. */
const LOOK_MS = 2000;

/** Rings when something was added to a log, on any server. */
export interface Bell {
  /** Begins to listen. @param topic a session's id, or `work` for runs that wait for a worker */
  listen(topic: string): Listener;
  close(): Promise<void>;
}

/** Somebody who waits for something to come: they look, and wait, and look again. */
interface Listener {
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
  let line: Client | undefined;
  let wake = () => {};

  const ring = (topic: string) => {
    for (const heard of topics.get(topic) ?? []) heard();
  };
  const ringAll = () => {
    for (const topic of topics.keys()) ring(topic);
  };

  async function listen(): Promise<void> {
    const client = new Client({ connectionString: address, application_name: "gatehouse log" });
    line = client;
    const ended = new Promise<void>((resolve) => {
      client.on("end", resolve);
      client.on("error", () => resolve());
    });
    client.on("notification", ({ payload }) => ring((payload ?? "").split(" ")[0] as string));
    await client.connect();
    await client.query(`listen ${CHANNEL}`);
    ringAll(); // what came before, nobody has heard
    await ended;
    client.end().catch(() => {});
  }

  const listening = (async () => {
    while (!closed) {
      await listen().catch((cause: unknown) => log.warn({ cause: loggable(cause) }, "the log's line is lost"));
      if (closed) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, RECONNECT_MS);
      });
    }
  })();

  return {
    listen(topic) {
      let rung = false;
      let go = () => {};
      const heard = () => {
        rung = true;
        go();
      };
      const those = topics.get(topic) ?? new Set();
      topics.set(topic, those.add(heard));
      return {
        reset() {
          rung = false;
        },
        wait: (ms) =>
          new Promise((resolve) => {
            if (rung || closed) return resolve(!closed);
            const timer = setTimeout(() => resolve(true), Math.min(ms, LOOK_MS));
            go = () => {
              clearTimeout(timer);
              resolve(!closed);
            };
          }),
        end() {
          those.delete(heard);
          if (those.size === 0) topics.delete(topic);
          go();
        },
      };
    },
    async close() {
      if (closed) return;
      closed = true;
      wake();
      ringAll();
      await line?.end().catch(() => {});
      await listening;
    },
  };
}
