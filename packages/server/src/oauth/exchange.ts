import { splitScope } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import type { Credentials } from "../authenticate.ts";
import type { House } from "../house.ts";
import { nobody, Refusal } from "../refusal.ts";
import { bearer, call, clientOf, countGood, required } from "./client.ts";
import { OAuthError } from "./error.ts";
import type { Endpoint, Form } from "./form.ts";
import { isServer } from "./resource.ts";

/** The grant type of RFC 8693. */
export const EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
/** Also of keys and sessions: with an access token there is nothing to be known of what is inside. */
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const TOKEN_TYPES = [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"];

/**
 * Exchanges a credential for a token that may do part of what it may (RFC 8693): `token.create`, by the credential in
 * `subject_token`. Where the subject's token is one that a user made for an agent, that agent's own key comes besides, and
 * the new token says that the agent acts for them.
 * @throws Refusal what token.create refuses; UNAUTHENTICATED where the client's own proof is not good
 */
export const exchange: Endpoint = async (house, request, form) => {
  const subject = required(form, "subject_token");
  required(form, "subject_token_type");
  for (const name of ["subject_token_type", "actor_token_type", "requested_token_type"])
    if (!TOKEN_TYPES.includes(form[name] ?? ACCESS_TOKEN))
      throw new OAuthError("invalid_request", { says: `${name} must be one of ${TOKEN_TYPES.join(", ")}.` });
  for (const name of ["audience", "resource"])
    if (!isServer(house.publicUrl, form[name] ?? house.publicUrl))
      throw new OAuthError("invalid_target", { says: `${name} must be ${house.publicUrl}: tokens are for this server alone.` });
  const params = {
    space: required(form, "space"),
    scope: scopeOf(form),
    ...(form.ttl && { ttlSeconds: secondsOf(form.ttl) }),
    ...(form.may_act && { mayAct: form.may_act }),
  };
  const { credential: client } = clientOf(request, form);
  if (client !== undefined) await house.doors.user.authenticate(bearer(request, client));
  const presented = await presentedIn(house, request, form, subject, client);
  const used = await proves(house, presented);
  if (!used) request.wrongCredential = true;
  else await countGood(house, request, used.credential.id);
  const made = await call(house, request, "token.create", params, presented).catch((thrown: unknown) => {
    throw inForm(thrown);
  });
  return {
    access_token: made.token,
    issued_token_type: form.requested_token_type ?? ACCESS_TOKEN,
    token_type: "Bearer",
    expires_in: Math.max(0, Math.round((Date.parse(made.expiresAt) - Date.now()) / 1000)),
    scope: made.scope.join(" "),
  };
};

/** A scope has at least one word (RFC 6749 §3.3). */
function scopeOf(form: Form): string[] {
  const scope = splitScope(required(form, "scope"));
  if (scope.length === 0) throw new OAuthError("invalid_scope", { says: "Name at least one permission in scope." });
  return scope;
}

/**
 * What is exchanged: the subject's token, alone or with that of the agent which is to act. An agent comes as
 * `actor_token`; or as the client, where the subject's token is good for nothing alone: it was made for an agent to act.
 * Any other client is no party to the exchange (RFC 8693 §2.1).
 */
async function presentedIn(
  house: House,
  request: FastifyRequest,
  form: Form,
  subject: string,
  client: string | undefined,
): Promise<Credentials> {
  const { actor_token: actor = subject } = form;
  if (actor !== subject) return { ...bearer(request, actor), subject };
  if (client === undefined || (await proves(house, bearer(request, subject)))) return bearer(request, subject);
  return { ...bearer(request, client), subject };
}

/** Whom credentials prove, if anybody. */
const proves = ({ doors }: House, presented: Credentials) => doors.user.authenticate(presented).catch(nobody);

/** What token.create refused with, in the words of the form that was sent. */
function inForm(thrown: unknown): unknown {
  if (!(thrown instanceof Refusal)) return thrown;
  // RFC 8693 §2.2.2: a token that is not accepted makes the request invalid.
  if (thrown.code === "UNAUTHENTICATED")
    return new OAuthError("invalid_request", {
      says: "subject_token or actor_token is invalid, expired, revoked, or not made for this agent.",
    });
  const { code, details } = thrown;
  const message = renamed(thrown.message);
  const issues = details.issues?.map((issue) => ({ ...issue, path: renamed(issue.path) }));
  if (issues?.every(({ path }) => path.startsWith("scope"))) return new OAuthError("invalid_scope", { says: message });
  return new Refusal(code, message, { ...details, ...(issues && { issues }) }, { cause: thrown.cause });
}

const names: Record<string, string> = { ttlSeconds: "ttl", mayAct: "may_act" };
const renamed = (text: string): string => text.replace(/\b\w+\b/g, (word) => (Object.hasOwn(names, word) ? (names[word] as string) : word));

function secondsOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new OAuthError("invalid_request", { says: "ttl must be a whole number of seconds." });
  return Number(text);
}
