import type { SessionEvent, SpaceApi, ToolResult } from "@gatehouse/protocol";
import type { UIMessage, UIMessageChunk } from "ai";
import type { Client } from "../client.ts";
import { assemble, fitting, isUnanswered } from "./assemble.ts";

/** Most events that are read at once. */
const PAGE = 1000;

/** A turn as the log tells it. */
interface Told {
  input?: UIMessage;
  /** What came of the tools that the answer before it called. */
  results?: readonly ToolResult[];
  /** The turn after which the conversation goes on with this one, where that is not the one before it. */
  follows?: number | undefined;
  /** Of the latest attempt, while it lasts; and for good where something in it waits for results. */
  chunks: UIMessageChunk[];
  answer?: UIMessage | undefined;
  outcome?: "complete" | "errored" | "stopped";
  /** Place in the log before the latest attempt; before the input, where there was none. */
  before: number;
}

/**
 * What was said in a session so far, put together from its log as that grows. A log only grows: a message that was edited
 * is said anew, and goes on from an earlier turn. The conversation is what leads to the newest turn.
 */
export class Transcript {
  #place = 0;
  #reading = Promise.resolve();
  readonly #turns = new Map<number, Told>();
  /** The newest turn; 0 = none yet. */
  newest = 0;

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
   * Each message of the conversation, and what was answered to it; to one that is being answered, what there is of it so far.
   * @param upTo its last turn; left out, the newest
   * @param failed whether to tell what was said in turns that failed
   */
  async messages({ upTo = this.newest, failed = true } = {}): Promise<UIMessage[]> {
    const messages: UIMessage[] = [];
    for (const turn of this.#path(upTo)) {
      const told = this.#turns.get(turn) as Told;
      const { input, outcome } = told;
      if (input) messages.push(input);
      const base = await this.#base(turn);
      if (base && messages.at(-1)?.id === base.id) messages.pop();
      const answer = await this.#answer(turn);
      const shown = outcome !== "errored" || failed ? (answer ?? base) : base;
      if (shown) messages.push(shown);
    }
    return messages;
  }

  /** Every turn: whether it is over, and the place behind which its latest attempt is found. */
  turns(): { turn: number; over: boolean; before: number }[] {
    return [...this.#turns].map(([turn, { outcome, before }]) => ({ turn, over: outcome !== undefined, before }));
  }

  /** The newest turn that a message belongs to, as what was said or as the answer; with the message. */
  async find(id: string): Promise<{ turn: number; message: UIMessage } | undefined> {
    for (let turn = this.newest; turn > 0; turn--) {
      const message = [this.#turns.get(turn)?.input, await this.#answer(turn)].find((each) => each?.id === id);
      if (message) return { turn, message };
    }
    return undefined;
  }

  /** The turn that a turn goes on from; 0 = none. */
  parent(turn: number): number {
    const { follows } = this.#turns.get(turn) ?? {};
    return follows !== undefined && follows < turn ? follows : turn - 1;
  }

  /**
   * What a turn goes on with that brings results of tools: the message, with them, and the chunks that make it. No results
   * count but those of tools that wait for some.
   */
  async continued(turn: number): Promise<{ message: UIMessage; chunks: UIMessageChunk[] } | undefined> {
    const message = await this.#base(turn);
    if (!message) return undefined;
    const parent = this.parent(turn);
    const before = (await this.continued(parent))?.chunks ?? [];
    const { answer, chunks = [] } = this.#turns.get(parent) ?? {};
    const results = answer ? fitting(answer, this.#turns.get(turn)?.results ?? []) : [];
    return { message, chunks: [...before, ...chunks, ...results] };
  }

  /** The turns that lead to one, from the first on. */
  #path(to: number): number[] {
    const path: number[] = [];
    for (let turn = to; turn > 0; turn = this.parent(turn)) if (this.#turns.has(turn)) path.push(turn);
    return path.reverse();
  }

  /** The answer that a turn goes on with, with the results that it brings; undefined where none of them fits. */
  async #base(turn: number): Promise<UIMessage | undefined> {
    const { results } = this.#turns.get(turn) ?? {};
    const before = this.#turns.get(this.parent(turn));
    // Of an answer that did not come to its end, nobody knows whether a tool of the agent's own was about to answer itself.
    const answer = results && before?.outcome === "complete" ? before.answer : undefined;
    const fits = answer && results ? fitting(answer, results) : [];
    return fits.length > 0 ? assemble(fits, turn, answer) : undefined;
  }

  async #answer(turn: number): Promise<UIMessage | undefined> {
    const told = this.#turns.get(turn);
    if (!told || told.outcome !== undefined) return told?.answer;
    return assemble(told.chunks, turn, await this.#base(turn));
  }

  async #take({ seq, kind, turn, data }: SessionEvent): Promise<void> {
    if (turn === null) return;
    const told = this.#turns.get(turn) ?? { chunks: [], before: seq - 1 };
    this.#turns.set(turn, told);
    this.newest = Math.max(this.newest, turn);
    if (kind === "message") {
      const { follows, ...message } = data as unknown as UIMessage & { follows?: number };
      told.input = message;
      told.follows = follows;
    } else if (kind === "results") Object.assign(told, data);
    else if (kind === "chunks") told.chunks.push(...(data as unknown as UIMessageChunk[]));
    else if (kind === "turn-start") {
      // What a lost worker had begun to answer does not count.
      told.chunks = [];
      told.before = seq - 1;
    } else if (kind === "turn-end") {
      told.answer = await this.#answer(turn);
      told.outcome = (data as { outcome: Told["outcome"] }).outcome;
      if (!told.answer || !isUnanswered(told.answer)) told.chunks = [];
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
