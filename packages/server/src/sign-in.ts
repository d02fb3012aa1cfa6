import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ADDRESS_HEADER } from "./auth.ts";
import { type House, refuse } from "./house.ts";
import { Refusal } from "./refusal.ts";

const AUTH = "/api/auth";
/** The routes of better-auth that are open. The rest of it is not part of this API. */
const ROUTES = ["/sign-in/email", "/sign-out"] as const;

/** Opens the door by which people sign in and out. */
export function addSignIn(app: FastifyInstance, house: House): void {
  for (const route of ROUTES) app.post(AUTH + route, (request, reply) => signInOrOut(house, request, reply));
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
