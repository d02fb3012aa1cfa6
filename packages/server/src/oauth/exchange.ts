import { type Inspection, type ResultOf, splitScope, type UserApi } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import type { Credentials } from "../authenticate.ts";
import { callMethod, type House, presentedBy } from "../house.ts";
import { loginPrefixes, prefixOf } from "../key.ts";
import { endLogin } from "../people/login.ts";
import { Refusal, unauthenticated } from "../refusal.ts";
import { OAuthError } from "./error.ts";
import type { Endpoint, Form } from "./form.ts";
import { isServer } from "./resource.ts";

/** The grant type of RFC 8693. */
export const EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
/** Also of keys and sessions: with an access token there is nothing to be known of what is inside. */
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const TOKEN_TYPES = [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"];

/**
 * The credential by which a client authenticates: a Bearer token, or a key as the client's secret (RFC 6749 §2.3.1). A
 * header that holds neither is a failed attempt, not none at all.
 * @throws Refusal UNAUTHENTICATED
 */
function credentialOf(request: FastifyRequest, form: Form): string | undefined {
  const { authorization } = presentedBy(request);
  if (authorization === undefined) return form.client_secret;
  const [, scheme, value] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? [];
  if (!scheme || !value) throw unauthenticated("neither Bearer nor Basic");
  return scheme.toLowerCase() === "bearer" ? value : secretOf(value);
}

/** The client's secret in Basic credentials: form-encoded, behind a colon. @throws Refusal UNAUTHENTICATED */
function secretOf(basic: string): string {
  const [, secret] = Buffer.from(basic, "base64").toString("utf8").split(":");
  try {
    if (secret) return decodeURIComponent(secret.replaceAll("+", " "));
  } catch {}
  throw unauthenticated("malformed Basic credentials");
}

/**
 * Exchanges a credential for a token that may do part of what it may (RFC 8693): `token.create`, by the credential in
 * `subject_token`. With an agent's own key besides, as `actor_token` or the client's secret, the subject's token must
 * be one that a user made for that agent, and the new token says that the agent acts for them.
 * @throws Refusal what token.create refuses
 */
export const exchange: Endpoint = async (house, request, form) => {
  const subject = required(form, "subject_token");
  required(form, "subject_token_type");
  for (const name of ["subject_token_type", "actor_token_type", "requested_token_type"])
    if (!TOKEN_TYPES.includes(form[name] ?? ACCESS_TOKEN))
      throw new OAuthError("invalid_request", { says: `${name} must be one of ${TOKEN_TYPES.join(", ")}.` });
  const actor = form.actor_token ?? credentialOf(request, form);
  for (const name of ["audience", "resource"])
    if (!isServer(house.publicUrl, form[name] ?? house.publicUrl))
      throw new OAuthError("invalid_target", { says: `${name} must be ${house.publicUrl}: tokens are for this server alone.` });
  const presented: Credentials = actor === undefined || actor === subject ? bearer(subject) : { ...bearer(actor), subject };
  const params = {
    space: required(form, "space"),
    scope: scopeOf(form),
    ...(form.ttl && { ttlSeconds: secondsOf(form.ttl) }),
    ...(form.may_act && { mayAct: form.may_act }),
  };
  const made = await call(house, request, "token.create", params, presented).catch((thrown: unknown) => {
    // RFC 8693 §2.2.2: a token that is not accepted makes the request invalid.
    if (thrown instanceof Refusal && thrown.code === "UNAUTHENTICATED")
      throw new OAuthError("invalid_request", {
        says: "subject_token or actor_token is invalid, expired, revoked, or not made for this agent.",
      });
    if (thrown instanceof Refusal && thrown.details.issues?.every(({ path }) => path.startsWith("scope")))
      throw new OAuthError("invalid_scope", { says: thrown.message });
    throw thrown;
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

/** Tells whether a token or key is good, and for what (RFC 7662): `token.inspect`, by the credential of the client. */
export const introspect: Endpoint = async (house, request, form) => {
  const told = await call(house, request, "token.inspect", { token: required(form, "token") }, callerOf(request, form));
  return told.active ? claimsOf(house, told) : { active: false };
};

/**
 * Ends what is presented (RFC 7009). A login ends with any of its tokens; all else is `token.revoke`, by the credential of
 * the client, or by the token itself, which is proof enough.
 */
export const revoke: Endpoint = async (house, request, form) => {
  const token = required(form, "token");
  if (([loginPrefixes.access, loginPrefixes.refresh] as (string | undefined)[]).includes(prefixOf(token))) {
    if (!form.client_id) throw new OAuthError("invalid_client");
    await endLogin(house.doors.user.sql, token, form.client_id).finally(() => house.doors.user.feed.doubt());
    return undefined;
  }
  const credential = credentialOf(request, form);
  try {
    await call(
      house,
      request,
      "token.revoke",
      { token },
      credential === undefined ? { ...bearer(token), toEnd: true } : bearer(credential),
    );
  } catch (thrown) {
    // A token that is not good is revoked already (§2.2).
    if (credential !== undefined || !(thrown instanceof Refusal) || thrown.code !== "UNAUTHENTICATED") throw thrown;
  }
  return undefined;
};

const bearer = (credential: string): Credentials => ({ authorization: `Bearer ${credential}` });

const callerOf = (request: FastifyRequest, form: Form): Credentials => {
  const credential = credentialOf(request, form);
  return credential === undefined ? presentedBy(request) : bearer(credential);
};

function secondsOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new OAuthError("invalid_request", { says: "ttl must be a whole number of seconds." });
  return Number(text);
}

function required(form: Form, name: string): string {
  const value = form[name];
  if (!value) throw new OAuthError("invalid_request", { says: `${name} is missing.` });
  return value;
}

/** Calls a method of the user RPC by its one path. @throws Refusal what it was refused with */
async function call<M extends keyof UserApi & string>(
  house: House,
  { id: requestId }: FastifyRequest,
  method: M,
  params: object,
  presented: Credentials,
): Promise<ResultOf<UserApi, M>> {
  return (await callMethod(house.doors.user, { presented, requestId }, method, JSON.stringify(params))) as ResultOf<UserApi, M>;
}

function claimsOf(house: House, { id, principal, act, mayAct, space, scope, resource, expiresAt }: Inspection): object {
  return {
    active: true,
    iss: house.publicUrl,
    aud: house.publicUrl + (resource ?? ""),
    token_type: "Bearer",
    jti: id,
    sub: principal?.id,
    username: principal?.name,
    ...(scope && { scope: scope.join(" ") }),
    ...(space && { space }),
    ...(expiresAt && { exp: Math.floor(Date.parse(expiresAt) / 1000) }),
    ...(act && { act: { sub: act.id } }),
    ...(mayAct && { may_act: { sub: mayAct } }),
  };
}
