import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { textOf } from "../body.ts";
import { hostOf, isLoopback } from "../config.ts";
import { type House, problem } from "../house.ts";
import { examine } from "../json.ts";
import { mustFit, Refusal, toRefusal } from "../refusal.ts";
import { FAULTS, loggable } from "../telemetry.ts";
import { AUTH, FOREIGN_ORIGIN, handOver, signedIn } from "./hand-over.ts";
import { countAttempt, forgive, type LimitName } from "./limits.ts";
import { routes } from "./routes.ts";

type Route = (typeof routes)[number];
type Input = Record<string, unknown>;

/** Opens the doors by which people sign in and out: those of better-auth that are listed. */
export function addPeople(app: FastifyInstance, house: House): void {
  for (const route of routes)
    app.route({
      method: route.method,
      url: AUTH + route.path,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        const line = { route: route.path, requestId: request.id, address: request.ip };
        try {
          return await answer(house, request, reply, route);
        } catch (thrown) {
          return refused(house, reply, thrown, line);
        }
      },
    });
}

/** Answers with what went wrong. Leaves one line in the log: with the cause, where that is the server's. */
export function refused(house: House, reply: FastifyReply, thrown: unknown, line: { requestId: string }): FastifyReply {
  const { log } = house.doors.user;
  const refusal = toRefusal(thrown);
  const { code: outcome, cause } = refusal;
  if (FAULTS.has(outcome) && cause !== undefined) log.error({ ...line, outcome, cause: loggable(cause) }, "sign-in failed");
  else log.info({ ...line, outcome }, "sign-in refused");
  return problem(house, reply, refusal, line.requestId);
}

/** Hands a request to better-auth, and its answer back; its refusals in our words. Leaves one line in the log: who, and from where. */
async function answer(house: House, request: FastifyRequest, reply: FastifyReply, route: Route): Promise<FastifyReply> {
  const { log, sql } = house.doors.user;
  const input = read(request, route);
  route.check?.(house);
  if (route.limit) await limit(house, request, reply, route.limit, await accountOf(house, request, route, input));

  const { id } = request.params as { id?: string };
  const path = id === undefined ? route.path : route.path.replace(":id", encodeURIComponent(id));
  const asIs = route.method === "POST" ? { body: input } : { query: new URLSearchParams(input as Record<string, string>) };
  const answered = await handOver(house, request, {
    method: route.method,
    path,
    signedIn: true,
    ...asIs,
    ...(await route.asks?.(input, house, request)),
  });
  const text = await answered.text();
  if (answered.status >= 400) {
    const refusal = refusalOf(answered.status, text);
    if (!route.navigates || refusal.code === "INTERNAL_ERROR") throw refusal;
    log.info({ route: route.path, requestId: request.id, address: request.ip, outcome: refusal.code }, "sign-in refused");
    return reply.redirect(`${house.publicUrl}/sign-in?${new URLSearchParams({ error: wordOf(text) })}`, 302);
  }

  if (route.path === "/sign-in/email") await forgive(sql, "signIn", String(input.email));
  for (const cookie of answered.headers.getSetCookie()) reply.header("set-cookie", cookie);
  const token = answered.headers.get("set-auth-token");
  if (token && route.path === "/sign-in/email") reply.header("set-auth-token", token);

  const body = text ? (JSON.parse(text) as Body | null) : null;
  const principal = body?.user?.id;
  const line = { route: route.path, requestId: request.id, address: request.ip, outcome: "OK", principal };
  if (route.method === "POST") log.info(line, said[route.path] ?? "sign-in");
  // Where signing a program in goes on is better-auth's later word.
  const location = body?.redirect && body.url ? body.url : answered.headers.get("location");
  if (route.navigates) {
    if (!location) throw new Refusal("INTERNAL_ERROR", undefined, {}, { cause: "nowhere to go" });
    return reply.redirect(unlessForeign(house, withIssuer(house, location)), 302);
  }
  if (body?.redirect && body.url) body.url = withIssuer(house, body.url);
  if (body?.session) delete body.session.token; // the cookie has it, out of reach of scripts
  return reply.code(answered.status).type("application/json").send(JSON.stringify(body));
}

/** What better-auth answers with, as far as it matters here. */
interface Body {
  redirect?: boolean;
  url?: string;
  user?: { id: string } | null;
  session?: { token?: string } | null;
}

const said: Record<string, string> = { "/sign-in/email": "signed in", "/sign-out": "signed out" };

