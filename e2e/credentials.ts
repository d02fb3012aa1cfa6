import { exchangeToken } from "@gatehouse/client";
import { type CallerKind, type CredentialKind, parsePermission } from "@gatehouse/protocol";
import type { Actor } from "../packages/server/src/actor.ts";
import { deadKeys, deadTokens } from "./dead.ts";
import { forgeTokens } from "./forged.ts";
import type { TestServer, TestUser } from "./harness.ts";

/** One way of knocking: what is sent, and who that proves the caller to be, if anyone. */
export interface Credential {
  headers: Record<string, string>;
  actor?: Actor;
}

/** The settings of a server on which the cookie of one other web origin is good, and another may call with a Bearer token alone. */
export const ORIGINS = { COOKIE_ORIGINS: "https://console.example.com", ALLOWED_ORIGINS: "https://app.example.com" };
const LIMIT = "read";

/** Where credentials are made: a space of the user's, with an agent on its roster. */
export interface Place {
  server: TestServer;
  user: TestUser;
  space: string;
  agent: string;
  /** Calls as the user; inside the space where the method is one of its RPC. */
  // biome-ignore lint/suspicious/noExplicitAny: results of every method
  must(method: string, params: object, inSpace?: true): Promise<any>;
  makeKey(name: string, rest?: object): Promise<{ id: string; key: string }>;
  makeSecret(name: string, rest?: object): Promise<{ id: string; key: string }>;
  /** Mints a token by a credential. */
  mint(credential: string, more?: object): Promise<string>;
  /** The token of a session that is started by a credential. */
  browser(credential: string): Promise<{ id: string; token: string }>;
  /** By the agent with that key, for the user. */
  actFor(subject: string, key: string): Promise<string>;
  signIn(): Promise<{ cookie: string; token: string }>;
}

const scopeOf = (session: string) => [`read:sessions:${session}`, `write:sessions:${session}`].map(parsePermission);

const bearer = (token: string, actor?: Actor): Credential => ({ headers: { authorization: `Bearer ${token}` }, ...(actor && { actor }) });

/** Makes every kind of credential, good and bad, for one user, that user's agents, and the service of a space of theirs. By name. */
export async function makeCredentials(
  server: TestServer,
  user: TestUser,
): Promise<{ space: string; credentials: Record<string, Credential> }> {
  const place = await makePlace(server, user);
  const { agent, space, must, makeKey, makeSecret, mint, actFor, signIn } = place;
  const { service } = await serviceOf(place);
  const ids = { u: user.id, a: agent, s: service };
  const limited = (text?: string) => (text === undefined ? null : [parsePermission(text)]);
  /** Who a credential proves the caller to be. */
  const actor = (kind: CallerKind, via: CredentialKind, ceiling?: string): Actor => ({
    principal: { id: ids[kind], kind, name: "", email: null },
    owner: kind === "a" ? { id: user.id, kind: "u", name: "" } : null,
    credential: { via, id: "", expiresAt: null, ceiling: limited(ceiling), ...(kind === "s" && { space }) },
  });
  /** The same by a token that was minted from it. */
  const byToken = (from: Actor): Actor => ({
    ...from,
    credential: { ...from.credential, via: "jwt", scope: [parsePermission(LIMIT)], space },
  });

  const [pat, agents, secret] = [await makeKey("pat"), await makeKey("agent", { agent }), await makeSecret("secret")];
  const limitedPat = await makeKey("pat, ceiling", { ceiling: [LIMIT] });
  const [rotated, rotatedSecret] = [await makeKey("rotated"), await makeSecret("rotated")];
  await must("apiKey.rotate", { id: rotated.id, overlapHours: 1 });
  await must("secretKey.rotate", { id: rotatedSecret.id, overlapHours: 1 }, true);
  const { cookie } = await signIn();
  const fromPat = await mint(pat.key);
  const own = { origin: server.url };
  const session = actor("u", "session");
  const acting = { principal: { id: agent, name: "" }, owner: { id: user.id, kind: "u" as const, name: "" }, ceiling: null };

  const makers = [
    ["session", user.session, session],
    ["PAT", pat.key, actor("u", "pat")],
    ["agent key", agents.key, actor("a", "agent_key")],
    ["secret key", secret.key, actor("s", "secret_key")],
  ] as const;
  const browsers = await Promise.all(
    makers.map(async ([by, key, maker]) => {
      const { id, token } = await place.browser(key);
      const credential = {
        via: "browser_token",
        id: "",
        expiresAt: null,
        ceiling: null,
        scope: scopeOf(id),
        space,
        onlySession: id,
      } as const;
      return [`browser's token, made by ${by}`, bearer(token, { ...maker, credential })] as const;
    }),
  );
  const forged = Object.entries(await forgeTokens(server, fromPat, service));
  const dead = { ...(await deadKeys(place)), ...(await deadTokens(place)) };
  const credentials: Record<string, Credential> = {
    "no credential": { headers: {} },
    "scheme not Bearer": { headers: { authorization: `Token ${user.session}` } },
    "Bearer without token": { headers: { authorization: "Bearer" } },
    "cookie, foreign origin": { headers: { cookie, origin: "https://elsewhere.example" } },
    "cookie, no origin": { headers: { cookie } },
    "cookie, origin for Bearer tokens": { headers: { cookie, origin: ORIGINS.ALLOWED_ORIGINS } },
    "cookie, origin null": { headers: { cookie, origin: "null" } },
    "bad key and good cookie": { headers: { authorization: `Bearer ${dead["key, revoked"]}`, cookie, ...own } },
    "bad token and good cookie": { headers: { authorization: `Bearer ${dead["revoked token"]}`, cookie, ...own } },
    ...Object.fromEntries(Object.entries(dead).map(([name, token]) => [name, bearer(token)])),
    ...Object.fromEntries(forged.map(([flaw, token]) => [`token: ${flaw}`, bearer(token)])),

    session: bearer(user.session, session),
    "lower-case bearer": { headers: { authorization: `bearer ${user.session}` }, actor: session },
    "cookie, own origin": { headers: { cookie, ...own }, actor: session },
    "cookie, cookie origin": { headers: { cookie, origin: ORIGINS.COOKIE_ORIGINS }, actor: session },
    PAT: bearer(pat.key, actor("u", "pat")),
    "PAT, ceiling": bearer(limitedPat.key, actor("u", "pat", LIMIT)),
    "rotated PAT, in overlap": bearer(rotated.key, actor("u", "pat")),
    "agent key": bearer(agents.key, actor("a", "agent_key")),
    "agent key, ceiling": bearer((await makeKey("agent, ceiling", { agent, ceiling: [LIMIT] })).key, actor("a", "agent_key", LIMIT)),
    "secret key": bearer(secret.key, actor("s", "secret_key")),
    "secret key, ceiling": bearer((await makeSecret("ceiling", { ceiling: ["read:tasks"] })).key, actor("s", "secret_key", "read:tasks")),
    "rotated secret key, in overlap": bearer(rotatedSecret.key, actor("s", "secret_key")),
    "token of session": bearer(await mint(user.session), byToken(session)),
    "token of PAT": bearer(fromPat, byToken(actor("u", "pat"))),
    "token of PAT, ceiling": bearer(await mint(limitedPat.key), byToken(actor("u", "pat", LIMIT))),
    "token of agent key": bearer(await mint(agents.key), byToken(actor("a", "agent_key"))),
    "token of secret key": bearer(await mint(secret.key, { scope: ["read:tasks"] }), {
      ...byToken(actor("s", "secret_key")),
      credential: { ...actor("s", "jwt").credential, scope: [parsePermission("read:tasks")], space },
    }),
    "token of token": bearer(await mint(fromPat), byToken(actor("u", "pat"))),
    ...Object.fromEntries(browsers),
    "token, agent for user": bearer(await actFor(await mint(pat.key, { mayAct: agent }), agents.key), {
      ...byToken(actor("u", "pat")),
      act: acting,
    }),
  };
  return { space, credentials };
}

