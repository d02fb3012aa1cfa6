import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { type Jar, openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { SCOPE, standardClient } from "./oauth-client.ts";
import { Issuer } from "./oidc-issuer.ts";
import { makeHome, me, until } from "./run.ts";

let corp: Awaited<ReturnType<typeof openProvider>>;
let box: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
beforeAll(async () => {
  corp = await openProvider();
  box = await openMailbox();
  server = await startTestServer({ ...box.settings, ...corp.settings({ domains: ["corp.example"] }) });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await corp.close();
  await box.close();
});

const person = (sub: string, email: string, more: object = {}) =>
  Object.assign(corp.state, { person: { sub, email, email_verified: true, name: "Mallory", ...more } });

/** What the account page sends, to connect the account that somebody has at the provider. */
const connecting = { callbackURL: "/account?done=connected", errorCallbackURL: "/account", disableRedirect: true };

/** Signs in by the provider, following where it leads. @returns where that is */
async function byCorp(jar: Jar, more: object = {}, path = "/sign-in/social"): Promise<URL> {
  const begun = await jar.post(`/api/auth${path}`, {
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

test("who has an account already, of the same address, does not get into it by the provider until they have connected the two", async () => {
  const grace = await server.user("Grace");
  await server.sql`update auth."user" set email = 'grace@corp.example' where id = ${grace.id}`;
  person("2", "grace@corp.example");
  const jar = openJar(server.url);
  const back = await byCorp(jar);
  expect([back.pathname, back.searchParams.get("error")]).toEqual(["/sign-in", "account_not_linked"]);
  expect(await jar.whoami()).toBeUndefined();

  expect((await jar.signIn("grace@corp.example", grace.password)).status).toBe(200);
  expect((await byCorp(jar, connecting, "/link-social")).search).toBe("?done=connected");
  const again = openJar(server.url);
  await byCorp(again);
  expect((await again.get("/api/auth/get-session")).body.user).toMatchObject({ id: grace.id, name: "Grace" });
  // Somebody else there, to whom the address has passed, is somebody else here.
  person("2b", "grace@corp.example");
  const other = openJar(server.url);
  expect((await byCorp(other)).searchParams.get("error")).toBe("account_not_linked");
  expect(await other.whoami()).toBeUndefined();
});

test("whoever signed up with the address and never confirmed it keeps nobody from the account", async () => {
  const thief = await server.user("Thief");
  await server.sql`update auth."user" set email = 'heidi@corp.example', "emailVerified" = false where id = ${thief.id}`;
  // One who is refused takes nobody's place.
  person("50", "heidi@corp.example", { email_verified: false });
  await byCorp(openJar(server.url));
  expect(await server.sql`select from auth."user" where id = ${thief.id}`).toHaveLength(1);
  person("50", "heidi@corp.example", { name: "Heidi" });
  const jar = openJar(server.url);
  expect((await byCorp(jar)).pathname).toBe("/account");
  expect((await jar.get("/api/auth/get-session")).body.user).toMatchObject({ email: "heidi@corp.example", name: "Heidi" });
  expect((await openJar(server.url).signIn("heidi@corp.example", thief.password)).status).toBe(401);
  expect((await server.call(thief.session, "whoami")).status).toBe(401);
});

test("a person is told of an account that is connected, again after a new password, and disconnects it", async () => {
  const liz = await server.user("Liz");
  const email = "liz@corp.example";
  await server.sql`update auth."user" set email = ${email} where id = ${liz.id}`;
  const [jar, thief] = [openJar(server.url), openJar(server.url)];
  await thief.signIn(email, liz.password);
  person("60", email);
  const since = (ago: string) => server.sql`update auth.session set "createdAt" = now() - ${ago}::interval where "userId" = ${liz.id}`;
  await since("1 day");
  const stale = await thief.post("/api/auth/link-social", { provider: "corp", ...connecting });
  expect([stale.status, stale.body.detail]).toEqual([403, expect.stringContaining("fresh sign-in")]);
  await since("23 hours");
  await byCorp(thief, connecting, "/link-social");
  const mail = (about: string) =>
    until(`there is mail: ${about}`, () => box.mails.find(({ to, text }) => to === email && text.replace(/\s+/g, " ").includes(about)));
  await mail("Whoever signs in with your account at Corp comes in as you");

  box.mails.length = 0;
  await jar.post("/api/auth/request-password-reset", { email });
  await jar.post("/api/auth/reset-password", { newPassword: "a new password, quite long", token: await box.token(email) });
  await mail("1 connected accounts at other providers");
  await jar.signIn(email, "a new password, quite long");
  const page = (await jar.get("/account")).body as string;
  const [, id = ""] = /data-disconnect="([^"]+)"/.exec(page) ?? [];
  const karl = await server.user("Karl");
  const others = openJar(server.url);
  await others.signIn(karl.email, karl.password);
  const away = (by: Jar) => by.post("/api/auth/unlink-account", { id });
  expect((await openJar(server.url).post("/api/auth/unlink-account", { id })).status).toBe(401);
  expect((await away(others)).status).not.toBe(200);
  expect((await away(jar)).status).toBe(200);
  const again = openJar(server.url);
  expect((await byCorp(again)).searchParams.get("error")).toBe("account_not_linked");
  expect(await again.whoami()).toBeUndefined();
});

test("the only account by which somebody comes in is not disconnected, and making it is no news to them", async () => {
  person("61", "mia@corp.example");
  const jar = openJar(server.url);
  await byCorp(jar);
  const [, id] = /data-disconnect="([^"]+)"/.exec((await jar.get("/account")).body) ?? [];
  const refused = await jar.post("/api/auth/unlink-account", { id });
  expect([refused.status, refused.body.detail]).toEqual([409, expect.stringContaining("choose a password by mail first")]);
  await jar.post("/api/auth/request-password-reset", { email: "mia@corp.example" });
  const first = await until("there is mail", () => box.mails.find(({ to }) => to === "mia@corp.example"));
  expect(first.text).toContain("/reset-password");
  expect(first.text).not.toContain("Corp");
});

