import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ADDRESS_HEADER } from "./auth.ts";
import { type House, presentedBy, problem } from "./house.ts";
import { Refusal } from "./refusal.ts";

const AUTH = "/api/auth";
/** The routes of better-auth that are open. The rest of it is not part of this API. */
const ROUTES = ["/sign-in/email", "/sign-out"] as const;

/** Opens the door by which people sign in and out. */
export function addSignIn(app: FastifyInstance, house: House): void {
  for (const route of ROUTES) app.post(AUTH + route, (request, reply) => signInOrOut(house, request, reply, route));
}

/** What better-auth's statuses mean here. */
const authRefusals: Record<number, Refusal> = {
  400: new Refusal("INVALID_PARAMS", "Send { email, password }."),
  401: new Refusal("UNAUTHENTICATED", "The e-mail address or the password is wrong."),
  403: new Refusal("FORBIDDEN", "This web origin may not sign people in. The operator can allow it in ALLOWED_ORIGINS."),
  429: new Refusal("RATE_LIMITED", "Too many attempts to sign in from this address. Wait a minute."),
};

/** Hands a request to better-auth, and its refusals back in our words. Each leaves one line in the log: who, and from where. */
async function signInOrOut(house: House, request: FastifyRequest, reply: FastifyReply, route: string): Promise<FastifyReply> {
  const { authorization, cookie, origin } = presentedBy(request);
  const headers = new Headers({ "content-type": "application/json", [ADDRESS_HEADER]: request.ip });
  if (authorization !== undefined) headers.set("authorization", authorization.replace(/^bearer /i, "Bearer "));
  else if (cookie) headers.set("cookie", cookie);
  if (origin) headers.set("origin", origin);
  // The address of our own route: not that of the request line, which a caller may write as they like.
  const sent = new Request(house.publicUrl + AUTH + route, { method: "POST", headers, body: new Uint8Array(request.body as Uint8Array) });
  const answered = await house.auth.handler(sent);
  const body = await answered.text();
  const line = { route, requestId: request.id, address: request.ip };
  if (answered.status >= 400) {
    const refusal = authRefusals[answered.status] ?? new Refusal("INTERNAL_ERROR", undefined, {}, { cause: `status ${answered.status}` });
    const retryAfter = answered.headers.get("x-retry-after");
    if (retryAfter) reply.header("retry-after", retryAfter);
    house.doors.user.log.info({ ...line, outcome: refusal.code }, "sign-in refused");
    return problem(house, reply, refusal, request.id);
  }
  for (const name of ["set-cookie", "set-auth-token"]) {
    const value = answered.headers.get(name);
    if (value) reply.header(name, value);
  }
  const { user } = JSON.parse(body) as { user?: { id: string } };
  house.doors.user.log.info({ ...line, outcome: "OK", principal: user?.id }, user ? "signed in" : "signed out");
  return reply.code(answered.status).type("application/json").send(body);
}
