import type { SessionEvent } from "@gatehouse/protocol";
import type { Database } from "../db.ts";
import { eventsAfter } from "../methods/session.ts";
import { slice } from "../turns.ts";
import type { Bell } from "./bell.ts";

/** Most events that are read at once, and bytes: a reader who takes nothing holds so much of a log, and no more. */
const PAGE = 500;
const PAGE_BYTES = 65_536;
/** Most characters that wait for a slow reader; after that they are read again when it asks. */
const MAX_WAITING = 65_536;
/** Longest that a tail waits without looking; and where it could not. */
const LOOK_MS = 60_000;
const AGAIN_MS = 1000;

/** An event as readers get it: written out once, however many they are. */
interface Told extends Pick<SessionEvent, "seq" | "kind"> {
  /** A server-sent event (WHATWG HTML §9.2). */
  text: string;
}

/** Somebody who reads a session's log to its end, and goes on as it grows. */
export interface Follower {
  /** The next events, each once and in order, as soon as there are some; undefined when it was ended. */
  next(): Promise<Told[] | undefined>;
  end(): void;
}

interface Reader {
  waiting: Told[];
  /** Characters of what waits. */
  size: number;
  wake(): void;
}

/** The ends of the logs that are being read: each is read once, however many follow it. */
export interface Tails {
  /**
   * @param after only what is behind this place
   * @param sql in whose name the reader reads what there is already: nobody waits behind others' logs
   * @param shared in whose name is read what comes, once for all readers: of none of them, whose line may be full
   */
  follow(session: string, after: number, sql: Database, shared: Database): Follower;
}

/** The end of one log, for as long as somebody reads there. */
interface Tail {
  readers: Set<Reader>;
  /** Where it began: a reader is handed what comes behind this place, and finds the rest by itself. */
  begun: Promise<number>;
}

export function openTails(bell: Bell): Tails {
  const tails = new Map<string, Tail>();

  function tailOf(session: string, sql: Database): Tail {
    const known = tails.get(session);
    if (known) return known;
    const tail: Tail = { readers: new Set(), begun: endOf(session, sql) };
    tails.set(session, tail);
    read(session, tail, sql).catch(() => drop(session, tail)); // its readers are told by `begun`
    return tail;
  }

  function drop(session: string, tail: Tail): void {
    if (tails.get(session) === tail) tails.delete(session);
  }

  async function endOf(session: string, sql: Database): Promise<number> {
    const [row] = await sql<{ seq: number }[]>`select last_seq::integer as seq from sessions where id = ${session}`;
    return row?.seq ?? 0;
  }

  async function page(sql: Database, session: string, after: number): Promise<{ events: Told[]; more: boolean }> {
    const { events, more } = await eventsAfter(sql, session, after, PAGE, PAGE_BYTES);
    await slice();
    return { events: events.map(told), more };
  }

  /** Reads what is added to a log, for all who follow it, until nobody does. */
  async function read(session: string, { readers, begun }: Tail, sql: Database): Promise<void> {
    const listener = bell.listen(session);
    try {
      let place = await begun;
      while (readers.size > 0) {
        listener.reset();
        let wait = LOOK_MS;
        try {
          const { events, more } = await page(sql, session, place);
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

  function hand(reader: Reader, events: Told[]): void {
    if (reader.size > MAX_WAITING) takeAll(reader);
    reader.waiting.push(...events);
    reader.size += sizeOf(events);
    reader.wake();
  }

  function takeAll(reader: Reader): Told[] {
    reader.size = 0;
    return reader.waiting.splice(0);
  }

  return {
    follow(session, after, sql, shared) {
      let cursor = after;
      let ended = false;
      let caughtUp = false;
      const reader: Reader = { waiting: [], size: 0, wake: () => {} };
      const tail = tailOf(session, shared);
      tail.readers.add(reader);
      const take = (events: Told[]): Told[] => {
        cursor = events.at(-1)?.seq ?? cursor;
        return events;
      };
      return {
        async next() {
          // What is added before the tail begins is in the log by then: read earlier, it would be missed by both.
          await tail.begun;
          while (!ended) {
            // From the log itself, until there is no more; then what comes, unless a part of it was missed.
            const came = caughtUp ? takeAll(reader).filter(({ seq }) => seq > cursor) : [];
            if (!caughtUp || (came[0] && came[0].seq > cursor + 1)) {
              const { events, more } = await page(sql, session, cursor);
              caughtUp = !more;
              if (events.length > 0) return take(events);
            } else if (came.length > 0) return take(came);
            else {
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

const told = (event: SessionEvent): Told => ({
  seq: event.seq,
  kind: event.kind,
  text: `id: ${event.seq}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`,
});

const sizeOf = (events: readonly Told[]): number => events.reduce((size, { text }) => size + text.length, 0);
