import { ClientSecretBasic, ClientSecretPost } from "oauth4webapi";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RPC } from "../packages/server/src/house.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openJar } from "./jar.ts";
import { bearer, exchange, revoke } from "./oauth.ts";
import { answerConsent, logIn, type OAuthClient, REDIRECT, resourceBehind, SCOPE, standardClient } from "./oauth-client.ts";

let server: TestServer;
let client: OAuthClient;
let alice: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  client = await standardClient(server);
  alice = await server.user("Alice");
});
afterAll(() => server.close());
// An address signs in ten times a minute.
const forgetAttempts = () => server.sql`delete from auth.attempts`;

const whoami = async (token: string) => (await server.call(token, "whoami")).result;
const refused = (promise: Promise<unknown>) =>
  promise.then(
    () => "not refused",
    (error) => error.error as string,
  );

test("a standard client signs a person in, from what the server publishes", async () => {
  const tokens = await logIn(server, client, alice);
  expect(tokens.access_token).toMatch(/^me_login_[0-9A-Za-z]{36}$/);
  expect(tokens.refresh_token).toMatch(/^me_refresh_[0-9A-Za-z]{36}$/);
  expect(tokens).toMatchObject({ token_type: "bearer", expires_in: 3600, scope: SCOPE });
  expect(await whoami(tokens.access_token)).toMatchObject({ id: alice.id, kind: "u", credential: { via: "session" } });

  // In person: it may do what no key may.
  expect((await server.call(tokens.access_token, "apiKey.create", { name: "made by a login" })).result).toBeDefined();
});

test("what lies in the database opens nothing", async () => {
  await forgetAttempts();
  const { access_token, refresh_token } = await logIn(server, client, alice);
  const rows =
    await server.sql`select t::text as text from auth."oauthAccessToken" t union all select t::text from auth."oauthRefreshToken" t
    union all select t::text from auth.verification t`;
  expect(rows.length).toBeGreaterThan(1);
  for (const { text } of rows) for (const token of [access_token, refresh_token as string]) expect(text).not.toContain(token.slice(-30));
});

test("consent is asked for each time, and may be refused", async () => {
  await forgetAttempts();
  const jar = openJar(server.url);
  for (const _time of [1, 2]) {
    const kept = await client.begin({ prompt: "none" });
    await client.finish(await answerConsent(jar, kept.address, alice), kept);
  }
  const kept = await client.begin();
  const back = new URL(await answerConsent(jar, kept.address, alice, false));
  expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "access_denied", state: kept.state, iss: server.url });
  await expect(client.finish(back.href, kept)).rejects.toThrow();
});

test("no parameter of a program's, and no page on the way, leads past the question", async () => {
  const client = await standardClient(server);
  const mallory = await server.user("mallory");
  const tried: Record<string, string>[] = [
    { max_age: "1" },
    { prompt: "none" },
    { prompt: "login" },
    { claims: "{}" },
    { request: "e30.e30." },
    { nonce: "x" },
  ];
  for (const more of tried) {
    const { address } = await client.begin(more);
    const signIn = new URL((await openJar(server.url).get(address)).headers.get("location") as string);
    expect([signIn.pathname, signIn.searchParams.get("prompt"), signIn.searchParams.has("max_age")]).toEqual([
      "/sign-in",
      "consent",
      false,
    ]);
    const theirs = openJar(server.url);
    await theirs.signIn(mallory.email, mallory.password);
    // As if a session from before were too old for the program.
    await server.sql`update auth.session set "createdAt" = now() - interval '1 hour' where "userId" = ${mallory.id}`;
    const { body } = await theirs.post("/api/auth/oauth2/consent", { accept: true, oauth_query: signIn.search.slice(1) });
    expect(new URL(body.url).origin).not.toBe(server.url);
  }
});

