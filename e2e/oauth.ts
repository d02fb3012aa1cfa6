import * as oauth from "oauth4webapi";
import { expect } from "vitest";

/** The words of RFC 8693 for what is exchanged, and how. */
export const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
export const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

/** The tests' server speaks HTTP. */
const insecure = { [oauth.allowInsecureRequests]: true };
/** Whoever it is: a key says by itself whose it is. */
const client: oauth.Client = { client_id: "any" };

/** A key as the Bearer of a request, which the library has no word for. */
export const bearer =
  (credential: string): oauth.ClientAuth =>
  (_server, _client, _body, headers) =>
    headers.set("authorization", `Bearer ${credential}`);

/** A server as a client of OAuth knows it. */
const known = (url: string): oauth.AuthorizationServer => ({
  issuer: url,
  token_endpoint: `${url}/api/v1/token`,
  introspection_endpoint: `${url}/api/v1/introspect`,
  revocation_endpoint: `${url}/api/v1/revoke`,
});

/**
 * Exchanges a credential as a standard client does.
 * @throws oauth.ResponseBodyError
 */
export async function exchange(url: string, subject: string, form: Record<string, string>, by = oauth.None()) {
  const sent = { subject_token: subject, subject_token_type: ACCESS_TOKEN, ...form };
  const answer = await oauth.genericTokenEndpointRequest(known(url), client, by, EXCHANGE, sent, insecure);
  return oauth.processGenericTokenEndpointResponse(known(url), client, answer);
}

/** Asks whether a token is good, as a standard client does. @throws oauth.ResponseBodyError, oauth.WWWAuthenticateChallengeError */
export async function introspect(url: string, token: string, by: oauth.ClientAuth) {
  const answer = await oauth.introspectionRequest(known(url), client, by, token, insecure);
  return oauth.processIntrospectionResponse(known(url), client, answer);
}

/** Revokes a token as a standard client does. @throws oauth.ResponseBodyError, oauth.WWWAuthenticateChallengeError */
export async function revoke(url: string, token: string, by: oauth.ClientAuth): Promise<void> {
  await oauth.processRevocationResponse(await oauth.revocationRequest(known(url), client, by, token, insecure));
}

/** What came back for a form. */
interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into every answer
  body: any;
}

/** Posts a form as it is written. */
export async function postForm(
  address: string,
  form: Record<string, string> | string[][] | string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const body = new URLSearchParams(form);
  const answer = await fetch(address, { method: "POST", body, headers });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, body: text === "" ? undefined : JSON.parse(text) };
}

/** A request is refused in the words of OAuth and of Gatehouse, to be kept by nobody, and no secret is repeated. */
export function expectRefusal({ status, headers, text, body }: Answer, error: string, secrets: readonly string[]): void {
  expect({ status, error: body.error }, text).toEqual({ status: 400, error });
  expect(body).toMatchObject({ error_description: expect.stringMatching(/^[\x20-\x7e]+$/), code: expect.stringMatching(/^[A-Z_]+$/) });
  expect(body.requestId).toBe(headers.get("x-request-id"));
  expect(headers.get("cache-control")).toBe("no-store");
  for (const secret of secrets) expect(text).not.toContain(secret);
}
