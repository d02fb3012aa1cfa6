import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import { type ErrorCode, MAX_BODY_BYTES } from "@gatehouse/protocol";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { uuidv7 } from "uuidv7";
import { ADDRESS_HEADER, type Auth } from "./auth.ts";
import { readBody } from "./body.ts";
import type { Config } from "./config.ts";
import { problemOf, refuseConnection } from "./problem.ts";
import { Refusal, toRefusal } from "./refusal.ts";
import { answer, type Door, type DoorReply, refuseRequest } from "./rpc.ts";
import { traceRequest } from "./telemetry.ts";

/** What the doors open onto. */
export interface House {
  config: Config;
  publicUrl: string;
  /** Web origins that may send cookies: the server's own and those allowed. */
  origins: string[];
  auth: Auth;
  door: Door;
  /** Whether a call could be answered now. */
  ready(): Promise<boolean>;
}

const USER_RPC = "/api/v1/user/rpc";
const AUTH = "/api/auth";
/** The routes of better-auth that are open. The rest of it is not part of this API. */
const AUTH_ROUTES = ["/sign-in/email", "/sign-out"] as const;
const RESOURCE_METADATA = "/.well-known/oauth-protected-resource";
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"] as const;
const READY_TIMEOUT_MS = 2000;
/** Fastify's own errors, as ours. */
const transportErrors: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
  FST_ERR_CTP_BODY_TOO_LARGE: "PAYLOAD_TOO_LARGE",
  FST_ERR_BAD_URL: "NOT_FOUND",
};

/** Opens every HTTP door of a house. A door only translates: it has no rule of its own. */
export async function openDoors(house: House): Promise<FastifyInstance> {
  const { config } = house;
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    trustProxy: config.trustProxy,
    genReqId: () => uuidv7(),
    forceCloseConnections: "idle",
    logger: false,
    // What never reaches a route is refused in our words too.
    frameworkErrors: (error, request, reply) => refuse(house, request, reply, fromTransport(error)),
    clientErrorHandler: refuseConnection,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", (request: FastifyRequest, payload: IncomingMessage) =>
    readBody(request.headers, payload, MAX_BODY_BYTES, config.bodyTimeoutMs),
  );

  app.addHook("onRequest", async (request, reply) => {
    reply.headers({ "x-request-id": request.id, "cache-control": "no-store" });
  });
  await app.register(helmet);
  await app.register(cors, {
    origin: house.origins,
    credentials: true,
    methods: ["GET", "POST"],
    // Answers every OPTIONS: strict, it refuses some of them in a shape of its own.
    strictPreflight: false,
    exposedHeaders: ["x-request-id", "retry-after", "ratelimit", "set-auth-token"],
  });
  if (config.rateLimit > 0) await limitRates(app, config.rateLimit);

  app.setErrorHandler((error, request, reply) => refuse(house, request, reply, fromTransport(error)));
  app.setNotFoundHandler((request, reply) =>
    refuse(house, request, reply, new Refusal("NOT_FOUND", "There is nothing at this address. POST JSON-RPC calls to /api/v1/user/rpc.")),
  );

  app.post(USER_RPC, async (request, reply) => {
    const answered = await traceRequest({ method: "POST", route: USER_RPC, headers: request.headers }, () =>
      answer(house.door, { presented: request.headers, body: request.body as Uint8Array, requestId: request.id }),
    );
    return send(house, reply, answered);
  });
  app.route({
    method: [...OTHER_METHODS],
    url: USER_RPC,
    // Before the body: there is none to read.
    onRequest: (request, reply) => refuse(house, request, reply.header("allow", "POST"), new Refusal("METHOD_NOT_ALLOWED")),
    handler: async () => {},
  });
  for (const route of AUTH_ROUTES) app.post(AUTH + route, (request, reply) => signInOrOut(house, request, reply));

  app.get(RESOURCE_METADATA, { config: { rateLimit: false } }, async () => ({
    resource: house.publicUrl,
    bearer_methods_supported: ["header"],
  }));
  app.get("/healthz", { config: { rateLimit: false } }, async () => ({ status: "ok" }));
  app.get("/readyz", { config: { rateLimit: false } }, async (_request, reply) => {
    // A database that is frozen, rather than gone, answers nothing at all.
    const ready = await Promise.race([house.ready().catch(() => false), delay(READY_TIMEOUT_MS, false, { ref: false })]);
    return reply.code(ready ? 200 : 503).send({ status: ready ? "ready" : "unavailable" });
  });
  return app;
}

