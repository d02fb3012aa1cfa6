import { GatehouseError } from "@gatehouse/client";
import type { CallToolResult } from "@modelcontextprotocol/server";

/** What a tool could not do, with what to do next. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

/** An error as a tool's answer: in words for the model, and under `_meta` as the server said it. */
export function failure(error: unknown): CallToolResult {
  const { message } = error instanceof Error ? error : new Error(String(error));
  const said = error instanceof GatehouseError ? { code: error.code, ...error.data } : undefined;
  return {
    isError: true,
    content: [{ type: "text", text: [message, ...(error instanceof GatehouseError ? next(error) : [])].join("\n") }],
    ...(said && { _meta: { "gatehouse/error": said } }),
  };
}

/** What to do about it, where the server's own words do not say so: it knows nothing of tools. */
function next({ code, data: { missing, layer, reason, issues } }: GatehouseError): string[] {
  if (code === "FORBIDDEN" && missing && layer)
    return [
      `Missing: any one of ${missing.join(", ")}. Layer that lacks it: ${layer}.`,
      layer === "token"
        ? "Next: this client's token was made with a narrower scope; set it up with a wider one."
        : `Next: explain_access { "permission": "${missing[0]}" } shows every layer, and who could change it.`,
    ];
  if (code === "FORBIDDEN" && reason) return [`Reason: ${reason}.`];
  if (code === "INVALID_PARAMS" && issues) return issues.map(({ path, message }) => `${path || "arguments"}: ${message}`);
  if (code === "SESSION_CLOSED" || code === "SESSION_EXPIRED") return ["Next: start_agent_chat without this chatId."];
  if (code === "UNREACHABLE" || code === "UNAVAILABLE")
    return ["Next: try again in a moment. What a tool only reads may be asked again at any time."];
  return [];
}
