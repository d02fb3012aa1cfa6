import { GatehouseError } from "@gatehouse/client";
import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Tool } from "./tool.ts";
import { clean, cleanText, setApart, UNTRUSTED } from "./untrusted.ts";

/** What a tool could not do, with what to do next. Where the server refused something, that is its cause. */
export class ToolError extends Error {
  override readonly name = "ToolError";
  /** What others said, apart from our own words. */
  readonly quoted: string | undefined;

  constructor(message: string, { quoted, ...options }: ErrorOptions & { quoted?: string | undefined } = {}) {
    super(message, options);
    this.quoted = quoted;
  }
}

/** An error that says more besides; as what the server said it stays. */
export const telling = (error: unknown, more: string, quoted?: string): ToolError =>
  new ToolError(`${wordsOf(error)}\n${more}`, { cause: refusalIn(error), quoted: quoted ?? quotedIn(error) });

/** An error as a tool's answer: in words for the model, and under `_meta` as the server said it. */
export function failure(error: unknown, tools: readonly Tool[]): CallToolResult {
  const refusal = refusalIn(error);
  const quoted = quotedIn(error);
  return {
    isError: true,
    content: [{ type: "text", text: clipped(inTools(wordsOf(error), tools)) }, ...(quoted === undefined ? [] : setApart(clipped(quoted)))],
    _meta: {
      ...(refusal && { "gatehouse/error": clean({ code: refusal.code, ...refusal.data }) }),
      ...(quoted !== undefined && { [UNTRUSTED]: true }),
    },
  };
}

/** Longest text of a part of an error, in characters. */
const MAX_LENGTH = 8000;
const clipped = (text: string): string => (text.length > MAX_LENGTH ? `${cleanText(text.slice(0, MAX_LENGTH))}…` : cleanText(text));

/** What an error says in others' words: names of those who could help are chosen by them. */
function quotedIn(error: unknown): string | undefined {
  if (error instanceof ToolError) return error.quoted;
  const { grantors = [] } = error instanceof GatehouseError ? error.data : {};
  return grantors.length > 0 ? `Who could give it: ${JSON.stringify(grantors)}` : undefined;
}

const refusalIn = (error: unknown): GatehouseError | undefined =>
  [error, error instanceof ToolError && error.cause].find((each) => each instanceof GatehouseError);

const wordsOf = (error: unknown): string =>
  error instanceof GatehouseError
    ? [instead[error.code] ?? inOurWords(error), ...next(error)].join("\n")
    : error instanceof Error
      ? error.message
      : String(error);

/** What the server said, without the names with which it ends. */
const inOurWords = ({ message, data: { grantors = [] } }: GatehouseError): string => {
  const whom = ` Ask ${grantors.join(", ")}.`;
  return message.endsWith(whom) ? message.slice(0, -whom.length) : message;
};

/** In place of the server's own words, where those name what no tool has. */
const instead: { readonly [code in GatehouseError["code"]]?: string } = {
  INVALID_REQUEST:
    "This client names no space. Next: list_spaces shows yours; whoever set the client up puts one of them into its address (/mcp?space=<slug>), or into its command (me mcp --space <slug>).",
  SESSION_CLOSED: "This chat is closed. Next: start_agent_chat without this chatId.",
  SESSION_EXPIRED: "This chat has expired. Next: start_agent_chat without this chatId.",
};

/** The server names commands of `me`: by the method that one calls, it is a tool. */
const inTools = (text: string, tools: readonly Tool[]): string =>
  text.replace(/`me (\w+) (\w+)`/g, (command, noun, verb) => tools.find(({ method }) => method === `${noun}.${verb}`)?.name ?? command);

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
  if (code === "UNREACHABLE" || code === "UNAVAILABLE")
    return ["Next: try again in a moment. What a tool only reads may be asked again at any time."];
  return [];
}
