import type { SessionEvent } from "@gatehouse/protocol";
import type { UIMessageChunk } from "ai";
import { answerId } from "./assemble.ts";

/**
 * What a chat is told of one turn.
 *
 * A worker that is lost takes back what it said: the next attempt begins anew. Chunks can't be taken back from a chat
 * that has rendered them, but for those of the step it is in (`reset-step`), which is the whole of an answer unless tools
 * were called on the way. So the step is taken back as soon as the next attempt begins, and what it says comes in its
 * place, in the same message; steps that were finished before stay above it until the page is loaded again.
 */
export class Telling {
  /** Of the message that the answer becomes: one for all attempts, or a chat would show several. */
  #id: string | undefined;
  readonly #turn: number;
  /** What the message said before this turn, where it is to be told, too. */
  #before: readonly UIMessageChunk[];
  /** Whether this attempt has said something. */
  #begun = false;
  over = false;

  /** @param continued the message that the turn goes on with; its chunks, where the chat is told of it from its beginning */
  constructor(turn: number, continued?: { id: string; chunks?: readonly UIMessageChunk[] }) {
    this.#turn = turn;
    this.#id = continued?.id;
    this.#before = continued?.chunks ?? [];
  }

  /** @returns what a chat is told of an event of the turn */
  take({ kind, data }: SessionEvent): UIMessageChunk[] {
    if (kind === "turn-start" && this.#begun) {
      this.#begun = false;
      return [{ type: "reset-step" }];
    }
    if (kind === "chunks") return this.#passed(data as unknown as UIMessageChunk[]);
    if (kind !== "turn-end") return [];
    this.over = true;
    const { outcome, error } = data as { outcome: string; error?: string };
    if (outcome === "errored") return [{ type: "error", errorText: error ?? "The agent failed to answer." }];
    return outcome === "stopped" ? [{ type: "abort" }] : [];
  }

  #passed(chunks: UIMessageChunk[]): UIMessageChunk[] {
    const named = chunks.map((chunk) => {
      if (chunk.type !== "start") return chunk;
      this.#id ??= chunk.messageId ?? answerId(this.#turn);
      return { ...chunk, messageId: this.#id };
    });
    const begun = this.#begun;
    this.#begun = true;
    if (begun) return named;
    const [first] = named;
    const opening = first?.type === "start" ? first : undefined;
    this.#id ??= answerId(this.#turn);
    const before = this.#before.filter(({ type }) => type !== "start" && type !== "finish" && type !== "abort");
    this.#before = []; // once: a next attempt takes back its own step alone
    return [opening ?? { type: "start", messageId: this.#id }, ...before, ...(opening ? named.slice(1) : named)];
  }
}
