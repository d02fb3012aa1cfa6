import type { SessionEvent } from "@gatehouse/protocol";
import type { Database } from "../db.ts";
import { eventsAfter } from "../methods/session.ts";
import type { Bell } from "./bell.ts";

/** Most events that are read at once. */
const PAGE = 500;
/** Most batches that wait for a slow reader; after that they are read again when it asks. */
const MAX_WAITING = 64;
/** Longest that a tail waits without looking; and where it could not. */
const LOOK_MS = 60_000;
const AGAIN_MS = 1000;

/** Somebody who reads a session's log to its end, and goes on as it grows. */
export interface Follower {
  /** The next events, each once and in order, as soon as there are some; undefined when it was ended. */
  next(): Promise<SessionEvent[] | undefined>;
  end(): void;
}

interface Reader {
  waiting: SessionEvent[][];
  wake(): void;
}

/** The ends of the logs that are being read: each is read once, however many follow it. */
export interface Tails {
  /** @param after only what is behind this place */
  follow(session: string, after: number): Follower;
}

/** The end of one log, for as long as somebody reads there. */
interface Tail {
  readers: Set<Reader>;
  /** Where it began: a reader is handed what comes behind this place, and finds the rest by itself. */
  begun: Promise<number>;
}

export function openTails(sql: Database, bell: Bell): Tails {
  const tails = new Map<string, Tail>();

  function tailOf(session: string): Tail {
    const known = tails.get(session);
    if (known) return known;
    const tail: Tail = { readers: new Set(), begun: endOf(session) };
    tails.set(session, tail);
    read(session, tail).catch(() => drop(session, tail)); // its readers are told by `begun`
    return tail;
  }

  function drop(session: string, tail: Tail): void {
    if (tails.get(session) === tail) tails.delete(session);
  }

  async function endOf(session: string): Promise<number> {
    const [row] = await sql<{ seq: number }[]>`select last_seq::integer as seq from sessions where id = ${session}`;
    return row?.seq ?? 0;
  }

  /** Reads what is added to a log, for all who follow it, until nobody does. */
  async function read(session: string, { readers, begun }: Tail): Promise<void> {
    const listener = bell.listen(session);
    try {
      let place = await begun;
      while (readers.size > 0) {
        listener.reset();
        let wait = LOOK_MS;
        try {
          const { events, more } = await eventsAfter(sql, session, place, PAGE);
          place = events.at(-1)?.seq ?? place;
          if (events.length > 0) for (const reader of readers) hand(reader, events);
          if (more) continue;
        } catch {
          wait = AGAIN_MS; // the database is away: what comes meanwhile is read when it is back
        }
        if (!(await listener.wait(wait))) return;
      }
    } finally {
      listener.end();
    }
  }

  function hand(reader: Reader, events: SessionEvent[]): void {
    if (reader.waiting.length >= MAX_WAITING) reader.waiting.length = 0;
    reader.waiting.push(events);
    reader.wake();
  }

  return {
    follow(session, after) {
      let cursor = after;
      let ended = false;
      let caughtUp = false;
      const reader: Reader = { waiting: [], wake: () => {} };
      const tail = tailOf(session);
      tail.readers.add(reader);
      const take = (events: SessionEvent[]): SessionEvent[] => {
        cursor = events.at(-1)?.seq ?? cursor;
        return events;
      };
      return {
        async next() {
          // What is added before the tail begins is in the log by then: read earlier, it would be missed by both.
          await tail.begun;
          while (!ended) {
            // From the log itself, until there is no more; then what comes, unless a part of it was missed.
            const batch = caughtUp ? reader.waiting.shift()?.filter(({ seq }) => seq > cursor) : undefined;
            if (!caughtUp || (batch?.[0] && batch[0].seq > cursor + 1)) {
              const { events, more } = await eventsAfter(sql, session, cursor, PAGE);
              caughtUp = !more;
              if (events.length > 0) return take(events);
            } else if (batch) {
              if (batch.length > 0) return take(batch);
            } else if (reader.waiting.length === 0) {
              await new Promise<void>((resolve) => {
                reader.wake = resolve;
              });
            }
          }
          return undefined;
        },
        end() {
          ended = true;
          tail.readers.delete(reader);
          if (tail.readers.size === 0) drop(session, tail);
          reader.wake();
        },
      };
    },
  };
}
