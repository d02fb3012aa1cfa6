import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { hostOf, isLoopback } from "../config.ts";
import type { Database } from "../db.ts";
import { type House, problem } from "../house.ts";
import { examine, readJson } from "../json.ts";
import { issuesOf } from "../params.ts";
import { mustFit, Refusal, toRefusal } from "../refusal.ts";
import { FAULTS, loggable } from "../telemetry.ts";
import type { Began } from "./auth.ts";
import { AUTH, handOver, refuseForeignPages, refuseOthersPage, signedIn } from "./hand-over.ts";
import { createHashing, type Hashing } from "./hashing.ts";
import { countAttempt, forgive, isKnown, type LimitName } from "./limits.ts";
import { networkOf } from "./network.ts";
import { takeBack } from "./proofs.ts";
import { routes } from "./routes.ts";
import { overtaken, refusalOf, wordOf } from "./words.ts";

type Route = (typeof routes)[number];
type Input = Record<string, unknown>;

/** What all requests to sign in share. */
interface Desk {
  hashing: Hashing;
  /** What goes on after its answer. */
  underWay: Set<Promise<void>>;
}

/** Opens the doors by which people sign in and out: those of better-auth that are listed. */
export function addPeople(app: FastifyInstance, house: House): void {
  const at: Desk = { hashing: createHashing(), underWay: new Set() };
  app.addHook("onClose", async () => void (await Promise.all(at.underWay)));
  for (const route of routes)
    app.route({
      method: route.method,
      url: AUTH + route.path,
      config: { reserved: route.reserved ?? false },
      handler: async (request, reply) => {
        const line = { route: route.path, requestId: request.id, address: request.ip };
        try {
          return await answer(house, request, reply, route, at);
        } catch (thrown) {
          return refused(house, reply, thrown, line);
        }
      },
    });
}

/** Answers with what went wrong. Leaves one line in the log. */
export function refused(house: House, reply: FastifyReply, thrown: unknown, line: { requestId: string }): FastifyReply {
  const refusal = toRefusal(thrown);
  logRefusal(house, refusal, line);
  return problem(house, reply, refusal, line.requestId);
}

/** One line in the log: with the cause, where that is the server's. */
function logRefusal({ doors }: House, { code: outcome, cause }: Refusal, line: { requestId: string }): void {
  const { log } = doors.user;
  if (FAULTS.has(outcome) && cause !== undefined) log.error({ ...line, outcome, cause: loggable(cause) }, "sign-in failed");
  else log.info({ ...line, outcome }, "sign-in refused");
}

/** One line in the log for what was done after its answer. */
function noteDone(house: House, { id, ip }: FastifyRequest, route: Route, refusal: Refusal | undefined): void {
  const line = { route: route.path, requestId: id, address: ip };
  if (refusal) logRefusal(house, refusal, line);
  else house.doors.user.log.info({ ...line, outcome: "OK" }, "sign-in");
}

/** Hands a request to better-auth, and its answer back; its refusals in our words. Leaves one line in the log: who, and from where. */
async function answer(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  route: Route,
  { hashing, underWay }: Desk,
): Promise<FastifyReply> {
  const { log, sql } = house.doors.user;
  refuseForeignPages(house, request);
  await refuseOthersPage(house, request, route.method);
  route.check?.(house);
  const input = read(request, route);
  const flaw = route.flaw?.(input);
  if (flaw) return reply.redirect(refusedPage(house, flaw), 302);
  if (route.limit) await limit(house, request, reply, route.limit, await accountOf(house, request, route, input));

  const { id } = request.params as { id?: string };
  const path = id === undefined ? route.path : route.path.replace(":id", encodeURIComponent(id));
  const asIs = route.method === "POST" ? { body: input } : { query: new URLSearchParams(input as Record<string, string>) };
  if (route.later) {
    const done = hashing
      .run({ key: networkOf(request.ip), known: false }, () =>
        handOver(house, request, { method: "POST", path, body: input, hashes: true }),
      )
      .then(async (answered) =>
        noteDone(house, request, route, answered.status < 400 ? undefined : refusalOf(answered.status, await answered.text())),
      )
      .catch((thrown: unknown) => noteDone(house, request, route, toRefusal(thrown)))
      .finally(() => underWay.delete(done));
    underWay.add(done);
    return reply.send({ status: true });
  }
  // A route that takes a proof of who somebody is asks for no session.
  const before = route.proof && !route.proves && (await signedIn(house, request, route.method));
  const began: Began = {};
  const question = { began, method: route.method, path, signedIn: true, ...asIs, ...(await route.asks?.(input, house, request)) };
  const answered = route.hashes
    ? await hashing.run(await hasherOf(house, request, hashing, input), () => handOver(house, request, { ...question, hashes: true }))
    : await handOver(house, request, question);
  const text = await answered.text();
  if (answered.status >= 400) {
    const refusal = refusalOf(answered.status, text);
    if (route.proves && refusal.code === "UNAUTHENTICATED") request.wrongCredential = true;
    if (!route.navigates || refusal.code === "INTERNAL_ERROR") throw refusal;
    log.info({ route: route.path, requestId: request.id, address: request.ip, outcome: refusal.code }, "sign-in refused");
    return reply.redirect(refusedPage(house, wordOf(text)), 302);
  }

  const body = text ? (JSON.parse(text) as Body | null) : null;
  const stands = await route.proof?.({ sql: forSignIn(sql), began, session: before ? before.session : undefined, input, provider: id });
  if (stands === false) {
    await takeBack(sql, began, body?.id).finally(() => house.doors.user.feed.doubt());
    if (route.navigates) return reply.redirect(refusedPage(house, "failed"), 302);
    throw overtaken;
  }

  if (route.path === "/sign-in/email") await forgive(sql, "signIn", String(input.email));
  for (const cookie of answered.headers.getSetCookie()) reply.header("set-cookie", cookie);
  const token = answered.headers.get("set-auth-token");
  if (token && route.path === "/sign-in/email") reply.header("set-auth-token", token);

  const principal = body?.user?.id;
  const line = { route: route.path, requestId: request.id, address: request.ip, outcome: "OK", principal };
  if (route.method === "POST") log.info(line, said[route.path] ?? "sign-in");
  // Where signing a program in goes on is better-auth's later word.
  const location = body?.redirect && body.url ? body.url : answered.headers.get("location");
  if (route.navigates) {
    if (!location) throw new Refusal("INTERNAL_ERROR", undefined, {}, { cause: "nowhere to go" });
    return reply.redirect(unlessForeign(house, withIssuer(house, location)), 302);
  }
  if (body?.redirect && body.url) {
    const next = withIssuer(house, body.url);
    body.url = route.leaves ? next : unlessForeign(house, next);
  }
  if (body?.session) delete body.session.token; // the cookie has it, out of reach of scripts
  return reply.code(answered.status).type("application/json").send(JSON.stringify(body));
}

