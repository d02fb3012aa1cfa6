import type { FastifyRequest } from "fastify";
import { type House, presentedBy } from "../house.ts";
import { Refusal } from "../refusal.ts";
import { isUnreachable } from "../unreachable.ts";
import { ADDRESS_HEADER, type Asked, asked, type Began, sessionOf } from "./auth.ts";

/** Where better-auth is reached. */
export const AUTH = "/api/auth";

/** What better-auth is to be asked: the address and the parameters are of our making, whatever the caller sent. */
export interface Question {
  method: "GET" | "POST";
  path: string;
  query?: URLSearchParams;
  /** An object goes as JSON, parameters as a form. */
  body?: object | URLSearchParams;
  /** Whether it may see who is signed in. */
  signedIn?: boolean;
  /** The id of the membership by which a program is allowed to act. */
  membership?: string;
  /** Whether it may hash a password: whoever asks has waited their turn. */
  hashes?: boolean;
  /** The password of whoever confirms an address. */
  password?: string;
  /** Is told what the answer has begun. */
  began?: Began;
}

/**
 * Hands a question to better-auth, as who sends the request.
 * @throws Refusal FORBIDDEN for a cookie from a web origin that is not allowed
 * @throws what its database failed with, wherever its answer may come of that: also a redirection, where the database is away
 */
export async function handOver(
  house: House,
  request: FastifyRequest,
  { method, path, query, body, signedIn = false, membership, hashes = false, password, began = {} }: Question,
): Promise<Response> {
  const headers = signedIn ? signedInHeaders(house, request, method) : new Headers();
  headers.set(ADDRESS_HEADER, request.ip);
  headers.set("accept", "application/json"); // else it answers some questions with a redirection
  const form = body instanceof URLSearchParams;
  if (body) headers.set("content-type", form ? "application/x-www-form-urlencoded" : "application/json");
  const search = query && query.size > 0 ? `?${query}` : "";
  const url = `${house.publicUrl}${AUTH}${path}${search}`;
  const sent = new Request(url, { method, headers, ...(body && { body: form ? body.toString() : JSON.stringify(body) }) });
  const asking: Asked = { membership, hashes, password, began };
  const { feed } = house.doors.user;
  const answered = await asked
    .run(asking, () => house.auth.handler(sent))
    .catch((thrown: unknown) => {
      if (method !== "GET") feed.doubt(); // it may have done part of it
      throw asking.failure ?? thrown;
    });
  const { failure } = asking;
  // It may have ended what is remembered: a session, a login. What only reads, or is refused, has not: anybody may ask that,
  // as often as they like, and would keep everybody's calls from being answered from memory.
  if (method !== "GET" && (answered.status < 400 || failure !== undefined)) feed.doubt();
  if (failure !== undefined && (answered.status >= 400 || isUnreachable(failure))) throw failure;
  return answered;
}

/** The session of who sends a request, if they are signed in. @throws Refusal FORBIDDEN, and what the database failed with */
export const signedIn = (house: House, request: FastifyRequest, method: "GET" | "POST") =>
  sessionOf(house.auth, signedInHeaders(house, request, method));

/**
 * Refuses what a page asks that was opened for somebody else than who is signed in by now, as in another tab of the same browser: it
 * showed one person, and would act for another. Programs need not say for whom they ask.
 * @throws Refusal CONFLICT
 */
export async function refuseOthersPage(house: House, request: FastifyRequest, method: "GET" | "POST"): Promise<void> {
  const openedFor = request.headers["x-me-person"];
  if (openedFor === undefined) return;
  const found = await signedIn(house, request, method);
  if (found && found.user.id !== openedFor) throw new Refusal("CONFLICT", OTHERS_PAGE);
}

const OTHERS_PAGE = "Somebody else has signed in, in this browser, since this page was opened. Load it again.";

/** What tells better-auth who is signed in. A browser need not name the origin of what changes nothing. */
function signedInHeaders(house: House, request: FastifyRequest, method: "GET" | "POST"): Headers {
  const { authorization, cookie, origin } = presentedBy(request);
  const headers = new Headers();
  if (origin) headers.set("origin", origin);
  if (authorization !== undefined) headers.set("authorization", authorization.replace(/^bearer /i, "Bearer "));
  else if (cookie) {
    refuseForeignPages(house, request);
    if (!origin && method === "POST") throw new Refusal("FORBIDDEN", FOREIGN_ORIGIN);
    headers.set("cookie", cookie);
  }
  return headers;
}

/**
 * Refuses what the page of another web origin asks with the visitor's cookies, or to get some: signing in, too, is done in
 * the visitor's name. Where the browser names no origin, Sec-Fetch-Site says whether it is another one (W3C Fetch Metadata);
 * following a link here is no request of that page.
 * @throws Refusal FORBIDDEN
 */
export function refuseForeignPages({ cookieOrigins }: House, request: FastifyRequest): void {
  const { authorization, origin } = presentedBy(request);
  if (authorization !== undefined) return; // then no cookie counts
  const { "sec-fetch-site": site, "sec-fetch-mode": mode } = request.headers;
  const elsewhere = (site === "cross-site" || site === "same-site") && mode !== "navigate";
  if (origin ? !cookieOrigins.includes(origin) : elsewhere) throw new Refusal("FORBIDDEN", FOREIGN_ORIGIN);
}

export const FOREIGN_ORIGIN = "This web origin may not sign people in. The operator can allow it in COOKIE_ORIGINS.";
