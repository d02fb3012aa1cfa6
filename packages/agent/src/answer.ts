import type { UIMessageChunk } from "ai";

/** What has a stream of UI message chunks: the result of `streamText`, or of an agent of the AI SDK. */
interface Streaming {
  toUIMessageStream(options?: { onError?: (error: unknown) => string }): AsyncIterable<UIMessageChunk>;
}

/** What an agent may answer with: what `streamText` returned, UI message chunks as they come, or text. Nothing is an answer too. */
export type Answer = Streaming | AsyncIterable<UIMessageChunk> | ReadableStream<UIMessageChunk> | string | undefined;

/** Most characters of a text that go into one chunk. */
const PIECE = 16_384;

/**
 * An answer as chunks.
 * @param describe what to tell people of an error that the stream meets
 * @throws TypeError for what is no answer
 */
export function chunksOf(answer: unknown, describe: (error: unknown) => string): AsyncIterable<UIMessageChunk> {
  if (answer === undefined || answer === null) return inOrder([]);
  if (typeof answer === "string") return inOrder(ofText(answer));
  if (typeof answer === "object") {
    if ("toUIMessageStream" in answer) return (answer as Streaming).toUIMessageStream({ onError: describe });
    if (Symbol.asyncIterator in answer) return answer as AsyncIterable<UIMessageChunk>;
  }
  throw new TypeError("run must return what streamText returned, UI message chunks (an async iterable), or text.");
}

function ofText(text: string): UIMessageChunk[] {
  const pieces: UIMessageChunk[] = [];
  for (let from = 0; from < text.length; ) {
    // Never between the two halves of one character.
    const to = from + PIECE + ((text.codePointAt(from + PIECE - 1) ?? 0) > 0xffff ? 1 : 0);
    pieces.push({ type: "text-delta", id: "text", delta: text.slice(from, to) });
    from = to;
  }
  return [{ type: "start" }, { type: "text-start", id: "text" }, ...pieces, { type: "text-end", id: "text" }, { type: "finish" }];
}

async function* inOrder(chunks: UIMessageChunk[]): AsyncGenerator<UIMessageChunk> {
  yield* chunks;
}