test("what leads on to a program, and not to the question whether to allow it, is taken by no page", async () => {
  const client = await standardClient(server);
  const person = await server.user("olga");
  const signIn = new URL((await openJar(server.url).get((await client.begin()).address)).headers.get("location") as string);
  for (const change of ["", "login", "none"]) {
    const query = new URLSearchParams(signIn.search);
    query.delete("prompt");
    if (change) query.set("prompt", change);
    const jar = openJar(server.url);
    for (const [path, input] of [
      ["sign-in/email", { email: person.email, password: person.password }],
      ["oauth2/consent", { accept: true }],
      ["sign-in/social", { provider: "corp" }],
      ["passkey/verify-authentication", { response: { id: "x" } }],
    ] as const) {
      const { status, body } = await jar.post(`/api/auth/${path}`, { ...input, oauth_query: query.toString() });
      expect([path, status, body.code]).toEqual([path, 400, "INVALID_PARAMS"]);
      expect(body.detail).toContain("must lead to the question"); // whatever signs it
    }
  }
});

test("a redirect goes to a loopback address of the client, on any port, and nowhere else", async () => {
  const jar = openJar(server.url);
  await forgetAttempts();
  for (const redirect_uri of ["http://127.0.0.1:1/callback", "http://[::1]:65535/callback", "http://127.0.0.1/callback"]) {
    const kept = await client.begin({ redirect_uri });
    const back = await answerConsent(jar, kept.address, alice);
    expect(back.startsWith(redirect_uri)).toBe(true);
    expect((await client.finish(back, kept, redirect_uri)).access_token).toBeDefined();
  }
  for (const redirect_uri of [
    "https://evil.example/callback",
    "http://127.0.0.1:5123/other",
    "http://127.0.0.1:5123/callback/",
    "http://127.0.0.1:5123/callback?x=1",
    "http://127.0.0.1:5123/callback#x",
    "http://127.0.0.1.evil.example/callback",
    "http://user@127.0.0.1:5123/callback",
    "http://localhost:5123/callback",
    "https://127.0.0.1:5123/callback",
    "javascript:alert(1)",
    "",
  ]) {
    const { status, headers } = await jar.get((await client.begin({ redirect_uri })).address);
    expect([status, new URL(headers.get("location") as string).origin], redirect_uri).toEqual([302, server.url]);
    expect(headers.get("location"), redirect_uri).toContain("/sign-in?error=");
  }
});

test("a request that lacks PKCE, or asks for too much, is sent back with an error", async () => {
  const jar = openJar(server.url);
  const wrong: [Record<string, string>, string][] = [
    [{ code_challenge: "", code_challenge_method: "" }, "invalid_request"],
    [{ code_challenge_method: "plain" }, "invalid_request"],
    [{ scope: "everything" }, "invalid_scope"],
    [{ scope: "openid" }, "invalid_scope"],
  ];
  for (const [params, error] of wrong) {
    const kept = await client.begin(params);
    const back = new URL((await jar.get(kept.address)).headers.get("location") as string);
    expect(back.href.startsWith(REDIRECT), JSON.stringify(params)).toBe(true);
    expect(Object.fromEntries(back.searchParams), JSON.stringify(params)).toMatchObject({ error, iss: server.url, state: kept.state });
  }
  const unknown = await jar.get((await client.begin({ client_id: "you" })).address);
  expect(unknown.headers.get("location")).toContain(`${server.url}/sign-in?error=`);
  expect((await jar.get(`${(await client.begin()).address}&state=again`)).status).toBe(400);
});

