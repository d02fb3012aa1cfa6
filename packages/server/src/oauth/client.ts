import type { ResultOf, UserApi } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import type { Credentials } from "../authenticate.ts";
import { callMethod, type House, presentedBy } from "../house.ts";
import { countAttempt } from "../people/limits.ts";
import { unauthenticated } from "../refusal.ts";
import { OAuthError } from "./error.ts";
import { count, type Form } from "./form.ts";

/**
 * The credential by which a client authenticates: a Bearer token, or a key as the client's secret (RFC 6749 §2.3.1). A
 * header that holds neither is a failed attempt, not none at all.
 * @throws Refusal UNAUTHENTICATED
 */
export function credentialOf(request: FastifyRequest, form: Form): string | undefined {
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

export const bearer = (credential: string): Credentials => ({ authorization: `Bearer ${credential}` });

/** A parameter that must be there. @throws OAuthError invalid_request */
export function required(form: Form, name: string): string {
  const value = form[name];
  if (!value) throw new OAuthError("invalid_request", { says: `${name} is missing.` });
  return value;
}

/**
 * Counts a request, once its credential is known to be good: guesses leave nothing in the database, and are counted as such.
 * @param account what is used, where that is counted too
 * @throws OAuthError slow_down
 */
export const countGood = ({ doors }: House, { ip }: FastifyRequest, account?: string): Promise<void> =>
  count(countAttempt(doors.user.sql, "exchange", { address: ip, account }));

/** Calls a method of the user RPC by its one path. @throws Refusal what it was refused with */
export async function call<M extends keyof UserApi & string>(
  house: House,
  { id: requestId }: FastifyRequest,
  method: M,
  params: object,
  presented: Credentials,
): Promise<ResultOf<UserApi, M>> {
  return (await callMethod(house.doors.user, { presented, requestId }, method, JSON.stringify(params))) as ResultOf<UserApi, M>;
}