/** Signing in waits for no caller's queries. */
const forSignIn = (sql: Database) => sql.as("sign-in", { urgent: true });

/** As whom somebody waits for their turn. Whether they are known is looked up only where that makes a difference. */
async function hasherOf({ doors }: House, { ip }: FastifyRequest, hashing: Hashing, { email }: Input) {
  const network = networkOf(ip);
  const known = email !== undefined && hashing.busy() && (await isKnown(forSignIn(doors.user.sql), String(email), network));
  return { key: known ? String(email) : network, known };
}

/** What better-auth answers with, as far as it matters here. */
interface Body {
  /** Of a passkey that was added. */
  id?: string;
  redirect?: boolean;
  url?: string;
  user?: { id: string } | null;
  session?: { token?: string } | null;
}

const said: Record<string, string> = { "/sign-in/email": "signed in", "/sign-out": "signed out" };

/** @throws Refusal INVALID_PARAMS */
function read(request: FastifyRequest, { method, takes }: Route): Input {
  let sent: unknown = request.query;
  const body = request.body as Uint8Array | undefined;
  if (method === "POST" && !body?.length) sent = {};
  else if (method === "POST") {
    const { text, value } = readJson(body);
    sent = value;
    const [flaw] = examine(text).flatMap(({ envelopeFlaws, paramsFlaws }) => [...envelopeFlaws, ...paramsFlaws]);
    if (flaw) throw new Refusal("INVALID_PARAMS", `The request body can't be taken: ${flaw}.`);
  }
  const parsed = takes.safeParse(sent);
  if (parsed.success) {
    mustFit(JSON.stringify([parsed.data, request.params]));
    return parsed.data;
  }
  const issues = issuesOf(parsed.error);
  throw new Refusal("INVALID_PARAMS", issues.map(({ path, message }) => `${path} ${message}`.trim()).join("; "), { issues });
}

/** @throws Refusal RATE_LIMITED */
async function limit(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  name: LimitName,
  account: string | undefined,
): Promise<void> {
  const wait = await countAttempt(forSignIn(house.doors.user.sql), name, { address: request.ip, account });
  if (wait === 0) return;
  reply.header("retry-after", wait);
  throw new Refusal("RATE_LIMITED", "Too many attempts. Wait for the seconds named in Retry-After.");
}

async function accountOf(house: House, request: FastifyRequest, { account, method }: Route, input: Input): Promise<string | undefined> {
  if (account === "email") return String(input.email);
  if (account === undefined) return undefined;
  return (await signedIn(house, request, method))?.user.id;
}

/** A redirection to a program names who it is from (RFC 9207): better-auth would write https where there is none. */
function withIssuer({ publicUrl }: House, location: string): string {
  const url = new URL(location, publicUrl);
  if (url.origin === publicUrl || !url.searchParams.has("iss")) return location;
  url.searchParams.set("iss", publicUrl);
  return url.href;
}

/**
 * Where a browser may be led whose person was not asked yet: to pages of ours, or to an HTTP server on this computer. What a
 * program did wrong is told to no other address: anyone may register one, and lead people there by our name (RFC 9700
 * §4.11.2), or have another program on their computer act upon it.
 */
function unlessForeign(house: House, location: string): string {
  const { origin, protocol, hostname, searchParams } = new URL(location, house.publicUrl);
  const here = (protocol === "http:" || protocol === "https:") && isLoopback(hostOf({ hostname }));
  if (here || origin === house.publicUrl) return location;
  return refusedPage(house, /^\w{1,64}$/.exec(searchParams.get("error") ?? "")?.[0] ?? "failed");
}

/** The page that says why a person does not get any further. */
const refusedPage = ({ publicUrl }: House, error: string) => `${publicUrl}/sign-in?${new URLSearchParams({ error })}`;