test("nobody connects an account of another address, or one that is somebody's already", async () => {
  const [judy, karl] = [await server.user("Judy"), await server.user("Karl")];
  await server.sql`update auth."user" set email = 'judy@corp.example' where id = ${judy.id}`;
  const jar = openJar(server.url);
  expect((await jar.post("/api/auth/link-social", { provider: "corp", ...connecting })).status).toBe(401);
  await jar.signIn(karl.email, karl.password);
  person("20", "judy@corp.example");
  expect((await byCorp(jar, connecting, "/link-social")).searchParams.get("error")).toBe("email_does_not_match");
  await jar.signIn("judy@corp.example", judy.password);
  person("1", "judy@corp.example");
  expect((await byCorp(jar, connecting, "/link-social")).searchParams.get("error")).toBe("account_already_linked_to_different_user");
  expect(await server.sql`select from auth.account where "userId" in (${judy.id}, ${karl.id}) and "providerId" = 'corp'`).toHaveLength(0);
});

test("an account that was bound to a subject alone is bound to the issuer of its provider, once", async () => {
  person("30", "lea@corp.example");
  await byCorp(openJar(server.url));
  const account = () => server.sql`select "accountId", "userId" from auth.account where "providerId" = 'corp' and "accountId" ~ '(^| )30$'`;
  const [bound] = await account();
  expect(bound?.accountId).toMatch(/^http:\/\/127\.0\.0\.1:\d+ 30$/);
  await server.sql`update auth.account set "accountId" = '30' where "userId" = ${bound?.userId}`;
  for (let starts = 0; starts < 2; starts++)
    await (await startTestServer({ ...corp.settings(), PORT: "0", DATABASE_URL: server.databaseUrl })).close();
  expect(await account()).toEqual([bound]);
});

test.each([
  ["an address that the provider has not confirmed", "4", "ivan@corp.example", { email_verified: false }],
  ["an address elsewhere", "5", "judy@elsewhere.example", {}],
  ["an address that only looks like it", "6", "judy@evil-corp.example", {}],
  ["an address below it", "7", "judy@sub.corp.example", {}],
  ["an address with an escape sequence", "8", "\u001b[2Jmallory@corp.example", {}],
  ["an address of two lines", "9", "mallory\n@corp.example", {}],
  ["an address with a line after it", "10", "mallory@corp.example\n", {}],
  ["an address with what can't be seen", "11", "mal\u202elory@corp.example", {}],
  ["an address with two @", "12", "a@evil@corp.example", {}],
  ["an address with a quoted @", "13", '"a@evil"@corp.example', {}],
  ["an address without a name", "14", "@corp.example", {}],
  ["an address of a domain with a path", "15", "a@corp.example/evil", {}],
  ["an address of a domain with a port", "15b", "a@corp.example:25", {}],
  ["an address of a domain with a dot too many", "16", "a@corp.example.", {}],
  ["an address that is too long", "17", `${"a".repeat(250)}@corp.example`, {}],
  ["an address with a letter that is another one in small letters", "17b", "mar\u212a@corp.example", {}],
  ["an address that is not text", "18", 7 as unknown as string, {}],
  ["a subject that is too long", "s".repeat(256), "nina@corp.example", {}],
  ["a subject with a space", "http://127.0.0.1 1", "nina@corp.example", {}],
])("%s does not come in", async (_what, sub, email, more) => {
  person(sub, email, more);
  const jar = openJar(server.url);
  const back = await byCorp(jar);
  expect([back.pathname, Boolean(back.searchParams.get("error"))]).toEqual(["/sign-in", true]);
  expect(await jar.whoami()).toBeUndefined();
  expect(await server.sql`select from auth."user" where email = ${String(email).toLowerCase()}`).toHaveLength(0);
  expect(await server.sql`select from auth.account where right("accountId", ${sub.length + 1}) = ${` ${sub}`}`).toHaveLength(0);
});

