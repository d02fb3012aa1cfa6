import type { SessionEvent } from "@gatehouse/protocol";
import type { UIMessageChunk } from "ai";
import { answerId } from "./transcript.ts";

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
  /** Whether this attempt has said something. */
  #begun = false;
  over = false;

  constructor(turn: number) {
    this.#turn = turn;
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
    const opened = this.#begun || named[0]?.type === "start";
    this.#begun = true;
    if (opened) return named;
    this.#id ??= answerId(this.#turn);
    return [{ type: "start", messageId: this.#id }, ...named];
  }
}
