import type { FastifyReply, FastifyRequest } from "fastify";
import type { Credentials } from "./authenticate.ts";
import type { Config } from "./config.ts";
import { CHAT_SCOPES, MCP } from "./oauth/scopes.ts";
import type { Auth } from "./people/auth.ts";
import { problemOf } from "./problem.ts";
import type { Refusal } from "./refusal.ts";
import { type Door, type DoorReply, type DoorRequest, refuseRequest } from "./rpc.ts";

/** What the doors open onto. */
export interface House {
  config: Config;
  publicUrl: string;
  /** Web origins that may send cookies: the server's own and those allowed. */
  origins: string[];
  auth: Auth;
  /** Whether mail can be sent. */
  mails: boolean;
  doors: { user: Door; space: Door };
  /** Whether a call could be answered now. */
  ready(): Promise<boolean>;
}

/** The RPC doors, by address. */
export const RPC: Record<string, keyof House["doors"]> = { "/api/v1/user/rpc": "user", "/api/v1/space/rpc": "space" };
export const RESOURCE_METADATA = "/.well-known/oauth-protected-resource";

/** The credentials of a request. With two Authorization headers it is anybody's guess which is meant: neither is. */
export function presentedBy({ headers, raw }: FastifyRequest): Credentials {
  const { authorization, cookie, origin } = headers;
  const twice = raw.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "authorization").length > 1;
  return { authorization: twice ? "" : authorization, cookie, origin };
}

/** What a request brings to the path of a call, with a body of JSON-RPC. @param reply tells when the caller has gone */
export const callOf = (request: FastifyRequest, body: Uint8Array, reply?: FastifyReply): DoorRequest => ({
  presented: presentedBy(request),
  space: request.headers["x-me-space"]?.toString(),
  body,
  requestId: request.id,
  ...(reply && { gone: gone(reply) }),
});

function gone({ raw }: FastifyReply): AbortSignal {
  const left = new AbortController();
  raw.once("close", () => left.abort());
  return left.signal;
}

/** Answers a request that never became a call: in the shape of its door. */
export async function refuse(house: House, request: FastifyRequest, reply: FastifyReply, refusal: Refusal): Promise<FastifyReply> {
  if (refusal.code === "REQUEST_TIMEOUT" || refusal.code === "PAYLOAD_TOO_LARGE") reply.header("connection", "close");
  const answered = await refuseRequest(house.doors.user, refusal, request.id);
  return RPC[request.routeOptions.url ?? ""] ? send(house, reply, answered) : problem(house, reply, refusal, request.id);
}

/** RFC 6750, with where to find out more about the very address that was asked (RFC 9728 §3.3). */
export const challenge = (house: House, reply: FastifyReply, status: number) => {
  const { url = "" } = reply.request.routeOptions;
  if (status === 401)
    reply.header("www-authenticate", challengeTo(house, RPC[url] || url === MCP ? url : "", url === MCP ? CHAT_SCOPES : []));
};

/** @param scope what to ask for, where that is not up to who asks */
export const challengeTo = ({ publicUrl }: House, path: string, scope: readonly string[]): string =>
  `Bearer resource_metadata="${publicUrl}${RESOURCE_METADATA}${path}"${scope.length > 0 ? `, scope="${scope.join(" ")}"` : ""}`;

export function send(house: House, reply: FastifyReply, { status, body }: DoorReply): FastifyReply {
  challenge(house, reply, status);
  reply.code(status);
  return body === undefined ? reply.send() : reply.type("application/json; charset=utf-8").send(body);
}

export function problem(house: House, reply: FastifyReply, refusal: Refusal, requestId: string): FastifyReply {
  const body = problemOf(refusal, requestId);
  challenge(house, reply, body.status);
  return reply.code(body.status).type("application/problem+json").send(body);
}
