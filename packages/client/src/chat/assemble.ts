import type { ToolResult } from "@gatehouse/protocol";
import { isToolUIPart, readUIMessageStream, type UIMessage, type UIMessageChunk } from "ai";

/**
 * The message that the chunks of a turn make; undefined where they say nothing.
 * @param base the message that they go on with
 */
export async function assemble(chunks: readonly UIMessageChunk[], turn: number, base?: UIMessage): Promise<UIMessage | undefined> {
  const stream = new ReadableStream<UIMessageChunk>({
    start(controller) {
      // Under another name it would be another message.
      for (const chunk of joined(chunks)) controller.enqueue(base && chunk.type === "start" ? { ...chunk, messageId: base.id } : chunk);
      controller.close();
    },
  });
  let message = base && structuredClone(base);
  for await (const state of readUIMessageStream({ stream, ...(message && { message }) })) message = state;
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

/** Parts of a message that wait for something from outside: the result of a tool of the page, or somebody's approval. */
function waiting({ parts }: UIMessage) {
  const tools = parts.filter(isToolUIPart);
  return {
    calls: tools.filter(({ state, providerExecuted }) => state === "input-available" && !providerExecuted),
    approvals: tools.filter(({ state }) => state === "approval-requested"),
  };
}

/** Whether a message waits for results of tools, or did while it was made. */
export const isUnanswered = ({ parts }: UIMessage): boolean =>
  parts.some((part) => isToolUIPart(part) && /^(input-available|approval-)/.test(part.state));

/** Those results that a message waits for, each once. */
export function fitting(message: UIMessage, results: readonly ToolResult[]): ToolResult[] {
  const { calls, approvals } = waiting(message);
  const awaited = new Set([
    ...calls.map(({ toolCallId }) => `call ${toolCallId}`),
    ...approvals.map(({ approval }) => `approval ${approval?.id}`),
  ]);
  return results.filter((result) =>
    awaited.delete(result.type === "tool-approval-response" ? `approval ${result.approvalId}` : `call ${result.toolCallId}`),
  );
}

/** What a chat knows of the tools that an answer waits for: results and approvals, as they are sent. */
export function resultsIn(message: UIMessage, answer: UIMessage): ToolResult[] {
  const results = message.parts.filter(isToolUIPart).flatMap((part): ToolResult[] => {
    const { toolCallId } = part;
    if (part.state === "output-available") return [{ type: "tool-output-available", toolCallId, output: (part.output ?? null) as never }];
    if (part.state === "output-error") return [{ type: "tool-output-error", toolCallId, errorText: part.errorText }];
    if (part.state !== "approval-responded") return [];
    const { id, approved, reason } = part.approval;
    return [{ type: "tool-approval-response", approvalId: id, approved, ...(reason !== undefined && { reason }) }];
  });
  return fitting(answer, results);
}
