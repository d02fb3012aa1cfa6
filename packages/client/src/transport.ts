import type { RpcRequest, RpcResponse } from "@gatehouse/protocol";
import { context, propagation } from "@opentelemetry/api";
import { GatehouseError } from "./error.ts";

/** Where calls go, and as whom. */
export interface Target {
  /** The server's address, e.g. `http://127.0.0.1:7070`. */
  server: string;
  /** A key or session token, sent as a Bearer token; or what gives one. Left out, the browser's cookie speaks. */
  credential?: string | (() => string | undefined | Promise<string | undefined>);
  /** The slug of the space that the calls are about. */
  space?: string;
  /** Milliseconds to wait for an answer; default 30,000. */
  timeoutMs?: number;
  fetch?: typeof globalThis.fetch;
}

const TIMEOUT_MS = 30_000;

/**
 * Posts JSON to the server.
 * @throws GatehouseError UNREACHABLE
 */
export async function reach(target: Target, path: string, body: unknown): Promise<Response> {
  const credential = typeof target.credential === "function" ? await target.credential() : target.credential;
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (credential !== undefined) headers.authorization = `Bearer ${credential}`;
  if (target.space !== undefined) headers["x-me-space"] = target.space;
  propagation.inject(context.active(), headers);
  try {
    return await (target.fetch ?? fetch)(new URL(path, target.server), {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      credentials: credential === undefined ? "include" : "omit",
      redirect: "error", // a credential goes to the server that was named, and nowhere else
      signal: AbortSignal.timeout(target.timeoutMs ?? TIMEOUT_MS),
    });
  } catch (cause) {
    throw unreachable(target, cause);
  }
}

/**
 * Posts one call, or one batch, and returns the answers in no promised order.
 * @throws GatehouseError UNREACHABLE, BAD_ANSWER, or what the server refused the whole request with
 */
export async function post(target: Target, path: string, body: RpcRequest | RpcRequest[]): Promise<RpcResponse[]> {
  const answer = await reach(target, path, body);
  if (answer.status === 204) return [];
  const text = await answer.text().catch((cause: unknown) => {
    throw unreachable(target, cause); // the line broke in the middle of the answer
  });
  const answers = readAnswers(text);
  if (!answers)
    throw new GatehouseError(
      "BAD_ANSWER",
      `${target.server} answered with status ${answer.status}, but not as a Gatehouse does. Check the address.`,
    );
  const [first] = answers;
  if (answer.status !== 200 && first && "error" in first) throw toError(first.error);
  return answers;
}

const unreachable = ({ server }: Target, cause: unknown) =>
  new GatehouseError("UNREACHABLE", `${server} does not answer. Is the server running there?`, {}, { cause });

/** The answers that a body holds; undefined when it is not what a Gatehouse sends. */
function readAnswers(text: string): RpcResponse[] | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    const answers = (Array.isArray(parsed) ? parsed : [parsed]) as RpcResponse[];
    return answers.every(isAnswer) ? answers : undefined;
  } catch {
    return undefined;
  }
}

const isAnswer = (each: RpcResponse | undefined): boolean =>
  each?.jsonrpc === "2.0" && ("error" in each ? typeof each.error?.data?.code === "string" : "result" in each);

/** A JSON-RPC error object as the one error class. */
export const toError = ({ data, message }: Extract<RpcResponse, { error: unknown }>["error"]): GatehouseError =>
  new GatehouseError(data.code, message, data);
