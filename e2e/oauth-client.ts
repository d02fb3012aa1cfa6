import * as oauth from "oauth4webapi";
import type { TestServer, TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";

const insecure = { [oauth.allowInsecureRequests]: true };
const client: oauth.Client = { client_id: "me" };
const none = oauth.None();
export const REDIRECT = "http://127.0.0.1:5123/callback";
export const SCOPE = "account offline_access";

export type OAuthClient = Awaited<ReturnType<typeof standardClient>>;

/** A client that nobody here has written, which knows of the server what it publishes. */
export async function standardClient({ url }: TestServer) {
  const issuer = new URL(url);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
  return {
    as,
    /** Begins a sign-in. @returns where the person has to go, and what the client keeps */
    async begin(params: Record<string, string> = {}) {
      const verifier = oauth.generateRandomCodeVerifier();
      const state = oauth.generateRandomState();
      const address = new URL(as.authorization_endpoint as string);
      address.search = new URLSearchParams({
        response_type: "code",
        client_id: client.client_id,
        redirect_uri: REDIRECT,
        scope: SCOPE,
        state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        ...params,
      }).toString();
      return { address: address.href, verifier, state };
    },
    /** Takes what came back; state and issuer are checked. @throws what oauth4webapi says is wrong */
    async finish(back: string, { verifier, state }: { verifier: string; state: string }, redirect = REDIRECT, more = {}) {
      const params = oauth.validateAuthResponse(as, client, new URL(back), state);
      const options = { ...insecure, additionalParameters: more };
      const answer = await oauth.authorizationCodeGrantRequest(as, client, none, params, redirect, verifier, options);
      return oauth.processAuthorizationCodeResponse(as, client, answer);
    },
    async refresh(token: string, more = {}) {
      const answer = await oauth.refreshTokenGrantRequest(as, client, none, token, { ...insecure, additionalParameters: more });
      return oauth.processRefreshTokenResponse(as, client, answer);
    },
    async revoke(token: string) {
      return oauth.processRevocationResponse(await oauth.revocationRequest(as, client, none, token, insecure));
    },
    async askDevice() {
      const answer = await oauth.deviceAuthorizationRequest(as, client, none, { scope: SCOPE }, insecure);
      return oauth.processDeviceAuthorizationResponse(as, client, answer);
    },
    async poll(deviceCode: string) {
      return oauth.processDeviceCodeResponse(as, client, await oauth.deviceCodeGrantRequest(as, client, none, deviceCode, insecure));
    },
  };
}

/** What a door says of itself to who comes without a credential (RFC 9728): where to find it is in its challenge. */
export async function resourceBehind(door: string): Promise<string> {
  const { headers } = await fetch(door, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  const metadata = new URL(/resource_metadata="([^"]+)"/.exec(headers.get("www-authenticate") ?? "")?.[1] as string);
  const resource = new URL(metadata.href.replace("/.well-known/oauth-protected-resource", ""));
  return (await oauth.processResourceDiscoveryResponse(resource, await fetch(metadata))).resource;
}

/** Goes where a client sends its person, who signs in where asked, and answers. @returns where that leads */
export async function answerConsent(jar: Jar, address: string, user: TestUser, accept = true): Promise<string> {
  const oauth_query = (page: string) => new URL(page).search.slice(1);
  let page = (await jar.get(address)).headers.get("location") as string;
  if (new URL(page).pathname === "/sign-in") {
    const { email, password } = user;
    page = (await jar.post("/api/auth/sign-in/email", { email, password, oauth_query: oauth_query(page) })).body.url;
  }
  if (new URL(page).pathname !== "/consent") throw new Error(`${page} asks for no consent`);
  return (await jar.post("/api/auth/oauth2/consent", { accept, oauth_query: oauth_query(page) })).body.url;
}

/** Signs a person in to the client, from beginning to end. */
export async function logIn(server: TestServer, oauthClient: OAuthClient, user: TestUser) {
  const kept = await oauthClient.begin();
  return oauthClient.finish(await answerConsent(openJar(server.url), kept.address, user), kept);
}
