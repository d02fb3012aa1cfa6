import { connect, GatehouseError, serverAddress, strange } from "@gatehouse/client";
import * as oauth from "oauth4webapi";
import { CliError } from "../exit.ts";
import { word } from "../output.ts";
import type { Login } from "../store.ts";

/** The command line, as every server knows it: a public client, without a secret (RFC 8252, section 8.4). */
const ME: oauth.Client = { client_id: "me" };
const SCOPE = "account offline_access";
const METADATA = "/.well-known/oauth-authorization-server";
const TIMEOUT_MS = 10_000;
/** The share of a token's life after which the next one is asked for. */
const RIPE = 0.8;

/** A server's endpoints for signing in. */
export type Authority = oauth.AuthorizationServer;

/**
 * What a server publishes of how to sign in to it (RFC 8414).
 * @throws GatehouseError, as everything here; CliError when the server goes by another address
 */
export async function findAuthority(server: string): Promise<Authority> {
  const authority = await asked(server, async () => {
    // Beneath the path that the server is served beneath, as all its addresses, and not before it: the rest of the host may be others'.
    const answer = await connect({ server }, `${server}${METADATA}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return oauth.processDiscoveryResponse(new URL(server), answer);
  });
  for (const [name, address] of Object.entries(authority)) if (name.endsWith("_endpoint")) mustBeOwn(server, name, address);
  return authority;
}

/**
 * Refuses an address that is not of the server itself: what it publishes could otherwise have a login sent to somebody else, or
 * a program started in place of the browser, as by `file:` or `search-ms:`.
 */
function mustBeOwn(server: string, name: string, address: unknown): void {
  const own = new URL(server);
  const named = typeof address === "string" ? URL.parse(address) : null;
  // Not `origin`: that of `blob:http://host/…` is http://host.
  if (named?.protocol === own.protocol && named.host === own.host) return;
  throw new GatehouseError(
    "BAD_ANSWER",
    `${server} names a ${name} that is not one of its own addresses. Nothing was opened or sent. Check the address of the server.`,
  );
}

/** A sign-in in the browser, under way: authorization code with PKCE (OAuth 2.1, RFC 7636). */
export interface Started {
  /** Where the browser has to go. */
  url: URL;
  /** Tells this sign-in from any other in the address that the browser comes back to. */
  state: string;
  /** Takes the login for the code in that address. @throws CliError when the person refused */
  finish(cameBack: URL): Promise<Login>;
}

/** Starts a sign-in that ends at `redirectUri`. @throws CliError when the server has none in the browser */
export async function startInBrowser(authority: Authority, redirectUri: string): Promise<Started> {
  const { issuer, authorization_endpoint } = authority;
  if (authorization_endpoint === undefined) throw new CliError("error", `${issuer} has no sign-in in the browser. Try: me login --device`);
  const [verifier, state, url] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), new URL(authorization_endpoint)];
  const challenge = await oauth.calculatePKCECodeChallenge(verifier);
  for (const [name, value] of Object.entries({
    response_type: "code",
    client_id: ME.client_id,
    redirect_uri: redirectUri,
    scope: SCOPE,
    state,
    code_challenge: challenge,
    code_challenge_method: "S256",
  }))
    url.searchParams.set(name, value);
  const finish = (cameBack: URL) =>
    asked(issuer, async () => {
      const given = oauth.validateAuthResponse(authority, ME, cameBack, state);
      const answer = await oauth.authorizationCodeGrantRequest(authority, ME, oauth.None(), given, redirectUri, verifier, options(issuer));
      return toLogin(await oauth.processAuthorizationCodeResponse(authority, ME, answer));
    });
  return { url, state, finish };
}

/** Asks for a code that a person enters on any device (RFC 8628). */
export const startOnDevice = (authority: Authority): Promise<oauth.DeviceAuthorizationResponse> =>
  asked(authority.issuer, async () => {
    const answer = await oauth.deviceAuthorizationRequest(authority, ME, oauth.None(), { scope: SCOPE }, options(authority.issuer));
    const made = await oauth.processDeviceAuthorizationResponse(authority, ME, answer);
    mustBeOwn(authority.issuer, "verification_uri", made.verification_uri);
    mustBeOwn(authority.issuer, "verification_uri_complete", made.verification_uri_complete ?? made.verification_uri);
    return made;
  });

/** Asks whether the code was entered. @throws GatehouseError whose `oauth` says what the server waits for */
export const pollDevice = (authority: Authority, deviceCode: string): Promise<Login> =>
  asked(authority.issuer, async () => {
    const answer = await oauth.deviceCodeGrantRequest(authority, ME, oauth.None(), deviceCode, options(authority.issuer));
    return toLogin(await oauth.processDeviceCodeResponse(authority, ME, answer));
  });

/** Changes a refresh token for the next login. The token is spent then, whether or not the answer arrives. */
export async function refresh(server: string, refreshToken: string): Promise<Login> {
  const authority = await findAuthority(server);
  return asked(server, async () => {
    const answer = await oauth.refreshTokenGrantRequest(authority, ME, oauth.None(), refreshToken, options(server));
    return { refreshToken, ...toLogin(await oauth.processRefreshTokenResponse(authority, ME, answer)) };
  });
}

/** Ends a login on the server (RFC 7009): its access tokens, and all that could be refreshed. */
export async function revoke(server: string, refreshToken: string): Promise<void> {
  const authority = await findAuthority(server);
  await asked(server, async () => {
    const more = { ...options(server), additionalParameters: { token_type_hint: "refresh_token" } };
    await oauth.processRevocationResponse(await oauth.revocationRequest(authority, ME, oauth.None(), refreshToken, more));
  });
}

/** What an OAuth error is called (`invalid_grant`, `slow_down`, …), whichever answer brought it. */
export const oauthError = (error: unknown): string | undefined => {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof oauth.ResponseBodyError || cause instanceof oauth.AuthorizationResponseError ? cause.error : undefined;
};

/** Plain HTTP is for who named it. */
const options = (server: string) => ({
  [oauth.allowInsecureRequests]: server.startsWith("http:"),
  [oauth.customFetch]: (address: string, init: object) => connect({ server }, address, init),
  signal: () => AbortSignal.timeout(TIMEOUT_MS),
});

function toLogin({ access_token, refresh_token, expires_in }: oauth.TokenEndpointResponse): Login {
  const after = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();
  return {
    token: access_token,
    expiresAt: expires_in === undefined ? null : after(expires_in),
    ...(expires_in !== undefined && { refreshAt: after(expires_in * RIPE) }),
    ...(refresh_token !== undefined && { refreshToken: refresh_token }),
  };
}

/** Runs a conversation with the server's OAuth endpoints; whatever goes wrong becomes an error of the client's one class. */
async function asked<T>(server: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof GatehouseError) throw cause;
    if (cause instanceof oauth.ResponseBodyError) {
      const said = cause.cause as { code?: GatehouseError["code"]; requestId?: string };
      throw new GatehouseError(
        said.code ?? "BAD_ANSWER",
        cause.error_description ?? cause.error,
        said.requestId === undefined ? {} : { requestId: said.requestId },
        { cause },
      );
    }
    if (cause instanceof oauth.AuthorizationResponseError)
      throw new GatehouseError("FORBIDDEN", cause.error_description ?? `The sign-in was refused (${cause.error}).`, {}, { cause });
    const { cause: about } = cause as { cause?: { status?: number; attribute?: string; body?: { issuer?: string } } };
    if (about?.attribute === "issuer") {
      const issuer = addressIn(about.body?.issuer);
      if (issuer !== undefined)
        throw new CliError("usage", `${server} goes by the address ${issuer}. Use that one: me login --server ${word(issuer)}`);
    }
    if (about?.status === 429)
      throw new GatehouseError("RATE_LIMITED", "Too many requests from this address. Wait a minute.", {}, { cause });
    // In JSON a Gatehouse says so itself; anything else comes from what stands between.
    if (about instanceof Response && about.status >= 500 && !about.headers.get("content-type")?.includes("json"))
      throw strange({ server }, about);
    if (Number(about?.status) >= 500)
      throw new GatehouseError("UNAVAILABLE", `${server} can't sign anybody in just now. Try again in a moment.`, {}, { cause });
    throw new GatehouseError(
      "BAD_ANSWER",
      `${server} did not answer as a Gatehouse does when it signs people in. Check the address.`,
      {},
      { cause },
    );
  }
}

function addressIn(said: string | undefined): string | undefined {
  try {
    return serverAddress(String(said));
  } catch {
    return undefined; // such as javascript:, or with a line of its own behind it: not to be shown
  }
}
