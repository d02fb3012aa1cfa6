import { type IncomingMessage, METHODS } from "node:http";
import type { ErrorCode, RpcResponse } from "@gatehouse/protocol";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Actor } from "./actor.ts";
import type { Credentials } from "./authenticate.ts";
import { readBody, unsupported } from "./body.ts";
import type { Config } from "./config.ts";
import { CHAT_SCOPES, MCP } from "./oauth/scopes.ts";
import type { Auth } from "./people/auth.ts";
import type { Guesses } from "./people/guesses.ts";
import { problemOf } from "./problem.ts";
import { Refusal, toRefusal } from "./refusal.ts";
import { answer, type Door, type DoorReply, refuseRequest, type Sender } from "./rpc.ts";
import { traceRequest } from "./telemetry.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** It has a share of an address's rate of its own, which no other request uses up: signing in and out, revocation. */
    reserved?: boolean;
  }
  interface FastifyRequest {
    /** It brought a credential that proves nobody, whatever the status of its answer is: that was a guess. */
    wrongCredential: boolean;
  }
}

/** What the doors open onto. */
export interface House {
  config: Config;
  publicUrl: string;
  /** Web origins whose pages may call and read the answers: those that may use cookies, and those allowed. */
  origins: string[];
  /** Web origins whose pages may use cookies: the server's own, and COOKIE_ORIGINS. */
  cookieOrigins: string[];
  auth: Auth;
  /** Whether mail can be sent. */
  mails: boolean;
  doors: { user: Door; space: Door };
  /** Wrong credentials, and who is held up by them. */
  guesses: Guesses;
  /** Whether a call could be answered now. */
  ready(): Promise<boolean>;
}

/** The RPC doors, by address. */
export const RPC: Record<string, keyof House["doors"]> = { "/api/v1/user/rpc": "user", "/api/v1/space/rpc": "space" };
/** What all doors take but those of OAuth. */
export const JSON_TYPE = "application/json";
export const RESOURCE_METADATA = "/.well-known/oauth-protected-resource";

/** Every method that an address may be asked by. OPTIONS is answered for all addresses at once (CORS); CONNECT names none. */
export const VERBS = METHODS.filter((method) => method !== "OPTIONS" && method !== "CONNECT");
/** Fastify's own errors, as ours. */
const transportErrors: Record<string, ErrorCode> = { FST_ERR_CTP_BODY_TOO_LARGE: "PAYLOAD_TOO_LARGE", FST_ERR_BAD_URL: "NOT_FOUND" };

/** What was wrong with a request before it came to a door. @param type that the door takes */
export function fromTransport(error: unknown, type = JSON_TYPE): Refusal {
  const { code = "" } = error as { code?: string };
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") return unsupported(type);
  return transportErrors[code] ? new Refusal(transportErrors[code]) : toRefusal(error);
}

/** Takes bodies of a type, each as long as its route allows. */
export function takeBodies(app: FastifyInstance, house: House, type: string): void {
  app.addContentTypeParser(type, (request: FastifyRequest, payload: IncomingMessage) =>
    readBody(request.headers, payload, {
      type,
      limit: request.routeOptions.bodyLimit,
      timeoutMs: house.config.bodyTimeoutMs,
      admit: async (bytes) => house.doors.user.budgets.hold("bodies", await house.doors.user.authenticate(presentedBy(request)), bytes),
    }),
  );
}

/** Says of an address what it takes, to whoever asks something else of it: to be called when all that it takes is there. */
export function refuseOthers(app: FastifyInstance, url: string): void {
  const takes = (method: string) => app.hasRoute({ method, url });
  const allowed = VERBS.filter(takes).join(", ");
  const others = VERBS.filter((method) => !takes(method));
  if (others.length === 0) return;
  app.route({
    method: others,
    url,
    // Before the body: nobody reads it.
    onRequest: async (_request, reply) => {
      reply.header("allow", allowed);
      throw new Refusal("METHOD_NOT_ALLOWED", `This address takes ${allowed} only.`);
    },
    handler: async () => {},
  });
  // CORS answers before a handler does (RFC 9110 §9.3.7).
  app.options(url, { onSend: async (_request, reply) => void reply.header("allow", allowed) }, async (_request, reply) =>
    reply.code(204).send(),
  );
}

const presented = new WeakMap<FastifyRequest, Credentials>();

/** The credentials of a request, read once. With two Authorization headers it is anybody's guess which is meant: neither is. */
export function presentedBy(request: FastifyRequest): Credentials {
  const known = presented.get(request) ?? readPresented(request);
  presented.set(request, known);
  return known;
}

function readPresented({ headers, raw, ip, routeOptions }: FastifyRequest): Credentials {
  const { authorization, cookie, origin } = headers;
  return {
    authorization: isTwice(raw, "authorization") ? "" : authorization,
    cookie,
    origin,
    address: ip,
    ...(routeOptions.url === MCP && { resource: MCP }),
  };
}

/** True for a request that has a header more than once. @param name in small letters */
export const isTwice = ({ rawHeaders }: IncomingMessage, name: string): boolean =>
  rawHeaders.filter((each, i) => i % 2 === 0 && each.toLowerCase() === name).length > 1;