/** @throws Refusal INVALID_PARAMS */
function read(request: FastifyRequest, { method, takes }: Route): Input {
  let sent: unknown = request.query;
  if (method === "POST") {
    const text = textOf(request) || "{}";
    try {
      sent = JSON.parse(text);
    } catch {
      throw new Refusal("INVALID_PARAMS", "The request body is not valid JSON.");
    }
    const [flaw] = examine(text).flatMap(({ envelopeFlaws, paramsFlaws }) => [...envelopeFlaws, ...paramsFlaws]);
    if (flaw) throw new Refusal("INVALID_PARAMS", `The request body can't be taken: ${flaw}.`);
  }
  const parsed = takes.safeParse(sent);
  if (parsed.success) {
    mustFit(JSON.stringify([parsed.data, request.params]));
    return parsed.data;
  }
  const issues = parsed.error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
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
  const wait = await countAttempt(house.doors.user.sql, name, { address: request.ip, account });
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
 * Where a browser may be led whose person was not asked yet: to pages of ours, or to this computer. What a program did wrong
 * is not told to an address on the web, as anyone may register one, and lead people there by our name (RFC 9700 §4.11.2).
 */
function unlessForeign({ publicUrl }: House, location: string): string {
  const { origin, protocol, hostname, searchParams } = new URL(location, publicUrl);
  const web = protocol === "https:" || protocol === "http:";
  if (!web || origin === publicUrl || isLoopback(hostOf({ hostname }))) return location;
  return `${publicUrl}/sign-in?${new URLSearchParams({ error: /^\w{1,64}$/.exec(searchParams.get("error") ?? "")?.[0] ?? "failed" })}`;
}

const link = new Refusal("INVALID_PARAMS", "This link is wrong, used or too old. Ask for another one.");
const stale = new Refusal(
  "INVALID_PARAMS",
  "This sign-in took too long, or its address was changed. Begin again in the program that you came from.",
);
const fresh = new Refusal("FORBIDDEN", "Sign in again first: this takes a fresh sign-in.");
const passkey = new Refusal(
  "UNAUTHENTICATED",
  "This passkey is not known here, or was not confirmed in time. Try again, or sign in another way.",
);
const code = new Refusal("NOT_FOUND", "There is no such code, or it is too old. Look at the program that showed it.");
const origin = new Refusal("FORBIDDEN", FOREIGN_ORIGIN);

/** What better-auth's refusals mean here, by its code or what its OAuth part calls an error. */
const refusals: Record<string, Refusal> = {
  INVALID_EMAIL_OR_PASSWORD: new Refusal("UNAUTHENTICATED", "The e-mail address or the password is wrong."),
  EMAIL_NOT_VERIFIED: new Refusal("FORBIDDEN", "Confirm your e-mail address first: open the link in the mail, or ask for another."),
  EMAIL_ALREADY_VERIFIED: new Refusal("CONFLICT", "This address is confirmed already."),
  INVALID_TOKEN: link,
  TOKEN_EXPIRED: link,
  USER_NOT_FOUND: link,
  SESSION_NOT_FRESH: fresh,
  SESSION_EXPIRED: fresh,
  CHALLENGE_NOT_FOUND: passkey,
  PASSKEY_NOT_FOUND: passkey,
  AUTHENTICATION_FAILED: passkey,
  FAILED_TO_VERIFY_REGISTRATION: passkey,
  PROVIDER_NOT_FOUND: new Refusal("NOT_FOUND", "This server knows no such provider."),
  INVALID_ORIGIN: origin,
  MISSING_OR_NULL_ORIGIN: origin,
  CROSS_SITE_NAVIGATION_LOGIN_BLOCKED: origin,
  invalid_signature: stale,
  "missing oauth query": stale,
  expired_token: code,
  "Invalid user code": code,
  "Device code already processed": new Refusal("CONFLICT", "This code was answered already."),
  access_denied: new Refusal("FORBIDDEN", "Somebody else has opened this code. Begin again in the program that showed it."),
};

/** By status, where there is no word for it. */
const byStatus: Record<number, Refusal> = {
  400: new Refusal("INVALID_PARAMS", "What was sent does not fit. Load the page again."),
  401: new Refusal("UNAUTHENTICATED", "Sign in first."),
  403: new Refusal("FORBIDDEN"),
  404: new Refusal("NOT_FOUND"),
};

function refusalOf(status: number, text: string): Refusal {
  const { code, error_description, error } = saidBy(text);
  const known = [code, error_description, error].map((word) => (word ? refusals[word] : undefined)).find(Boolean);
  return (
    known ?? byStatus[status] ?? new Refusal("INTERNAL_ERROR", undefined, {}, { cause: `better-auth answered ${status} ${wordOf(text)}` })
  );
}

/** What the page is told that a browser is led to: a word of better-auth's or of a provider's, never a sentence. */
function wordOf(text: string): string {
  const { code, error } = saidBy(text);
  return /^\w{1,64}$/.exec(code ?? error ?? "")?.[0].toLowerCase() ?? "failed";
}

function saidBy(text: string): { code?: string; error?: string; error_description?: string } {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
