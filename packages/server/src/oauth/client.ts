import type { ResultOf, UserApi } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import type { Credentials } from "../authenticate.ts";
import { callMethod, type House, presentedBy } from "../house.ts";
import { countAttempt } from "../people/limits.ts";
import { unauthenticated } from "../refusal.ts";
import { OAuthError } from "./error.ts";
import { count, type Form } from "./form.ts";

/** How a client says which it is, and proves it. */
interface Client {
  id: string | undefined;
  /** A key, as the client's secret, or a Bearer token: it says by itself whose it is. */
  credential: string | undefined;
}

/**
 * The client that sends a request: in the Authorization header (Bearer, or Basic as RFC 6749 §2.3.1 has it), or in the form.
 * A header that holds neither is a failed attempt, not none at all.
 * @throws Refusal UNAUTHENTICATED
 * @throws OAuthError invalid_request where it authenticates twice (§2.3), or by two names
 */
export function clientOf(request: FastifyRequest, { client_id, client_secret }: Form): Client {
  const { authorization } = presentedBy(request);
  if (authorization === undefined) return { id: client_id, credential: client_secret };
  const [, scheme, value] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? [];
  if (!scheme || !value) throw unauthenticated("neither Bearer nor Basic");
  if (client_secret !== undefined)
    throw new OAuthError("invalid_request", { says: "Send the client's secret once: in the Authorization header, or as client_secret." });
  if (scheme.toLowerCase() === "bearer") return { id: client_id, credential: value };
  const { id, secret } = readBasic(value);
  if (client_id !== undefined && client_id !== id)
    throw new OAuthError("invalid_request", { says: "client_id must be the client that the Authorization header names." });
  return { id, credential: secret || undefined };
}

/** Basic credentials (RFC 7617): the id and the secret, each form-encoded (RFC 6749 §2.3.1). @throws Refusal UNAUTHENTICATED */
function readBasic(basic: string): { id: string; secret: string } {
  try {
    const bytes = Buffer.from(basic, "base64");
    if (bytes.toString("base64") !== basic) throw new TypeError("not strict base64");
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const [, id, secret] = /^([^:]+):(.*)$/s.exec(text)?.map((part) => decodeURIComponent(part.replaceAll("+", " "))) ?? [];
    if (id !== undefined && secret !== undefined) return { id, secret };
  } catch {}
  throw unauthenticated("malformed Basic credentials");
}

/**
 * A form with the id of its client, which has no secret: the programs that people sign in to are public clients.
 * @throws OAuthError invalid_client where it comes with one
 */
export function publicForm(request: FastifyRequest, form: Form): Form {
  const { id, credential } = clientOf(request, form);
  if (credential !== undefined)
    throw new OAuthError("invalid_client", { status: 401, says: "This client has no secret. Send client_id alone." });
  return id === undefined ? form : { ...form, client_id: id };
}

/** A credential of a form as one of a header: there, spaces around it would be lost, and here it is not one with them. */
export const bearer = ({ ip }: FastifyRequest, credential: string): Credentials => ({
  authorization: /\s/.test(credential) ? "" : `Bearer ${credential}`,
  address: ip,
});

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
