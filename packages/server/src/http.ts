import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import { MAX_BODY_BYTES } from "@gatehouse/protocol";
import Fastify, { type FastifyInstance, type FastifyRequest, type RawRequestDefaultExpression } from "fastify";
import { uuidv7 } from "uuidv7";
import { type Credentials, hashOf, isHopeless } from "./authenticate.ts";
import { ANYBODYS_BYTES, isCoded } from "./body.ts";
import { limitConnections } from "./connections.ts";
import {
  fromTransport,
  type House,
  isTwice,
  JSON_TYPE,
  presentedBy,
  problem,
  RPC,
  refuse,
  refuseOthers,
  send,
  senderOf,
  takeBodies,
  VERBS,
} from "./house.ts";
import { networkOf } from "./people/network.ts";
import { refuseConnection } from "./problem.ts";
import { Refusal } from "./refusal.ts";
import { answer } from "./rpc.ts";
import { late } from "./share.ts";
import { dropStalled } from "./stalled.ts";
import { traceRequest } from "./telemetry.ts";
import { arrivalsTurn, strangersTurn } from "./turns.ts";

const READY_TIMEOUT_MS = 2000;
const TWO_HOSTS = "A request has one Host header (RFC 9112 §3.2), and this one has more.";

/** How often a server that stops looks for idle connections, and how long it waits for those that are not. */
const IDLE_MS = 50;
const GRACE_MS = 10_000;
/** Characters of an address: path and query. */
const MAX_ADDRESS = 8192;
/** How long the head of a request may take to arrive. */
const HEAD_MS = 10_000;
/** Shares of addresses whose requests are counted at most: those that asked least lately are forgotten first. */
const MAX_SHARES = 50_000;

