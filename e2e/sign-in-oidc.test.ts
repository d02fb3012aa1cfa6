import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { type Jar, openJar } from "./jar.ts";
import { SCOPE, standardClient } from "./oauth-client.ts";
import { makeHome, me } from "./run.ts";

let corp: Awaited<ReturnType<typeof openProvider>>;
let server: TestServer;
beforeAll(async () => {
  corp = await openProvider();
  server = await startTestServer(corp.settings({ domains: ["corp.example"] }));
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await corp.close();
});

const person = (sub: string, email: string, more: object = {}) =>
  Object.assign(corp.state, { person: { sub, email, email_verified: true, name: "Mallory", ...more } });

/** Signs in by the provider, following where it leads. @returns where that is */
async function byCorp(jar: Jar, more: object = {}): Promise<URL> {
  const begun = await jar.post("/api/auth/sign-in/social", {
    provider: "corp",
    callbackURL: "/account",
    errorCallbackURL: "/sign-in",
    ...more,
  });
  expect(begun.status, JSON.stringify(begun.body)).toBe(200);
  let next = new URL(begun.body.url);
  const atCorp = openJar(next.origin);
  while (next.origin !== server.url) next = new URL((await atCorp.get(next.href)).headers.get("location") as string, next);
  expect(next.pathname).toBe("/api/auth/callback/corp");
  const back = await jar.get(next.href);
  expect(back.status).toBe(302);
  return new URL(back.headers.get("location") as string, server.url);
}

test("a person comes in by the provider, with PKCE and a nonce, and has an account with that address", async () => {
  person("1", "Ada@corp.example", { name: "Ada" });
  const jar = openJar(server.url);
  expect((await byCorp(jar)).pathname).toBe("/account");
  expect(corp.state.asked).toMatchObject({
    code_challenge_method: "S256",
    nonce: expect.stringMatching(/.{16,}/),
    state: expect.any(String),
  });
  expect(await jar.whoami()).toBe("ada@corp.example");
  const again = openJar(server.url);
  await byCorp(again);
  expect(await again.whoami()).toBe("ada@corp.example");
  const users = await server.sql`select u.id, u.name, u."emailVerified", p.kind from auth."user" u join principals p on p.id = u.id`;
  expect(users).toMatchObject([{ name: "Ada", emailVerified: true, kind: "u" }]);
  expect(
    await server.sql`select from auth.account where "accessToken" is not null or "refreshToken" is not null or "idToken" is not null`,
  ).toHaveLength(0);
});

test("in the middle of signing a program in, it leads on to consent", async () => {
  person("1", "ada@corp.example");
  const client = await standardClient(server);
  const { address } = await client.begin();
  const jar = openJar(server.url);
  const signInPage = new URL((await jar.get(address)).headers.get("location") as string);
  const next = await byCorp(jar, { oauth_query: signInPage.search.slice(1) });
  expect([next.pathname, next.searchParams.get("scope")]).toEqual(["/consent", SCOPE]);
  const done = await jar.post("/api/auth/oauth2/consent", { accept: true, oauth_query: next.search.slice(1) });
  expect(new URL(done.body.url).searchParams.get("code")).toBeTruthy();
});

test("who has an account already gets into it, if both sides have confirmed the address", async () => {
  const grace = await server.user("Grace");
  await server.sql`update auth."user" set email = 'grace@corp.example' where id = ${grace.id}`;
  person("2", "grace@corp.example");
  const jar = openJar(server.url);
  await byCorp(jar);
  expect((await jar.get("/api/auth/get-session")).body.user).toMatchObject({ id: grace.id, name: "Grace" });
  expect((await openJar(server.url).signIn("grace@corp.example", grace.password)).status).toBe(200);

  const heidi = await server.user("Heidi");
  await server.sql`update auth."user" set email = 'heidi@corp.example', "emailVerified" = false where id = ${heidi.id}`;
  person("3", "heidi@corp.example");
  const other = openJar(server.url);
  expect((await byCorp(other)).searchParams.get("error")).toBe("account_not_linked");
  expect(await other.whoami()).toBeUndefined();
});

test.each([
  ["an address that the provider has not confirmed", "4", "ivan@corp.example", { email_verified: false }],
  ["an address elsewhere", "5", "judy@elsewhere.example", {}],
  ["an address that only looks like it", "6", "judy@evil-corp.example", {}],
  ["an address below it", "7", "judy@sub.corp.example", {}],
])("%s does not come in", async (_what, sub, email, more) => {
  person(sub, email, more);
  const jar = openJar(server.url);
  const back = await byCorp(jar);
  expect([back.pathname, Boolean(back.searchParams.get("error"))]).toEqual(["/sign-in", true]);
  expect(await jar.whoami()).toBeUndefined();
  expect(await server.sql`select from auth."user" where email = ${email}`).toHaveLength(0);
});

test("a callback that was not asked for, or is another browser's, signs nobody in", async () => {
  person("1", "ada@corp.example");
  const [hers, his] = [openJar(server.url), openJar(server.url)];
  const begun = await hers.post("/api/auth/sign-in/social", { provider: "corp", callbackURL: "/account" });
  let next = new URL(begun.body.url);
  const atCorp = openJar(next.origin);
  while (next.origin !== server.url) next = new URL((await atCorp.get(next.href)).headers.get("location") as string, next);
  expect((await his.get(next.href)).headers.get("location")).toContain("error=");
  expect(await his.whoami()).toBeUndefined();
  expect((await his.get("/api/auth/callback/corp?code=x&state=y")).headers.get("location")).toContain("error=");
  expect((await his.get("/api/auth/callback/nobody?code=x&state=y")).headers.get("location")).toContain("error=");
});

test("nobody is led to another site, and an unknown provider is none", async () => {
  const jar = openJar(server.url);
  for (const callbackURL of ["https://evil.example/", "//evil.example/", "/\\evil.example"])
    expect((await jar.post("/api/auth/sign-in/social", { provider: "corp", callbackURL })).body).toMatchObject({
      status: 400,
      code: "INVALID_PARAMS",
    });
  expect((await jar.post("/api/auth/sign-in/social", { provider: "github", callbackURL: "/" })).body).toMatchObject({
    status: 404,
    code: "NOT_FOUND",
  });
});

test("a provider that hangs keeps nobody else out", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  const issuer = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const OIDC_PROVIDERS = JSON.stringify([{ id: "silent", name: "Silent", issuer, clientId: "x", clientSecret: "y" }]);
  const other = await startTestServer({ OIDC_PROVIDERS });
  try {
    const judy = await other.user("Judy");
    expect((await openJar(other.url).signIn(judy.email, judy.password)).status).toBe(200);
    expect((await other.call(judy.session, "whoami")).result.id).toBe(judy.id);
  } finally {
    await other.close();
    silent.close();
  }
});

test("a wrong setting is named, and its secret is not", async () => {
  for (const OIDC_PROVIDERS of [
    "{",
    "[{}]",
    JSON.stringify([{ id: "UPPER", name: "x", issuer: "ftp://x", clientId: "c", clientSecret: "hush-hush" }]),
  ]) {
    const { code, stderr } = await me(await makeHome({ OIDC_PROVIDERS }), ["up"]);
    expect(code).toBe(1);
    expect(stderr).toContain("OIDC_PROVIDERS:");
    expect(stderr).not.toContain("hush-hush");
  }
  const { stderr } = await me(await makeHome({ SMTP_URL: "smtp://127.0.0.1" }), ["up"]);
  expect(stderr).toContain("SMTP_URL, MAIL_FROM: set both");
});
