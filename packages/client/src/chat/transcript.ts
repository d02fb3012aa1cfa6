import type { SessionEvent, SpaceApi } from "@gatehouse/protocol";
import { readUIMessageStream, type UIMessage, type UIMessageChunk } from "ai";
import type { Client } from "../client.ts";

/** Most events that are read at once. */
const PAGE = 1000;

/** A turn as the log tells it. */
interface Told {
  input?: UIMessage;
  /** Of the latest attempt, while it lasts. */
  chunks: UIMessageChunk[];
  answer?: UIMessage;
  outcome?: "complete" | "errored" | "stopped";
  /** Place in the log before the latest attempt; before the input, where there was none. */
  before: number;
}

/** What was said in a session so far, put together from its log as that grows. */
export class Transcript {
  #place = 0;
  #reading = Promise.resolve();
  readonly #turns = new Map<number, Told>();

  /** Reads what has come since; asked twice, once after the other. @throws GatehouseError */
  read(space: Client<SpaceApi>, session: string): Promise<void> {
    this.#reading = this.#reading.catch(() => {}).then(() => this.#read(space, session));
    return this.#reading;
  }

  async #read(space: Client<SpaceApi>, session: string): Promise<void> {
    for (;;) {
      const { events, lastSeq } = await space.session.events({ session, after: this.#place, limit: PAGE });
      await this.add(events);
      if (events.length === 0 || this.#place >= lastSeq) return;
    }
  }

  /** Takes the next events of the log. */
  async add(events: readonly SessionEvent[]): Promise<void> {
    for (const event of events) {
      await this.#take(event);
      this.#place = event.seq;
    }
  }

  /**
   * Each message, and what was answered to it; to one that is being answered, what there is of it so far.
   * @param before only of turns before this one
   * @param failed whether to tell what was said in turns that failed
   */
  async messages({ before = Number.POSITIVE_INFINITY, failed = true } = {}): Promise<UIMessage[]> {
    const told = [...this.#turns].filter(([turn]) => turn < before).sort(([a], [b]) => a - b);
    const messages: (UIMessage | undefined)[] = [];
    for (const [turn, { input, answer, chunks, outcome }] of told)
      messages.push(input, outcome === undefined ? await assemble(chunks, turn) : outcome !== "errored" || failed ? answer : undefined);
    return messages.filter((message) => message !== undefined);
  }

  /** Every turn: whether it is over, and the place behind which its latest attempt is found. */
  turns(): { turn: number; over: boolean; before: number }[] {
    return [...this.#turns].map(([turn, { outcome, before }]) => ({ turn, over: outcome !== undefined, before }));
  }

  async #take({ seq, kind, turn, data }: SessionEvent): Promise<void> {
    if (turn === null) return;
    const told = this.#turns.get(turn) ?? { chunks: [], before: seq - 1 };
    this.#turns.set(turn, told);
    if (kind === "message") told.input = data as unknown as UIMessage;
    else if (kind === "chunks") told.chunks.push(...(data as unknown as UIMessageChunk[]));
    else if (kind === "turn-start") {
      // What a lost worker had begun to answer does not count.
      told.chunks = [];
      told.before = seq - 1;
    } else if (kind === "turn-end") {
      told.outcome = (data as { outcome: Told["outcome"] }).outcome;
      told.answer = await assemble(told.chunks, turn);
      told.chunks = [];
    }
  }
}

/**
 * The conversation that a session's log tells, as messages to show: what a chat begins with.
 * @param events of the log, from its first on
 */
export async function messagesOf(events: readonly SessionEvent[]): Promise<UIMessage[]> {
  const transcript = new Transcript();
  await transcript.add(events);
  return transcript.messages();
}

/** The message that the chunks of a turn make; undefined where they say nothing. */
export async function assemble(chunks: readonly UIMessageChunk[], turn: number): Promise<UIMessage | undefined> {
  const stream = new ReadableStream<UIMessageChunk>({
    start(controller) {
      for (const chunk of joined(chunks)) controller.enqueue(chunk);
      controller.close();
    },
  });
  let message: UIMessage | undefined;
  for await (const state of readUIMessageStream({ stream })) message = state;
  return message?.parts.length ? { ...message, id: message.id || answerId(turn) } : undefined;
}

/** Names the answer to a turn, where its author does not. */
export const answerId = (turn: number): string => `answer-${turn}`;

/** The same with pieces of one text made one: reading takes a copy of the message for each chunk. */
function joined(chunks: readonly UIMessageChunk[]): UIMessageChunk[] {
  const made: UIMessageChunk[] = [];
  for (const chunk of chunks) {
    const last = made.at(-1);
    if ((chunk.type === "text-delta" || chunk.type === "reasoning-delta") && last?.type === chunk.type && last.id === chunk.id)
      made[made.length - 1] = { ...last, ...chunk, delta: last.delta + chunk.delta };
    else made.push(chunk);
  }
  return made;
}
