import { ConfigError, readConfig } from "@gatehouse/server";
import { decodeJwt, generateKeyPair } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { must } from "./changes.ts";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { Issuer } from "./oidc-issuer.ts";
import { until } from "./run.ts";
import { isGood, makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

// Tokens of an issuer that the operator trusts: a real one, that serves its discovery document and its keys.

let issuer: Issuer;
let databaseUrl: string;
let world: TokenWorld;
/** Trusts nobody. */
let plain: TestServer;
let server: TestServer;

const trusting = (more: object = {}, settings: Record<string, string> = {}) => {
  const rules = [
    {
      claims: { sub: "repo:acme/app:*", environment: "production" },
      principal: world.bot.id,
      scope: ["write:tasks:deploy"],
      space: world.space.slug,
    },
    { claims: { sub: "repo:acme/*" }, principal: world.bot.id, scope: ["read:tasks", "write:docs:ci"] },
    { claims: { sub: "ada" }, principal: world.ada.id, scope: ["admin"] },
    { claims: { sub: "nobody" }, principal: crypto.randomUUID(), scope: ["admin"] },
  ];
  const TRUSTED_ISSUERS = JSON.stringify([{ issuer: issuer.url, audience: "gatehouse", rules, ...more }]);
  return startTestServer({ DATABASE_URL: databaseUrl, TRUSTED_ISSUERS, ...settings });
};

beforeAll(async () => {
  databaseUrl = await makeDatabase();
  plain = await startTestServer({ DATABASE_URL: databaseUrl });
  world = await makeTokenWorld(plain);
});
beforeEach(async () => {
  issuer = await Issuer.start();
  server = await trusting();
});
afterEach(async () => {
  vi.useRealTimers();
  await server.close();
  issuer.server.close();
  issuer.server.closeAllConnections();
});
afterAll(() => plain.close());

const may = async (token: string, permission: string, space = world.space.slug) =>
  (await server.call(token, "access.check", { permission }, space)).result?.allowed === true;

test("a token of the issuer is the principal of the first rule that fits, with the scope of that rule", async () => {
  const any = await issuer.token({});
  expect(await must(server, any, "whoami")).toMatchObject({
    id: world.bot.id,
    kind: "a",
    credential: { via: "jwt", scope: ["read:tasks", "write:docs:ci"] },
  });
  expect([await may(any, "read:tasks:x"), await may(any, "write:docs:ci"), await may(any, "write:tasks:deploy")]).toEqual([
    true,
    true,
    false,
  ]);
  const production = await issuer.token({ environment: "production" });
  expect(await must(server, production, "whoami")).toMatchObject({
    credential: { scope: ["write:tasks:deploy"], space: world.space.slug },
  });
  const elsewhere = await must(server, world.ada.session, "space.create", { name: "Elsewhere" });
  expect((await server.call(production, "space.get", {}, elsewhere.slug)).error?.data.code).toBe("NOT_FOUND");
  const adas = await issuer.token({ sub: "ada" });
  expect(await must(server, adas, "whoami")).toMatchObject({ id: world.ada.id, kind: "u" });
  expect(await may(adas, "admin", elsewhere.slug)).toBe(true);
  expect((await server.call(adas, "apiKey.list")).error?.data.reason).toBe("token");
});

const now = () => Math.floor(Date.now() / 1000);

test("a token is taken by the types and within the times that say who calls", async () => {
  for (const typ of [undefined, "JWT", "jwt", "at+jwt", "application/at+jwt"])
    expect(await isGood(server, await issuer.token({}, typ === undefined ? {} : { typ })), String(typ)).toBe(true);
  for (const claims of [{ exp: now() + 86_000 }, { iat: now() + 30 }, { aud: ["gatehouse"] }, { nbf: now() - 1 }])
    expect(await isGood(server, await issuer.token(claims)), JSON.stringify(claims)).toBe(true);
  expect(await isGood(server, await issuer.written(String))).toBe(true);
});

test.each<[string, () => Promise<string>]>([
  ["no rule fits", () => issuer.token({ sub: "repo:other/app" })],
  ["a claim is no text", () => issuer.token({ sub: ["ada"] as never })],
  ["its principal is nobody", () => issuer.token({ sub: "nobody" })],
  ["it is for another audience", () => issuer.token({ aud: "elsewhere" })],
  ["it is for no audience", () => issuer.token({ aud: undefined as never })],
  ["it has expired", () => issuer.token({ exp: Math.floor(Date.now() / 1000) - 10 })],
  ["it never expires", () => issuer.token({ exp: undefined as never })],
  ["it expires after the end of time", () => issuer.token({ exp: 9e15 })],
  ["it is not yet good", () => issuer.token({ nbf: Math.floor(Date.now() / 1000) + 100 })],
  ["it has no subject", () => issuer.token({ sub: undefined as never })],
  ["another issuer signed it", async () => issuer.token({}, {}, (await generateKeyPair("RS256")).privateKey)],
  ["its key is unknown", () => issuer.token({}, { kid: "another" })],
  ["it is not signed", async () => `${btoa('{"alg":"none"}').replaceAll("=", "")}.${(await issuer.token({})).split(".")[1]}.AA`],
  ["it is signed by a text", () => issuer.token({}, { alg: "HS256" }, new TextEncoder().encode("a secret that is long enough to sign"))],
  ["its issuer is another's name", () => issuer.token({ iss: `${issuer.url}/` })],
  ["its type is that of a logout", () => issuer.token({}, { typ: "logout+jwt" })],
  ["its type is that of a security event", () => issuer.token({}, { typ: "secevent+jwt" })],
  ["its type is that of a proof", () => issuer.token({}, { typ: "dpop+jwt" })],
  ["its type is made up", () => issuer.token({}, { typ: "at+jwt+x" })],
  ["it tells of an event, such as a logout", () => issuer.token({ events: { "http://schemas.openid.net/event/backchannel-logout": {} } })],
  ["it is the ID token of a sign-in", () => issuer.token({ nonce: "n" })],
  ["it is the ID token beside an access token", () => issuer.token({ at_hash: "h" })],
  ["it is the ID token beside a code", () => issuer.token({ c_hash: "h" })],
  ["it is for others, too", () => issuer.token({ aud: ["gatehouse", "elsewhere"] })],
  ["it lives longer than a day", () => issuer.token({ exp: now() + 86_460 })],
  ["it has lived longer than a day", () => issuer.token({ iat: now() - 86_400 })],
  ["it is issued in the future", () => issuer.token({ iat: now() + 120, exp: now() + 300 })],
  ["it begins with a BOM", () => issuer.written((json) => `\ufeff${json}`)],
  ["its header begins with a BOM", () => issuer.written(String, (json) => `\ufeff${json}`)],
  ["it says something twice", () => issuer.written((json) => json.replace("{", '{"sub":"ada",'))],
])("no token is accepted of which %s", async (_what, make) => {
  expect((await server.call(await issuer.token({}), "whoami")).status).toBe(200);
  const { status, error } = await server.call(await make(), "whoami");
  expect([status, error?.data.code]).toEqual([401, "UNAUTHENTICATED"]);
});

test("where nobody is trusted, a good token is nothing, and its issuer is not so much as asked", async () => {
  expect((await plain.call(await issuer.token({}), "whoami")).status).toBe(401);
  expect(issuer.requests).toBe(0);
});

test("a new key of the issuer is found, and its old one is forgotten", async () => {
  const before = await issuer.token({});
  expect(await isGood(server, before)).toBe(true);
  await issuer.rotate();
  // jose asks once in half a minute at most: whoever makes keys up can't have the issuer asked more often.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 31_000 });
  expect(await isGood(server, await issuer.token({}))).toBe(true);
  expect(await isGood(server, before)).toBe(false);
  const asked = issuer.requests;
  for (let i = 0; i < 20; i++) expect(await isGood(server, await issuer.token({}, { kid: `made up ${i}` }))).toBe(false);
  expect(issuer.requests).toBe(asked);
});

test("an issuer that is down is nobody, and is known again when it is back", async () => {
  issuer.up = false;
  const token = await issuer.token({});
  expect((await server.call(token, "whoami")).status).toBe(401);
  const { requests } = issuer;
  for (let i = 0; i < 20; i++) expect((await server.call(token, "whoami")).status).toBe(401);
  expect(issuer.requests, "it is not asked again at once").toBe(requests);
  issuer.up = true;
  await until("it is asked again", async () => (await server.call(token, "whoami")).status === 200);
  issuer.up = false;
  expect((await server.call(token, "whoami")).status, "its keys are known by now").toBe(200);
});

test("many tokens at once have the issuer asked once", async () => {
  const token = await issuer.token({});
  await Promise.all(Array.from({ length: 20 }, () => server.call(token, "whoami")));
  expect(issuer.requests).toBeLessThanOrEqual(2);
});

test("a discovery document of another issuer is not believed", async () => {
  issuer.says = "http://127.0.0.1:1";
  expect((await server.call(await issuer.token({}), "whoami")).status).toBe(401);
  const direct = await trusting({ jwksUri: `${issuer.url}/keys` });
  expect((await direct.call(await issuer.token({}), "whoami")).status).toBe(200);
  await direct.close();
});

test("of such a token is minted only what is within its scope, and nothing that outlives it", async () => {
  const now = Math.floor(Date.now() / 1000);
  const token = await issuer.token({ exp: now + 120 });
  const at = { ...world, server };
  const made = await mint(at, token, "read:tasks:support", { ttlSeconds: 3600 });
  expect(decodeJwt(made.token).exp).toBeLessThanOrEqual(now + 120);
  expect(await must(server, made.token, "whoami")).toMatchObject({ id: world.bot.id, credential: { scope: ["read:tasks:support"] } });
  const { error } = await server.call(token, "token.create", {
    space: world.space.slug,
    scope: ["read:tasks", "write:tasks", "read:audit"],
  });
  expect(error?.data).toMatchObject({ reason: "scope", missing: ["write:tasks", "read:audit"] });
  const bound = await issuer.token({ environment: "production" });
  const elsewhere = await must(server, world.ada.session, "space.create", { name: "Elsewhere" });
  expect((await server.call(bound, "token.create", { space: elsewhere.slug, scope: ["read"] })).error?.data.code).toBe("NOT_FOUND");
});

test("such a token can't be revoked here: that is told without asking its issuer, and leaves nothing on record", async () => {
  const token = await issuer.token({});
  const { requests } = issuer;
  const before = (await server.sql`select from audit`).length;
  expect(await must(server, world.ada.session, "token.revoke", { token })).toEqual({});
  expect([issuer.requests, (await server.sql`select from audit`).length]).toEqual([requests, before]);
  expect(await isGood(server, token)).toBe(true);
});

test("what is minted of such a token ends with the rule, also what was minted of that, and what a session gave", async () => {
  const at = { ...world, server };
  await must(server, world.ada.session, "task.register", { task: "deploy" }, world.space.slug);
  const token = await issuer.token({ environment: "production" });
  const first = await mint(at, token, "write:tasks:deploy");
  const second = await mint(at, first.token, "write:tasks:deploy");
  const started = await must(server, token, "session.create", { task: "deploy" }, world.space.slug);
  const made = [first.token, second.token, started.token];
  // The same server, as its operator has started it again.
  const again = { PUBLIC_URL: server.url };
  const goodAt = async (restarted: Promise<TestServer>) => {
    const where = await restarted;
    const good = await Promise.all([world.bot.key, ...made].map((one) => isGood(where, one)));
    await where.close();
    return good;
  };
  expect(await goodAt(trusting({}, again)), "nothing was changed").toEqual([true, true, true, true]);
  expect(await goodAt(trusting({ audience: "elsewhere" }, again))).toEqual([true, false, false, false]);
  expect(await goodAt(trusting({}, { ...again, TRUSTED_ISSUERS: "[]" }))).toEqual([true, false, false, false]);
});

test("a task that was registered by such a token, or by what was minted of it, ends with the rule", async () => {
  const { slug } = await must(server, world.ada.session, "space.create", { name: "Ruled" });
  const token = await issuer.token({ sub: "ada" });
  const { token: minted } = await must(server, token, "token.create", { space: slug, scope: ["admin:tasks"] });
  await must(server, token, "task.register", { task: "direct" }, slug);
  await must(server, minted, "task.register", { task: "minted" }, slug);
  await must(server, world.ada.session, "task.register", { task: "own" }, slug);
  const again = { PUBLIC_URL: server.url };
  const tasksAt = async (restarted: Promise<TestServer>) => {
    const where = await restarted;
    const { tasks } = await must(where, world.ada.session, "task.list", {}, slug);
    const direct = (await where.call(world.ada.session, "task.get", { task: "direct" }, slug)).error?.data.code ?? "ok";
    await where.close();
    return [...tasks.map(({ path }: { path: string }) => path), direct];
  };
  expect(await tasksAt(trusting({}, again)), "nothing was changed").toEqual(["direct", "minted", "own", "ok"]);
  expect(await tasksAt(trusting({ audience: "elsewhere" }, again))).toEqual(["own", "NOT_FOUND"]);
  expect(await tasksAt(trusting({}, { ...again, TRUSTED_ISSUERS: "[]" }))).toEqual(["own", "NOT_FOUND"]);
});

test.each<[string, unknown, RegExp]>([
  ["no JSON", "{", /TRUSTED_ISSUERS: must be JSON/],
  ["no array", "{}", /TRUSTED_ISSUERS: /],
  ["an issuer without rules", [{ issuer: "https://a.example", audience: "a", rules: [] }], /TRUSTED_ISSUERS: /],
  ["no audience", [{ issuer: "https://a.example", rules: [] }], /TRUSTED_ISSUERS: /],
  ["an issuer that is no URL", [{ issuer: "a", audience: "a", rules: [] }], /TRUSTED_ISSUERS: /],
  ["a rule that fits everybody", [ruled({ claims: {} })], /TRUSTED_ISSUERS: must name a claim/],
  ["a principal that is no id", [ruled({ principal: "bot" })], /TRUSTED_ISSUERS: /],
  ["a scope of nothing", [ruled({ scope: [] })], /TRUSTED_ISSUERS: /],
  ["a malformed scope", [ruled({ scope: ["everything"] })], /TRUSTED_ISSUERS: .*write:tasks:support/],
  ["a word that means nothing", [ruled({ scopes: ["read"] })], /TRUSTED_ISSUERS: Unrecognized key/],
])("a configuration with %s is refused, and says why", (_what, value, why) => {
  const TRUSTED_ISSUERS = typeof value === "string" ? value : JSON.stringify(value);
  expect(() => readConfig({ TRUSTED_ISSUERS })).toThrow(ConfigError);
  expect(() => readConfig({ TRUSTED_ISSUERS })).toThrow(why);
});

function ruled(changed: object) {
  const rule = { claims: { sub: "x" }, principal: "01a20247-0438-7b09-b7ba-3482953af193", scope: ["read"], ...changed };
  return { issuer: "https://a.example", audience: "a", rules: [rule] };
}
