import { setTimeout as delay } from "node:timers/promises";
import { type Client, createSpaceClient, GatehouseError } from "@gatehouse/client";
import type { SessionEvent, SpaceApi } from "@gatehouse/protocol";
import { type Dice, dice, losing } from "./dice.ts";
import { eventsOf } from "./events.ts";
import { until } from "./run.ts";

/** Where a conversation is held, and as whom. */
export interface Place {
  servers: readonly string[];
  space: string;
  credential: string;
}

/** What one conversation came to, as those outside saw it. */
export interface Talk {
  session: string;
  /** What was acknowledged, each as often as it was. */
  said: { inputId: string; seq: number; turn: number }[];
  /** What each of its readers was sent, over all of their lines. */
  seen: SessionEvent[][];
}

const TIMEOUT_MS = 3000;
/** Longest that an answer may take, whatever happens to those who give it. */
const ANSWER_MS = 120_000;
const PASSING = new Set<GatehouseError["code"]>(["UNREACHABLE", "BAD_ANSWER", "UNAVAILABLE"]);

/** One conversation, from its first word to its end: what is said, when, and by how many, is for the dice. */
export async function talk(name: string, at: Place): Promise<Talk> {
  const { chance, from, one } = dice(name);
  const lossy = losing(0.05, dice(`${name} losses`));
  const clients = at.servers.map((server) => createSpaceClient({ ...at, server, timeoutMs: TIMEOUT_MS, fetch: lossy }));
  /** Asks, of one server or the other, until there is an answer. @throws GatehouseError what it is refused with */
  const ask = async <T>(call: (space: Client<SpaceApi>) => Promise<T>): Promise<T> => {
    for (;;)
      try {
        return await call(one(clients));
      } catch (error) {
        if (!(error instanceof GatehouseError) || !PASSING.has(error.code)) throw error;
        await delay(from(20, 200));
      }
  };
  const count = from(1, 4);
  const inputs = Array.from({ length: count }, (_, i) => ({ message: `say ${name}.${i}`, inputId: `${name}.${i}` }));
  const { session } = await ask((space) => space.session.create({ task: "chaos", externalId: name }));
  const told: Talk = { session: session.id, said: [], seen: [] };
  let ended = 0;
  const reading = Array.from({ length: from(1, 2) }, (_, i) => {
    const seen: SessionEvent[] = [];
    told.seen.push(seen);
    const heard = (event: SessionEvent) => {
      seen.push(event);
      if (i === 0 && event.kind === "turn-end") ended = Math.max(ended, event.turn ?? 0);
    };
    return read(session.id, at, dice(`${name} reader ${i}`), heard);
  });

  for (const [i, { message, inputId }] of inputs.entries()) {
    const say = async () => {
      const { seq, turn } = await ask((space) => space.session.send({ session: session.id, message, inputId }));
      told.said.push({ inputId, seq, turn });
    };
    await Promise.all(chance(0.2) ? [say(), say()] : [say()]);
    if (chance(0.15)) {
      await delay(from(0, 300));
      await ask((space) => space.session.stop({ session: session.id }));
    }
    // Some wait for the answer, some of those for longer than a run does; some talk on, or leave in the middle of it.
    if (chance(0.7)) {
      await until(
        () => `input ${i} of ${name} is answered`,
        () => ended > i,
        ANSWER_MS,
      );
      await delay(one([0, 0, from(0, 300), 1500]));
    }
  }
  await ask((space) => space.session.close({ session: session.id }));
  await Promise.all(reading);
  return told;
}

/** Reads a session's log to its end, over as many lines as it takes, each from behind the last event that came. */
async function read(
  session: string,
  { servers, space, credential }: Place,
  { one, chance, from }: Dice,
  heard: (event: SessionEvent) => void,
) {
  for (let place = 0; ; await delay(from(20, 200))) {
    const line = new AbortController();
    let left = chance(0.5) ? from(0, 20) : Number.POSITIVE_INFINITY;
    try {
      const answer = await fetch(`${one(servers)}/api/v1/sessions/${session}/out`, {
        headers: { authorization: `Bearer ${credential}`, "x-me-space": space, "last-event-id": String(place) },
        signal: line.signal,
      });
      if (!answer.ok) {
        if (answer.status !== 503) throw new TypeError(`A reader was answered ${answer.status}: ${await answer.text()}`);
        continue;
      }
      for await (const { id, event, data } of eventsOf(answer)) {
        if (event === "end" && (JSON.parse(data) as { why: string }).why === "the session is over") return;
        if (event === "end") break;
        place = Number(id);
        heard(JSON.parse(data) as SessionEvent);
        // Some hang up in the middle, and come again.
        if (left-- === 0) break;
      }
    } catch (error) {
      if (error instanceof TypeError && error.message.startsWith("A reader")) throw error;
    } finally {
      line.abort();
    }
  }
}