test("a code is for one time, one verifier, one redirect and one client", async () => {
  await forgetAttempts();
  const jar = openJar(server.url);
  const codeOf = async () => {
    const kept = await client.begin();
    const code = new URL(await answerConsent(jar, kept.address, alice)).searchParams.get("code") as string;
    return { grant_type: "authorization_code", client_id: "me", code, redirect_uri: REDIRECT, code_verifier: kept.verifier };
  };
  const redeem = async (params: Record<string, string>) => (await openJar(server.url).form("/api/v1/token", params)).body;

  const good = await codeOf();
  const { access_token } = await redeem(good);
  expect(await whoami(access_token)).toBeDefined();
  // Redeemed again, it ends what it gave: one of the two is a thief (RFC 6749 §4.1.2).
  expect(await redeem(good)).toMatchObject({ error: "invalid_grant", code: "UNAUTHENTICATED" });
  expect(await whoami(access_token)).toBeUndefined();

  for (const wrong of [{ code_verifier: "a".repeat(43) }, { redirect_uri: "http://127.0.0.1:5124/callback" }, { code: "nobody's" }]) {
    const params = await codeOf();
    expect(await redeem({ ...params, ...wrong }), Object.keys(wrong)[0]).toMatchObject({ error: "invalid_grant" });
  }
  const kept = await codeOf();
  expect(await redeem({ ...kept, client_id: "you" })).toMatchObject({ error: "invalid_client", code: "UNAUTHENTICATED" });
  expect((await redeem(kept)).access_token, "another client does not use it up").toBeDefined();

  const late = await codeOf();
  await server.sql`update auth.verification set "expiresAt" = now()`;
  expect(await redeem(late)).toMatchObject({ error: "invalid_grant" });
});

test("the token endpoint answers in OAuth's own words", async () => {
  const jar = openJar(server.url);
  const token = (params: Record<string, string>) => jar.form("/api/v1/token", params);
  const cases: [Record<string, string>, string, string][] = [
    [{}, "invalid_request", "INVALID_PARAMS"],
    [{ grant_type: "password", username: "x", password: "y" }, "unsupported_grant_type", "INVALID_PARAMS"],
    [{ grant_type: "client_credentials", client_id: "me" }, "unsupported_grant_type", "INVALID_PARAMS"],
    [{ grant_type: "constructor" }, "unsupported_grant_type", "INVALID_PARAMS"],
    [{ grant_type: "authorization_code", client_id: "me" }, "invalid_request", "INVALID_PARAMS"],
    [{ grant_type: "refresh_token", client_id: "me" }, "invalid_request", "INVALID_PARAMS"],
    [{ grant_type: "refresh_token", client_id: "me", refresh_token: "x" }, "invalid_grant", "UNAUTHENTICATED"],
    [{ grant_type: "refresh_token", client_id: "you", refresh_token: "x" }, "invalid_client", "UNAUTHENTICATED"],
  ];
  for (const [params, error, code] of cases) {
    const { status, headers, body } = await token(params);
    expect([status, body], JSON.stringify(params)).toEqual([
      400,
      { error, error_description: expect.any(String), code, requestId: headers.get("x-request-id") },
    ]);
    expect(headers.get("cache-control")).toBe("no-store");
    for (const value of Object.values(params)) expect(body.error_description).not.toContain(` ${value} `);
  }
  const twice = await fetch(`${server.url}/api/v1/token`, {
    method: "POST",
    body: new URLSearchParams("grant_type=refresh_token&grant_type=x"),
  });
  expect(await twice.json()).toMatchObject({ error: "invalid_request" });
  const json = await jar.post("/api/v1/token", { grant_type: "refresh_token" });
  expect([json.status, json.body.error]).toEqual([415, "invalid_request"]);
});

test("a refresh token is good for one time; with a used one, the whole login ends, and no other", async () => {
  await forgetAttempts();
  const [other, stolen] = [await logIn(server, client, alice), await logIn(server, client, alice)];
  const first = await client.refresh(stolen.refresh_token as string);
  const second = await client.refresh(first.refresh_token as string);
  for (const { access_token } of [stolen, first, second]) expect(await whoami(access_token)).toBeDefined();
  expect(new Set([stolen, first, second].map(({ refresh_token }) => refresh_token)).size).toBe(3);

  expect(await refused(client.refresh(first.refresh_token as string))).toBe("invalid_grant");
  expect(await refused(client.refresh(second.refresh_token as string))).toBe("invalid_grant");
  for (const { access_token } of [stolen, first, second]) expect(await whoami(access_token)).toBeUndefined();
  expect(await whoami(other.access_token)).toBeDefined();
  expect((await client.refresh(other.refresh_token as string)).access_token).toBeDefined();
});

