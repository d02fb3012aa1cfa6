import type { Inspection } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import { lineInPerson } from "../budgets.ts";
import { retried } from "../change.ts";
import { type House, presentedBy } from "../house.ts";
import { loginPrefixes, prefixOf } from "../key.ts";
import { endLogin, loginOf } from "../people/login.ts";
import { Refusal } from "../refusal.ts";
import { bearer, call, clientOf, countGood, required } from "./client.ts";
import { OAuthError } from "./error.ts";
import type { Endpoint } from "./form.ts";
import { mustBeClient } from "./login.ts";

/** Tells whether a token or key is good, and for what (RFC 7662): `token.inspect`, by the credential of the client. */
export const introspect: Endpoint = async (house, request, form) => {
  const token = required(form, "token");
  const { credential } = clientOf(request, form);
  const caller = credential === undefined ? presentedBy(request) : bearer(request, credential);
  await house.doors.user.authenticate(caller);
  await countGood(house, request);
  const told = await call(house, request, "token.inspect", { token }, caller);
  return told.active ? claimsOf(house, told) : { active: false };
};

/**
 * Ends what is presented (RFC 7009): `token.revoke`, by the credential of the client, or by the token itself, which is
 * proof enough. A login ends with any of its tokens; a client without a secret ends none of another's.
 */
export const revoke: Endpoint = async (house, request, form) => {
  const token = required(form, "token");
  const { id, credential } = clientOf(request, form);
  const prefix = prefixOf(token);
  if (credential === undefined && (prefix === loginPrefixes.access || prefix === loginPrefixes.refresh)) {
    await endAsClient(house, request, token, id);
    return undefined;
  }
  const caller = credential === undefined ? { ...bearer(request, token), toEnd: true as const } : bearer(request, credential);
  try {
    await house.doors.user.authenticate(caller);
    await call(house, request, "token.revoke", { token }, caller);
  } catch (thrown) {
    // A token that is not good is revoked already (§2.2).
    if (credential !== undefined || !(thrown instanceof Refusal) || thrown.code !== "UNAUTHENTICATED") throw thrown;
    request.wrongCredential = true;
  }
  return undefined;
};

/** @throws Refusal RATE_LIMITED; OAuthError invalid_client; invalid_grant where the login is another client's (RFC 7009 §2.1) */
async function endAsClient(house: House, request: FastifyRequest, token: string, client: string | undefined): Promise<void> {
  const { sql, feed } = house.doors.user;
  if (client !== undefined) await mustBeClient(house, client);
  const login = await house.guesses.lookUp(request.ip, () => loginOf(sql, token), "revocation");
  if (!login) {
    request.wrongCredential = true;
    return;
  }
  if (client !== undefined && client !== login.client)
    throw new OAuthError("invalid_grant", { says: "This login is another client's. Send the client_id that it was made for, or none." });
  await retried(() => endLogin(sql.as(lineInPerson(login.person), { urgent: true }), login.id)).finally(() => feed.doubt());
}

function claimsOf(house: House, { id, principal, session, act, mayAct, space, scope, resource, expiresAt }: Inspection): object {
  return {
    active: true,
    iss: house.publicUrl,
    aud: house.publicUrl + (resource ?? ""),
    token_type: "Bearer",
    jti: id,
    // As in the token itself: whoever made a browser's token is not who brings it.
    sub: principal?.id ?? session,
    ...(principal && { username: principal.name }),
    ...(scope && { scope: scope.join(" ") }),
    ...(space && { space }),
    ...(expiresAt && { exp: Math.floor(Date.parse(expiresAt) / 1000) }),
    ...(act && { act: { sub: act.id } }),
    ...(mayAct && { may_act: { sub: mayAct } }),
  };
}