test("a person is taken with a name that can be shown, without a picture, and with the domain in its one form", async () => {
  person("40", "Oda@CORP.example", { name: "\u001b[31mOda\n", picture: "javascript:alert(1)" });
  await byCorp(openJar(server.url));
  person("41", "paul@ｃｏｒｐ.example", { name: "x".repeat(500) });
  await byCorp(openJar(server.url));
  expect(
    await server.sql`select name, email, image from auth."user" where email like 'oda@%' or email like 'paul@%' order by email`,
  ).toEqual([
    { name: "oda", email: "oda@corp.example", image: null },
    { name: "paul", email: "paul@corp.example", image: null },
  ]);
});

test("a provider that says it is another issuer, or gives no ID token that is for this server and now, signs nobody in", async () => {
  const hostile = await Issuer.start();
  const settings = (issuer: string) => ({
    OIDC_PROVIDERS: JSON.stringify([{ id: "corp", name: "Corp", issuer, clientId: "gatehouse", clientSecret: "hush" }]),
  });
  const at = await startTestServer(settings(hostile.url));
  try {
    const enter = async () => {
      await at.sql`delete from auth.attempts`;
      const jar = openJar(at.url);
      const begun = await jar.post("/api/auth/sign-in/social", { provider: "corp", callbackURL: "/account", errorCallbackURL: "/sign-in" });
      const asked = await fetch(begun.body.url, { redirect: "manual" });
      await jar.get(asked.headers.get("location") as string);
      return jar.whoami();
    };
    hostile.person = { email: "u@corp.example", name: "U" };
    expect(await enter()).toBe("u@corp.example");
    Object.assign(hostile, { person: { ...hostile.person, aud: ["gatehouse"], azp: "gatehouse" }, header: { typ: "JWT" } });
    expect(await enter(), "said in other ways that are as good").toBe("u@corp.example");
    const now = Math.floor(Date.now() / 1000);
    for (const [claims, header] of [
      [{ azp: "another" }, {}],
      [{ aud: ["gatehouse", "another"], azp: "gatehouse" }, {}],
      [{ aud: ["gatehouse", "another"], azp: "another" }, {}],
      [{ iat: now + 3600, exp: now + 7200 }, {}],
      [{ iat: undefined }, {}],
      [{}, { typ: "at+jwt" }],
      [{}, { typ: "logout+jwt" }],
    ] as const) {
      Object.assign(hostile, { person: { email: "v@corp.example", ...claims }, header });
      expect(await enter(), JSON.stringify([claims, header])).toBeUndefined();
    }
    hostile.header = {};
    for (const [person, says] of [
      [{ email: "v@corp.example", iss: "https://accounts.elsewhere.example" }, hostile.url],
      [{ email: "v@corp.example", aud: "another" }, hostile.url],
      [{ email: "v@corp.example", nonce: "another" }, hostile.url],
      [{ email: "v@corp.example", sub: undefined }, hostile.url],
      [{ email: "v@corp.example", emailVerified: true, email_verified: false }, hostile.url],
      [undefined, hostile.url],
    ] as const) {
      Object.assign(hostile, { person, says });
      expect(await enter(), JSON.stringify(person)).toBeUndefined();
    }
  } finally {
    await at.close();
  }
  // Asked anew, it names another issuer in its discovery document, and signs for that.
  Object.assign(hostile, { says: "https://accounts.elsewhere.example", person: { email: "w@corp.example" } });
  const next = await startTestServer(settings(hostile.url));
  try {
    const jar = openJar(next.url);
    const begun = await jar.post("/api/auth/sign-in/social", { provider: "corp", callbackURL: "/account", errorCallbackURL: "/sign-in" });
    const asked = await fetch(begun.body.url, { redirect: "manual" });
    const back = await jar.get(asked.headers.get("location") as string);
    expect(back.headers.get("location")).toContain("error=");
    expect(await jar.whoami()).toBeUndefined();
  } finally {
    await next.close();
    hostile.server.close();
  }
});

test("where to go on is an address as browsers write it: anything else is refused, and no fault of the server", async () => {
  const jar = openJar(server.url);
  for (const path of ["/ünïcode", "/a\nb", "/a b", "/\u0000", "/\ud800", "/日本"])
    for (const name of ["callbackURL", "errorCallbackURL"])
      expect((await jar.post("/api/auth/sign-in/social", { provider: "corp", [name]: path })).body, `${name} ${path}`).toMatchObject({
        status: 400,
        code: "INVALID_PARAMS",
      });
  const long = await jar.post("/api/auth/sign-in/social", { provider: "corp", callbackURL: `/${"x".repeat(20_000)}` });
  expect(long.body).toMatchObject({ status: 413, code: "PAYLOAD_TOO_LARGE" });
  expect((await jar.post("/api/auth/sign-in/social", { provider: "corp", callbackURL: "/%C3%BC?x=%0A" })).status).toBe(200);
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