test.each([2, 2, 2, 8])("of %i who refresh with one token at once, one gets another, and nothing of the login is left", async (many) => {
  await forgetAttempts();
  const login = await logIn(server, client, alice);
  const tries = await Promise.allSettled(Array.from({ length: many }, () => client.refresh(login.refresh_token as string)));
  const won = tries.filter((tried) => tried.status === "fulfilled");
  expect(won).toHaveLength(1);
  expect(await whoami(login.access_token)).toBeUndefined();
  expect(await whoami(won[0]?.value.access_token as string)).toBeUndefined();
  expect(await refused(client.refresh(won[0]?.value.refresh_token as string))).toBe("invalid_grant");
});

test("either token ends the whole login; ending it again, or what was never there, is no error", async () => {
  await forgetAttempts();
  for (const which of ["access_token", "refresh_token"] as const) {
    const login = await logIn(server, client, alice);
    const next = await client.refresh(login.refresh_token as string);
    await client.revoke(next[which] as string);
    for (const { access_token } of [login, next]) expect(await whoami(access_token), which).toBeUndefined();
    expect(await refused(client.refresh(next.refresh_token as string))).toBe("invalid_grant");
    await client.revoke(next[which] as string);
  }
  await client.revoke("me_login_nobody");
  expect((await openJar(server.url).form("/api/v1/revoke", { client_id: "me" })).body.error).toBe("invalid_request");
});

test("a client without a secret ends its own logins, and is told when one is another's", async () => {
  await forgetAttempts();
  const jar = openJar(server.url);
  const revoke = async (params: Record<string, string>) => {
    const { status, body } = await jar.form("/api/v1/revoke", params);
    return [status, body.error];
  };
  const { body: other } = await jar.post("/api/v1/register", { redirect_uris: [REDIRECT], client_name: "Another" });
  for (const which of ["access_token", "refresh_token"] as const) {
    const mine = await logIn(server, client, alice);
    const token = mine[which] as string;
    expect(await revoke({ token, client_id: "you" })).toEqual([400, "invalid_client"]);
    expect(await revoke({ token, client_id: other.client_id })).toEqual([400, "invalid_grant"]);
    expect(await whoami(mine.access_token), which).toBeDefined();
    // Who has the token needs no name.
    expect(await revoke({ token })).toEqual([200, undefined]);
    expect(await whoami(mine.access_token), which).toBeUndefined();
    for (const client_id of ["me", other.client_id]) expect(await revoke({ token, client_id })).toEqual([200, undefined]);
    expect(await revoke({ token, client_id: "you" })).toEqual([400, "invalid_client"]);
  }
});

test.each(["access_token", "refresh_token"] as const)("a client with a secret of the person's ends a login by its %s", async (which) => {
  await forgetAttempts();
  const { id, key } = (await server.call(alice.session, "apiKey.create", { name: which })).result;
  const bob = await server.user("Bob");
  const theirs = (await server.call(bob.session, "apiKey.create", { name: which })).result.key;
  for (const by of [ClientSecretBasic, ClientSecretPost, bearer]) {
    const login = await logIn(server, client, alice);
    const token = login[which] as string;
    await revoke(server.url, token, by(theirs));
    expect(await whoami(login.access_token)).toBeDefined();
    await expect(revoke(server.url, token, by("me_pat_x"))).rejects.toThrow();
    expect(await whoami(login.access_token)).toBeDefined();
    await revoke(server.url, token, by(key));
    expect(await whoami(login.access_token)).toBeUndefined();
    expect(await refused(client.refresh(login.refresh_token as string))).toBe("invalid_grant");
    await revoke(server.url, token, by(key));
  }
  const recorded = await server.sql`
    select from audit where method = 'token.revoke' and actor_id = ${alice.id} and credential_id = ${id} and target is not null`;
  expect(recorded).toHaveLength(3);
});