/** Who sends a request. @param reply tells when they have gone, and when the answer has left */
export const senderOf = (request: FastifyRequest, reply?: FastifyReply): Sender => ({
  presented: presentedBy(request),
  space: request.headers["x-me-space"]?.toString(),
  requestId: request.id,
  ...(reply && { gone: gone(reply), left: left(reply) }),
});

function gone({ raw }: FastifyReply): AbortSignal {
  const left = new AbortController();
  raw.once("close", () => raw.writableEnded || left.abort());
  return left.signal;
}

/** Resolves when the client has taken the whole answer, or has gone. */
const left = ({ raw }: FastifyReply) =>
  new Promise<void>((resolve) => {
    if (raw.destroyed) resolve();
    else raw.once("close", resolve);
  });

/**
 * Authenticates a request, then reads its body within its caller's budget.
 * @returns the caller, and the body as `read` reads it
 * @throws Refusal UNAUTHENTICATED, RATE_LIMITED, and what `read` throws
 */
export async function readAs<T>(
  { authenticate, budgets }: Door,
  request: FastifyRequest,
  read: (body: Uint8Array) => T,
): Promise<{ actor: Actor; body: T }> {
  const actor = await authenticate(presentedBy(request));
  return { actor, body: await budgets.reading(actor, (request.body as Uint8Array | undefined) ?? new Uint8Array(), read) };
}

/** Calls a method by its one path. @param params JSON @throws Refusal what it was refused with */
export async function callMethod(door: Door, sender: Sender, method: string, params: string): Promise<unknown> {
  const body = `{"jsonrpc":"2.0","id":1,"method":${JSON.stringify(method)},"params":${params}}`;
  const { body: text } = await answer(door, { ...sender, body: new TextEncoder().encode(body) });
  const answered = JSON.parse(text as string) as RpcResponse;
  if (!("error" in answered)) return answered.result;
  const { code, requestId: _, ...details } = answered.error.data;
  throw new Refusal(code, answered.error.message, details);
}

/** Serves a request in its span; what it is refused with are problem details. */
export async function inDoor(house: House, request: FastifyRequest, reply: FastifyReply, run: () => Promise<void>): Promise<FastifyReply> {
  await traceRequest({ method: request.method, route: request.routeOptions.url ?? "", headers: request.headers }, async () => {
    await run().catch((thrown: unknown) => problem(house, reply, toRefusal(thrown), request.id));
    return { status: reply.statusCode };
  });
  return reply;
}

/** Answers a request that never became a call: in the shape of its door. */
export async function refuse(house: House, request: FastifyRequest, reply: FastifyReply, refusal: Refusal): Promise<FastifyReply> {
  const answered = await refuseRequest(house.doors.user, refusal, request.id);
  return RPC[request.routeOptions.url ?? ""] ? send(house, reply, answered) : problem(house, reply, refusal, request.id);
}

/** What a challenge says of a token that was sent (RFC 6750 §3.1). */
const tokenErrors = {
  invalid_token: "The token is wrong, expired or revoked",
  insufficient_scope: "More scope is needed",
} as const;

/** Asks for a token, and says of one that came that it is not good (RFC 6750 §3.1): of none, nothing is said. */
export function challenge(house: House, reply: FastifyReply, status: number): void {
  const { headers, routeOptions } = reply.request;
  if (status !== 401) return;
  const scope = routeOptions.url === MCP ? CHAT_SCOPES : [];
  challengeWith(house, reply, scope, /^bearer +\S/i.test(headers.authorization ?? "") ? "invalid_token" : undefined);
}

/**
 * RFC 6750, with where to find out more about the very address that was asked (RFC 9728 §3.3).
 * @param scope what to ask for, where that is not up to who asks
 */
export function challengeWith({ publicUrl }: House, reply: FastifyReply, scope: readonly string[], error?: keyof typeof tokenErrors): void {
  const { url = "" } = reply.request.routeOptions;
  const said = {
    resource_metadata: publicUrl + RESOURCE_METADATA + (RPC[url] || url === MCP ? url : ""),
    ...(scope.length > 0 && { scope: scope.join(" ") }),
    ...(error && { error, error_description: tokenErrors[error] }),
  };
  reply.header(
    "www-authenticate",
    `Bearer ${Object.entries(said)
      .map(([name, value]) => `${name}="${value}"`)
      .join(", ")}`,
  );
}

export function send(house: House, reply: FastifyReply, { status, body, retryAfter }: DoorReply): FastifyReply {
  challenge(house, reply, status);
  if (retryAfter !== undefined) reply.header("retry-after", retryAfter);
  reply.code(status);
  return body === undefined ? reply.send() : reply.type("application/json; charset=utf-8").send(body);
}

export function problem(house: House, reply: FastifyReply, refusal: Refusal, requestId: string): FastifyReply {
  const body = problemOf(refusal, requestId);
  challenge(house, reply, body.status);
  // The scope of a token is what a program can ask more of.
  if (refusal.code === "FORBIDDEN" && body.layer === "token" && body.missing && !reply.hasHeader("www-authenticate"))
    challengeWith(house, reply, body.missing.slice(0, 1), "insufficient_scope");
  if (body.retryAfter !== undefined) reply.header("retry-after", body.retryAfter);
  return reply.code(body.status).type("application/problem+json").send(body);
}
