import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import { MAX_BODY_BYTES } from "@gatehouse/protocol";
import Fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { uuidv7 } from "uuidv7";
import { readBody } from "./body.ts";
import { fromTransport, type House, JSON_TYPE, RPC, refuse, refuseOthers, send, senderOf } from "./house.ts";
import { MCP } from "./oauth/scopes.ts";
import { createFailures } from "./people/failures.ts";
import { networkOf } from "./people/network.ts";
import { refuseConnection } from "./problem.ts";
import { Refusal } from "./refusal.ts";
import { answer } from "./rpc.ts";
import { traceRequest } from "./telemetry.ts";

const READY_TIMEOUT_MS = 2000;
/** How often a server that stops looks for idle connections, and how long it waits for those that are not. */
const IDLE_MS = 50;
const GRACE_MS = 10_000;
/** Characters of one part of an address. */
const MAX_PARAM_LENGTH = 8192;

/** Opens one more door of the house. */
type OpenDoor = (app: FastifyInstance, house: House) => void | Promise<void>;

/**
 * Opens the HTTP doors of a house. A door only translates: it has no rule of its own.
 * @param more doors besides those of JSON-RPC
 */
export async function openDoors(house: House, more: readonly OpenDoor[] = []): Promise<FastifyInstance> {
  const { config } = house;
  const proxies = config.trustProxy;
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    // An external id may be 128 long, which encoded is longer; what is too long is the method's to say.
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    trustProxy: typeof proxies === "number" ? (_address, hop) => hop < proxies : proxies,
    genReqId: () => uuidv7(),
    forceCloseConnections: "idle",
    logger: false,
    // What never reaches a route is refused in our words too.
    frameworkErrors: (error, request, reply) => refuse(house, request, reply, fromTransport(error)),
    clientErrorHandler: refuseConnection,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(JSON_TYPE, (request: FastifyRequest, payload: IncomingMessage) =>
    readBody(request.headers, payload, { type: JSON_TYPE, limit: MAX_BODY_BYTES, timeoutMs: config.bodyTimeoutMs }),
  );

  app.addHook("onRequest", async (request, reply) => {
    // Who has hung up by now has no address any more, and hears no answer.
    if ((request.ip as string | undefined) === undefined) return void reply.hijack();
    reply.headers({ "x-request-id": request.id, "cache-control": "no-store" });
  });
  await app.register(helmet);
  await app.register(cors, {
    delegator: async ({ headers: { origin = "" } }: FastifyRequest) => ({
      origin: house.origins,
      // A browser then sends no cookie to where a page of another origin asks, and keeps none that it is answered with.
      credentials: house.cookieOrigins.includes(origin),
      methods: ["GET", "POST", "PATCH"],
      // Answers every OPTIONS: strict, it refuses some of them in a shape of its own.
      strictPreflight: false,
      exposedHeaders: ["www-authenticate", "x-request-id", "retry-after", "ratelimit", "set-auth-token"],
    }),
  });
  if (config.rateLimit > 0) await limitRates(app, config.rateLimit);
  limitFailures(app, config.failedAuthLimit);

  app.setErrorHandler((error, request, reply) => refuse(house, request, reply, fromTransport(error)));
  app.setNotFoundHandler((request, reply) =>
    refuse(
      house,
      request,
      reply,
      new Refusal("NOT_FOUND", "There is nothing at this address. POST JSON-RPC calls to /api/v1/user/rpc or /api/v1/space/rpc."),
    ),
  );

  for (const [url, door] of Object.entries(RPC)) {
    app.post(url, async (request, reply) => {
      const answered = await traceRequest({ method: "POST", route: url, headers: request.headers }, () =>
        answer(house.doors[door], { ...senderOf(request, reply), body: request.body as Uint8Array }),
      );
      return send(house, reply, answered);
    });
    refuseOthers(app, url);
  }
  for (const open of more) await open(app, house);

  app.get("/healthz", { config: { rateLimit: false } }, async () => ({ status: "ok" }));
  app.get("/readyz", { config: { rateLimit: false } }, async (_request, reply) => {
    // A database that is frozen, rather than gone, answers nothing at all.
    const ready = await Promise.race([house.ready().catch(() => false), delay(READY_TIMEOUT_MS, false, { ref: false })]);
    return reply.code(ready ? 200 : 503).send({ status: ready ? "ready" : "unavailable" });
  });
  return app;
}

/**
 * Answers what is under way, and opens to nobody any more. A connection that was busy at first is kept alive after its
 * answer, for a minute and more: it is closed as soon as it is idle. Who takes their answer too slowly is cut off.
 */
export async function closeDoors(app: FastifyInstance): Promise<void> {
  const idle = setInterval(() => app.server.closeIdleConnections(), IDLE_MS);
  const late = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
  await app.close().finally(() => {
    clearInterval(idle);
    clearTimeout(late);
  });
}

/** Counts the requests of each address, and says so in the RateLimit headers (draft-ietf-httpapi-ratelimit-headers). */
async function limitRates(app: FastifyInstance, perMinute: number): Promise<void> {
  await app.register(rateLimit, {
    max: perMinute,
    timeWindow: 60_000,
    keyGenerator: ({ ip }) => networkOf(ip),
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

/** Lets whoever comes with wrong credentials wait, at every door. Others at the same door notice nothing. */
function limitFailures(app: FastifyInstance, perMinute: number): void {
  const failures = createFailures(perMinute);
  app.decorateRequest("wrongCredential", false);
  app.addHook("onRequest", async (request, reply) => {
    const wait = request.routeOptions.config.rateLimit === false ? 0 : failures.wait(networkOf(request.ip));
    if (wait === 0) return;
    reply.header("retry-after", wait);
    throw new Refusal("RATE_LIMITED", "Too many wrong credentials came from this address. Wait for the seconds named in Retry-After.");
  });
  app.addHook("onResponse", async (request, { statusCode }) => {
    // An MCP client asks without a credential first, to be told where it gets one: that is no guess.
    const asks = request.routeOptions.url === MCP && request.headers.authorization === undefined;
    if ((statusCode === 401 && !asks) || request.wrongCredential) failures.count(networkOf(request.ip));
  });
}