test.each([...Object.keys(RPC), "/api/v1/sessions", "/"])(
  "a client that begins at %s signs in for the resource that it is told of, and comes in",
  async (path) => {
    await forgetAttempts();
    // No door is at the server's bare address, which clients write with a slash.
    const resource = path === "/" ? `${server.url}/` : await resourceBehind(server.url + path);
    expect(resource).toBe(RPC[path] || path === "/" ? server.url + path : server.url);
    const kept = await client.begin({ resource });
    const tokens = await client.finish(await answerConsent(openJar(server.url), kept.address, alice), kept, REDIRECT, { resource });
    const next = await client.refresh(tokens.refresh_token as string, { resource });
    for (const { access_token } of [tokens, next]) expect((await whoami(access_token)).id).toBe(alice.id);
    const { slug } = (await server.call(next.access_token, "space.create", { name: "Home" })).result;
    expect((await server.call(next.access_token, "space.get", {}, slug)).result).toMatchObject({ slug });
    for (const name of ["resource", "audience"]) {
      const made = await exchange(server.url, next.access_token, { space: slug, scope: "read", [name]: resource });
      expect((await whoami(made.access_token)).credential).toMatchObject({ space: slug });
    }
  },
);

test("what is for the door for programs, or for another server, is not for the command line", async () => {
  await forgetAttempts();
  const { access_token, refresh_token } = await logIn(server, client, alice);
  const others = ["/mcp", "//", "/api/v1", "/api/v1/user/rpc/"].map((path) => server.url + path);
  for (const resource of [...others, "http://127.0.0.1.evil.example", "https://elsewhere.example/api/v1/user/rpc"]) {
    const jar = openJar(server.url);
    const back = (await jar.get((await client.begin({ resource })).address)).headers.get("location") as string;
    expect(new URL(back).searchParams.get("error"), resource).toBe("invalid_target");
    expect(await refused(client.refresh(refresh_token as string, { resource })), resource).toBe("invalid_target");
    expect(await refused(exchange(server.url, access_token, { space: "0".repeat(12), scope: "read", resource }))).toBe("invalid_target");
  }
  expect((await client.refresh(refresh_token as string)).access_token).toBeDefined();
});

test.each(["token.revoke", "/api/v1/revoke"])(
  "a session that is revoked by %s takes along what was signed in by it, as signing out does",
  async (how) => {
    const client = await standardClient(server);
    const person = await server.user("nina");
    const jar = openJar(server.url);
    const token = (await jar.signIn(person.email, person.password)).headers.get("set-auth-token") as string;
    const loggedIn = async (scope: string) => {
      const kept = await client.begin({ scope });
      return client.finish(await answerConsent(jar, kept.address, person), kept);
    };
    const [passing, staying] = [await loggedIn("account"), await loggedIn(SCOPE)];
    if (how === "token.revoke") expect((await server.call(token, how, { token })).error).toBeUndefined();
    else expect((await jar.form(how, { token })).status).toBe(200);
    const statuses = await Promise.all([token, passing.access_token, staying.access_token].map((one) => server.call(one, "whoami")));
    expect(statuses.map(({ status }) => status)).toEqual([401, 401, 200]);
  },
);

