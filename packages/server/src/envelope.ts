import { MAX_BATCH } from "@gatehouse/protocol";
import { examine, type Lexical, readJson } from "./json.ts";
import { Refusal } from "./refusal.ts";

/** One message of a request, parsed as JSON but not yet judged. */
export interface Message extends Lexical {
  value: unknown;
}

/** One call, its envelope in order. Its params have not been looked at. */
export interface Call {
  method: string;
  params: unknown;
  paramsFlaws: readonly string[];
}

/**
 * Reads a request body into its messages (JSON-RPC 2.0 §4, §6).
 * @throws Refusal PARSE_ERROR for what is no JSON, PAYLOAD_TOO_LARGE for too many values, INVALID_REQUEST for a batch that is empty or too long
 */
export function readMessages(body: Uint8Array): { batch: boolean; messages: Message[] } {
  const { text, value } = readJson(body);
  const batch = Array.isArray(value);
  const values = batch ? (value as unknown[]) : [value];
  if (values.length === 0) throw new Refusal("INVALID_REQUEST", "The batch is empty. Send at least one call.");
  if (values.length > MAX_BATCH)
    throw new Refusal("INVALID_REQUEST", `The batch holds ${values.length} calls. Send at most ${MAX_BATCH} at a time.`);
  const lexical = examine(text);
  return { batch, messages: values.map((each, i) => ({ value: each, ...(lexical[i] as Lexical) })) };
}

/** The id to answer with, as JSON text: what was sent, digit for digit, or `null` when that is no id. Undefined for a notification. */
export function idOf({ value, idText, envelopeFlaws }: Message): string | undefined {
  if (!isObject(value)) return "null";
  const { id } = value;
  if (id === undefined) return readable(value) && envelopeFlaws.length === 0 ? undefined : "null";
  return typeof id === "string" || typeof id === "number" ? (idText ?? JSON.stringify(id)) : "null";
}

/**
 * Reads the envelope of one call.
 * @throws Refusal INVALID_REQUEST
 */
export function readCall({ value, envelopeFlaws, paramsFlaws }: Message): Call {
  if (envelopeFlaws[0]) throw new Refusal("INVALID_REQUEST", `The JSON-RPC request is ambiguous: ${envelopeFlaws[0]}.`);
  if (!isObject(value) || !readable(value))
    throw new Refusal(
      "INVALID_REQUEST",
      'A JSON-RPC 2.0 request is an object with "jsonrpc": "2.0" and a "method"; an "id" is a string, a number or null.',
    );
  return { method: value.method as string, params: value.params, paramsFlaws };
}

/** Whether the members of an envelope have the types they must have. What is in params is nobody's business yet. */
function readable({ jsonrpc, method, id }: Record<string, unknown>): boolean {
  return (
    jsonrpc === "2.0" && typeof method === "string" && (id === undefined || id === null || typeof id === "string" || typeof id === "number")
  );
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