/** Counts the requests of each address, and says so in the RateLimit headers (draft-ietf-httpapi-ratelimit-headers). */
async function limitRates(app: FastifyInstance, perMinute: number): Promise<void> {
  await app.register(rateLimit, {
    max: perMinute,
    timeWindow: 60_000,
    enableDraftSpec: true,
    errorResponseBuilder: () => new Refusal("RATE_LIMITED"),
  });
  app.addHook("onSend", async (_request, reply) => {
    const [remaining, reset] = ["ratelimit-remaining", "ratelimit-reset"].map((name) => reply.getHeader(name));
    if (remaining === undefined) return;
    for (const name of ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]) reply.removeHeader(name);
    reply.header("ratelimit-policy", `"address";q=${perMinute};w=60`).header("ratelimit", `"address";r=${remaining};t=${reset}`);
  });
}

function fromTransport(error: unknown): Refusal {
  const code = transportErrors[(error as { code?: string }).code ?? ""];
  return code ? new Refusal(code) : toRefusal(error);
}

/** Answers a request that never became a call: in the shape of its door. */
async function refuse(house: House, request: FastifyRequest, reply: FastifyReply, refusal: Refusal): Promise<FastifyReply> {
  if (refusal.code === "REQUEST_TIMEOUT" || refusal.code === "PAYLOAD_TOO_LARGE") reply.header("connection", "close");
  const answered = await refuseRequest(house.door, refusal, request.id);
  return request.routeOptions.url === USER_RPC ? send(house, reply, answered) : problem(reply, refusal, request.id);
}

function send(house: House, reply: FastifyReply, { status, body }: DoorReply): FastifyReply {
  if (status === 401) reply.header("www-authenticate", `Bearer resource_metadata="${house.publicUrl}${RESOURCE_METADATA}"`);
  reply.code(status);
  return body === undefined ? reply.send() : reply.type("application/json; charset=utf-8").send(body);
}

function problem(reply: FastifyReply, refusal: Refusal, requestId: string): FastifyReply {
  const body = problemOf(refusal, requestId);
  return reply.code(body.status).type("application/problem+json").send(body);
}

/** What better-auth's statuses mean here. */
const authRefusals: Record<number, Refusal> = {
  400: new Refusal("INVALID_PARAMS", "Send { email, password }."),
  401: new Refusal("UNAUTHENTICATED", "The e-mail address or the password is wrong."),
  403: new Refusal("FORBIDDEN", "This web origin may not sign people in. The operator can allow it in ALLOWED_ORIGINS."),
  429: new Refusal("RATE_LIMITED", "Too many attempts to sign in from this address. Wait a minute."),
};

/** Hands a request to better-auth, and its refusals back in our words. */
async function signInOrOut(house: House, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { authorization, cookie, origin } = request.headers;
  const headers = new Headers({ "content-type": "application/json", [ADDRESS_HEADER]: request.ip });
  if (authorization) headers.set("authorization", authorization.replace(/^bearer /i, "Bearer "));
  else if (cookie) headers.set("cookie", cookie);
  if (origin) headers.set("origin", origin);
  const answered = await house.auth.handler(
    new Request(house.publicUrl + request.url, { method: "POST", headers, body: new Uint8Array(request.body as Uint8Array) }),
  );
  if (answered.status >= 400) {
    const refusal = authRefusals[answered.status] ?? new Refusal("INTERNAL_ERROR", undefined, {}, { cause: await answered.text() });
    const retryAfter = answered.headers.get("x-retry-after");
    if (retryAfter) reply.header("retry-after", retryAfter);
    return refuse(house, request, reply, refusal);
  }
  for (const name of ["set-cookie", "set-auth-token"]) {
    const value = answered.headers.get(name);
    if (value) reply.header(name, value);
  }
  return reply
    .code(answered.status)
    .type("application/json")
    .send(await answered.text());
}