test("a login that asked to stay outlives the session it was allowed in, and expires by itself", async () => {
  await forgetAttempts();
  const guest = openJar(server.url);
  const brief = await client.begin({ scope: "account" });
  const { access_token, refresh_token } = await client.finish(await answerConsent(guest, brief.address, alice), brief);
  expect([refresh_token, (await whoami(access_token)).id]).toEqual([undefined, alice.id]);
  await guest.post("/api/auth/sign-out", {});
  expect(await whoami(access_token)).toBeUndefined();

  const jar = openJar(server.url);
  const kept = await client.begin();
  const tokens = await client.finish(await answerConsent(jar, kept.address, alice), kept);
  await jar.post("/api/auth/sign-out", {});
  expect(await jar.whoami()).toBeUndefined();
  expect(await whoami(tokens.access_token)).toBeDefined();

  await server.sql`update auth."oauthAccessToken" set "expiresAt" = now()`;
  expect(await whoami(tokens.access_token)).toBeUndefined();
  const fresh = await client.refresh(tokens.refresh_token as string);
  expect(await whoami(fresh.access_token)).toBeDefined();
  await server.sql`update auth."oauthRefreshToken" set "expiresAt" = now()`;
  expect(await refused(client.refresh(fresh.refresh_token as string))).toBe("invalid_grant");
});

test("every wrong login token is the same 401, and one without the scope `account` opens nothing", async () => {
  await forgetAttempts();
  const kept = await client.begin({ scope: "offline_access" });
  const { access_token } = await client.finish(await answerConsent(openJar(server.url), kept.address, alice), kept);
  const perfect = (await logIn(server, client, alice)).access_token;
  const flipped = perfect.slice(0, -1) + (perfect.endsWith("a") ? "b" : "a");
  const answers = await Promise.all(
    [access_token, flipped, `me_login_${"0".repeat(36)}`, "me_login_"].map(async (token) => {
      const { status, error } = await server.call(token, "whoami");
      return JSON.stringify([status, error?.code, error?.message]);
    }),
  );
  expect(new Set(answers).size).toBe(1);
  expect(answers[0]).toContain("401");
});

test("nothing of better-auth is reachable but what is listed", async () => {
  const { auth } = await import("../packages/server/src/people/auth.ts").then(({ createAuth }) =>
    createAuth({ address: server.databaseUrl, secret: server.secret, publicUrl: server.url, cookieOrigins: [] }),
  );
  const open = new Set<string>();
  const jar = openJar(server.url);
  await forgetAttempts();
  await jar.signIn(alice.email, alice.password);
  for (const endpoint of Object.values(auth.api) as { path?: string; options?: { method?: string | string[] } }[]) {
    if (!endpoint.path) continue;
    const path = endpoint.path.replace(/:\w+/g, "x");
    for (const method of [endpoint.options?.method ?? "GET"].flat()) {
      const { body, status } = method === "GET" ? await jar.get(`/api/auth${path}`) : await jar.post(`/api/auth${path}`, {});
      const nothing = status === 404 && String(body.detail).startsWith("There is nothing at this address");
      // Of better-auth's methods at an address of ours, one may be closed.
      if (!nothing && status !== 405) open.add(`${method} ${endpoint.path}`);
    }
  }
  expect([...open].sort()).toMatchInlineSnapshot(`
    [
      "GET /callback/:id",
      "GET /device",
      "GET /get-session",
      "GET /oauth2/authorize",
      "GET /passkey/generate-authenticate-options",
      "GET /passkey/generate-register-options",
      "GET /passkey/list-user-passkeys",
      "POST /device/approve",
      "POST /device/code",
      "POST /device/deny",
      "POST /link-social",
      "POST /oauth2/consent",
      "POST /passkey/delete-passkey",
      "POST /passkey/update-passkey",
      "POST /passkey/verify-authentication",
      "POST /passkey/verify-registration",
      "POST /request-password-reset",
      "POST /reset-password",
      "POST /revoke-other-sessions",
      "POST /send-verification-email",
      "POST /sign-in/email",
      "POST /sign-in/social",
      "POST /sign-out",
      "POST /sign-up/email",
      "POST /unlink-account",
    ]
  `);
});
