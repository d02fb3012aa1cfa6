import type { ErrorCode, RpcRequest, RpcResponse } from "@gatehouse/protocol";
import { context, propagation } from "@opentelemetry/api";
import { serverAddress } from "./address.ts";
import { connect } from "./connect.ts";
import { GatehouseError } from "./error.ts";
import { unreachable, viaProxy } from "./unreachable.ts";

/** Where calls go, and as whom. */
export interface Target {
  /** The server's address, e.g. `http://127.0.0.1:7070`; with the path that it is served beneath, if there is one. */
  server: string;
  /**
   * A key or token, sent as a Bearer token; or what gives one. Left out, the browser's cookie speaks.
   * What gives one is asked again, with the one that was refused, when the server answers 401: nothing was done then,
   * so that whatever was asked can be sent once more with another.
   */
  credential?: string | ((refused?: string) => string | undefined | Promise<string | undefined>);
  /** The slug of the space that the calls are about. */
  space?: string;
  /** Milliseconds to wait for an answer; default 30,000. */
  timeoutMs?: number;
  fetch?: typeof globalThis.fetch;
}

const TIMEOUT_MS = 30_000;

/**
 * Posts JSON to the server.
 * @throws GatehouseError as `connect` does
 */
export const reach = (target: Target, path: string, body: unknown): Promise<Response> =>
  send(target, path, "application/json", JSON.stringify(body));

/** Posts a form, as OAuth endpoints take it. @throws GatehouseError as `connect` does */
export const reachForm = (target: Target, path: string, form: Record<string, string>): Promise<Response> =>
  send(target, path, "application/x-www-form-urlencoded", new URLSearchParams(form).toString());

const send = (target: Target, path: string, type: string, body: string): Promise<Response> =>
  request(target, path, () => ({
    method: "POST",
    headers: { "content-type": type },
    body,
    signal: AbortSignal.timeout(target.timeoutMs ?? TIMEOUT_MS),
  }));

/**
 * Sends a request: once more, with another credential, where the first was refused, as nothing has happened by then.
 * @param init what to send, asked for each time
 * @throws GatehouseError as `connect` does
 */
export async function request(target: Target, path: string, init: () => RequestInit): Promise<Response> {
  const { credential } = target;
  if (typeof credential !== "function") return sendAs(target, path, init(), credential);
  const given = await credential();
  const answer = await sendAs(target, path, init(), given);
  if (answer.status !== 401 || given === undefined) return answer;
  const other = await credential(given);
  if (other === undefined || other === given) return answer;
  await answer.body?.cancel();
  return sendAs(target, path, init(), other);
}

async function sendAs(target: Target, path: string, init: RequestInit, credential: string | undefined): Promise<Response> {
  const headers: Record<string, string> = { ...(init.headers as Record<string, string>) };
  if (credential !== undefined) headers.authorization = `Bearer ${credential}`;
  if (target.space !== undefined) headers["x-me-space"] = target.space;
  propagation.inject(context.active(), headers);
  return connect(target, serverAddress(target.server) + path, {
    ...init,
    headers,
    credentials: credential === undefined ? "include" : "omit",
  });
}

/** What an answer of plain HTTP refuses with: problem details (RFC 9457). */
export async function refusalOf(target: Target, answer: Response): Promise<GatehouseError> {
  const problem = (await answer.json().catch(() => ({}))) as { code?: ErrorCode; detail?: string };
  return problem.code ? new GatehouseError(problem.code, problem.detail ?? problem.code, problem as object) : strange(target, answer);
}

/**
 * What is said of an answer that no Gatehouse gives. Something between us and the server that is in trouble, such as a
 * proxy, says so in words of its own: then nobody knows whether the server was reached, as where nothing answers.
 */
export function strange({ server }: Pick<Target, "server">, { status }: Response): GatehouseError {
  if (status >= 500)
    return new GatehouseError(
      "UNREACHABLE",
      `${server} answered with status ${status}, and not as a Gatehouse does. Is the server running behind it?${viaProxy(server)}`,
    );
  const next = nextAt[status]?.(server) ?? "Check the address.";
  return new GatehouseError(
    "BAD_ANSWER",
    `${server} answered with status ${status}, but not as a Gatehouse does. ${next}${status === 407 ? "" : viaProxy(server)}`,
  );
}

const nextAt: { readonly [status: number]: (server: string) => string } = {
  400: (server) => `Check the address${server.startsWith("http:") ? ", which may have to begin with https://" : ""}.`,
  407: () => "The proxy wants a user name and a password: put them into HTTPS_PROXY and HTTP_PROXY, or the host into NO_PROXY.",
};

/**
 * Posts one call, or one batch, and returns the answers in no promised order.
 * @throws GatehouseError UNREACHABLE, BAD_ANSWER, or what the server refused the whole request with
 */
export async function post(target: Target, path: string, body: RpcRequest | RpcRequest[]): Promise<RpcResponse[]> {
  const answer = await reach(target, path, body);
  if (answer.status === 204) return [];
  const text = await answer.text().catch((cause: unknown) => {
    throw cause instanceof GatehouseError ? cause : unreachable(target, cause); // the line broke in the middle of the answer
  });
  const answers = readAnswers(text);
  if (!answers) throw strange(target, answer);
  const [first] = answers;
  if (answer.status !== 200 && first && "error" in first) throw toError(first.error);
  return answers;
}

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