/** Among how many shares of an address what was never seen here, but may be good, is spread: what one sends leaves the others theirs. */
const UNSEEN_SHARES = 16;

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
    // Of strangers, and of everybody where a route does not say more.
    bodyLimit: ANYBODYS_BYTES,
    requestTimeout: HEAD_MS + config.bodyTimeoutMs,
    rewriteUrl: toOriginForm,
    // An external id may be 128 long, which encoded is longer; what is too long is the method's to say.
    routerOptions: { maxParamLength: MAX_ADDRESS },
    trustProxy: typeof proxies === "number" ? (_address, hop) => hop < proxies : proxies,
    genReqId: () => uuidv7(),
    forceCloseConnections: "idle",
    logger: false,
    // What never reaches a route is refused in our words too.
    frameworkErrors: (error, request, reply) => refuse(house, request, reply, fromTransport(error)),
    clientErrorHandler: refuseConnection,
  });
  app.removeAllContentTypeParsers();
  app.server.headersTimeout = HEAD_MS;
  limitConnections(app.server, proxies === 0);
  dropStalled(app.server);
  for (const method of VERBS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true });
  takeBodies(app, house, JSON_TYPE);

  const addresses = new Set<string>();
  app.addHook("onRoute", ({ url }) => void addresses.add(url));
  app.addHook("onRequest", async (request, reply) => {
    // Who has hung up by now has no address any more, and hears no answer.
    if ((request.ip as string | undefined) === undefined) return void reply.hijack();
    reply.headers({ "x-request-id": request.id, "cache-control": "no-store" });
    if (request.url.length > MAX_ADDRESS) throw new Refusal("URI_TOO_LONG");
    if (isTwice(request.raw, "host")) return problem(house, reply, new Refusal("INVALID_REQUEST", TWO_HOSTS), request.id);
    const party = house.guesses.partyOf(presentedBy(request));
    await (party === undefined ? strangersTurn(networkOf(request.ip)) : arrivalsTurn(party));
  });
  app.addHook("onSend", async (request, reply) => {
    if (reply.statusCode === 408 || isUnread(request)) reply.header("connection", "close");
    // Only where that is why (RFC 9110 §12.5.3).
    if (reply.statusCode === 415 && isCoded(request.headers)) reply.header("accept-encoding", "identity");
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
  if (config.rateLimit > 0) await limitRates(app, house);
  countFailures(app, house);

  app.setErrorHandler(async (error, request, reply) => {
    if (error === OF_ADDRESS) await late();
    return refuse(house, request, reply, fromTransport(error));
  });
  app.setNotFoundHandler((request, reply) =>
    refuse(
      house,
      request,
      reply,
      new Refusal("NOT_FOUND", "There is nothing at this address. POST JSON-RPC calls to /api/v1/user/rpc or /api/v1/space/rpc."),
    ),
  );

  for (const [url, door] of Object.entries(RPC)) {
    app.post(url, { bodyLimit: MAX_BODY_BYTES }, async (request, reply) => {
      const answered = await traceRequest({ method: "POST", route: url, headers: request.headers }, () =>
        answer(house.doors[door], { ...senderOf(request, reply), body: request.body as Uint8Array }),
      );
      return send(house, reply, answered);
    });
  }
  for (const open of more) await open(app, house);

  app.get("/healthz", { config: { rateLimit: false } }, async () => ({ status: "ok" }));
  app.get("/readyz", { config: { rateLimit: false } }, async (_request, reply) => {
    // A database that is frozen, rather than gone, answers nothing at all.
    const ready = await Promise.race([house.ready().catch(() => false), delay(READY_TIMEOUT_MS, false, { ref: false })]);
    return reply.code(ready ? 200 : 503).send({ status: ready ? "ready" : "unavailable" });
  });
  addresses.delete("*"); // CORS answers there
  for (const url of addresses) refuseOthers(app, url);
  return app;
}

/**
 * The target of a request in origin form. One that names the host too is meant for that host, whatever the Host header says
 * (RFC 9112 §3.2.2).
 */
function toOriginForm(request: RawRequestDefaultExpression): string {
  const { url = "/", headers } = request;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return url;
  const { host, pathname, search } = new URL(url);
  headers.host = host;
  return pathname + search;
}

/** Whether more of a body is to come than anybody may send, or nobody knows how much: then the line is closed behind the answer. */
function isUnread({ raw, headers }: FastifyRequest): boolean {
  return !raw.complete && (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > MAX_BODY_BYTES);
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

/** The refusal of an address that is over its rate. */
const OF_ADDRESS = new Refusal("RATE_LIMITED");

/**
 * Counts the requests of each address, and says so in the RateLimit headers (draft-ietf-httpapi-ratelimit-headers). Each of
 * the shares of an address is counted for itself.
 */
async function limitRates(app: FastifyInstance, house: House): Promise<void> {
  const perMinute = house.config.rateLimit;
  await app.register(rateLimit, {
    max: perMinute,
    timeWindow: 60_000,
    cache: MAX_SHARES,
    keyGenerator: (request) => `${networkOf(request.ip)} ${shareOf(house, request)}`,
    enableDraftSpec: true,
    errorResponseBuilder: () => OF_ADDRESS,
  });
  app.addHook("onSend", async (_request, reply) => {
    const [remaining, reset] = ["ratelimit-remaining", "ratelimit-reset"].map((name) => reply.getHeader(name));
    if (remaining === undefined) return;
    for (const name of ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]) reply.removeHeader(name);
    reply.header("ratelimit-policy", `"address";q=${perMinute};w=60`).header("ratelimit", `"address";r=${remaining};t=${reset}`);
  });
}

/**
 * By which share of its address's rate a request is counted: so that nobody is kept from their work, or from ending what was
 * stolen, by what a web page makes their browser send, nor by others at the same address.
 */
function shareOf(house: House, request: FastifyRequest): string {
  const { origin, authorization, "sec-fetch-site": site, "sec-fetch-dest": dest } = request.headers;
  // A link that is followed, as to sign a program in, is not something that a page loads.
  const foreign = (origin !== undefined && !house.origins.includes(origin)) || (site === "cross-site" && dest !== "document");
  const presented = presentedBy(request);
  const known = house.guesses.isKnown(presented);
  if (known && (authorization !== undefined || !foreign)) return hashOf(presented);
  if (foreign) return "pages of others";
  if (request.routeOptions.config.reserved) return request.routeOptions.url ?? "";
  if (mayBeGood(presented)) return `unseen ${createHash("sha256").update(hashOf(presented)).digest().readUInt32BE() % UNSEEN_SHARES}`;
  return authorization === undefined ? "no credential" : "unknown credentials";
}

/** Whether what is presented has the form of a credential: a key, a token or a signed session, or a browser's cookie. */
function mayBeGood(presented: Credentials): boolean {
  const { authorization, cookie } = presented;
  if (authorization === undefined) return cookie !== undefined;
  return !isHopeless(presented) && (/^bearer +me_/i.test(authorization) || authorization.includes("."));
}

/** Counts the wrong credentials of each address. One that brought none has not failed to prove anything. */
function countFailures(app: FastifyInstance, { guesses }: House): void {
  app.decorateRequest("wrongCredential", false);
  app.addHook("onSend", async (request, reply) => {
    if (reply.statusCode === 429 && !reply.hasHeader("retry-after")) reply.header("retry-after", guesses.wait(request.ip) || 1);
  });
  app.addHook("onResponse", async (request, { statusCode }) => {
    const wrong = statusCode === 401 && request.headers.authorization !== undefined;
    if (wrong || request.wrongCredential) guesses.count(request.ip);
  });
}