async function makePlace(server: TestServer, user: TestUser): Promise<Place> {
  const must = async (method: string, params: object, slug?: string) => {
    const { result, error } = await server.call(user.session, method, params, slug);
    if (!result) throw new Error(`${method}: ${error?.message}`);
    return result;
  };
  const { slug: space } = await must("space.create", { name: "home" });
  const { id: agent } = await must("agent.create", { name: "holder of keys" });
  await must("principal.add", { principal: agent }, space);
  for (const permission of [LIMIT, "write:tasks:chat"]) await must("access.grant", { principal: agent, permission }, space);
  return {
    server,
    user,
    space,
    agent,
    must: (method, params, inSpace) => must(method, params, inSpace && space),
    makeKey: (name, rest = {}) => must("apiKey.create", { name, ...rest }),
    makeSecret: (name, rest = {}) => must("secretKey.create", { name, ...rest }, space),
    async mint(credential, more = {}) {
      const { result, error } = await server.call(credential, "token.create", { space, scope: [LIMIT], ...more });
      if (!result) throw new Error(`token.create: ${error?.message}`);
      return result.token;
    },
    async browser(credential) {
      const { result, error } = await server.call(credential, "session.create", { task: "chat" }, space);
      if (!result) throw new Error(`session.create: ${error?.message}`);
      return { id: result.session.id, token: result.token };
    },
    actFor: async (subject, key) =>
      (await exchangeToken({ server: server.url, credential: key }, { subject, space, scope: [LIMIT] })).token,
    async signIn() {
      const body = JSON.stringify({ email: user.email, password: user.password });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${server.url}/api/auth/sign-in/email`, { method: "POST", headers, body });
      const cookie = answer.headers.get("set-cookie")?.split(";")[0];
      const token = answer.headers.get("set-auth-token");
      if (!cookie || !token) throw new Error(`sign-in answered ${answer.status}`);
      return { cookie, token };
    },
  };
}

/** The service of the space: it is there from its first key on. */
async function serviceOf({ server, makeSecret }: Place): Promise<{ service: string }> {
  const { key } = await makeSecret("first");
  return { service: (await server.call(key, "whoami")).result.id };
}
