import { type ResultOf, splitScope, type UserApi } from "@gatehouse/protocol";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;
let bot: { id: string; key: string };
let pat: string;

beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  slug = (await must("space.create", { name: "Acme" })).slug;
  const agent = await must("agent.create", { name: "bot" });
  bot = { id: agent.id, key: (await must("apiKey.create", { name: "bot", agent: agent.id })).key };
  await inSpace(ada.session, "principal.add", { principal: agent.id });
  await inSpace(ada.session, "access.grant", { principal: agent.id, permission: "write:tasks:support" });
  pat = (await must("apiKey.create", { name: "laptop" })).key;
});
afterAll(() => server.close());

async function must<M extends keyof UserApi & string>(method: M, params: object, credential = ada.session): Promise<ResultOf<UserApi, M>> {
  const { result, error } = await server.call(credential, method, params);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result as ResultOf<UserApi, M>;
}

async function inSpace(credential: string, method: string, params: object = {}) {
  return server.call(credential, method, params, slug);
}

const mint = (credential: string, scope: string, more: object = {}) =>
  must("token.create", { space: slug, scope: splitScope(scope), ...more }, credential);

test("a token is an at+jwt of EdDSA that says whom it speaks for, where, and what it may do", async () => {
  const { id, token, expiresAt } = await mint(bot.key, "write:tasks:support", { ttlSeconds: 900 });
  const { keys } = (await (await fetch(`${server.url}/.well-known/jwks.json`)).json()) as { keys: { kid: string; d?: string }[] };
  const { kid, ...header } = decodeProtectedHeader(token);
  expect(header).toEqual({ alg: "EdDSA", typ: "at+jwt" });
  expect(keys.map((key) => key.kid)).toContain(kid);
  expect(keys.every(({ d }) => d === undefined)).toBe(true);
  const { iat, exp, client_id, ...claims } = decodeJwt(token);
  expect(claims).toEqual({ iss: server.url, aud: server.url, sub: bot.id, jti: id, space: slug, scope: "write:tasks:support" });
  expect((exp as number) - (iat as number)).toBe(900);
  expect(Date.parse(expiresAt)).toBe((exp as number) * 1000);
});

test("a token calls, as its principal, within its scope and in its space alone", async () => {
  const { token } = await mint(bot.key, "write:tasks:support/billing");
  const me = await must("whoami", {}, token);
  expect(me).toMatchObject({ id: bot.id, kind: "a", credential: { via: "jwt", scope: ["write:tasks:support/billing"], space: slug } });
  const check = async (permission: string) => (await inSpace(token, "access.check", { permission })).result;
  expect(await check("write:tasks:support/billing")).toEqual({ allowed: true });
  expect(await check("write:tasks:support")).toEqual({ allowed: false });
  const elsewhere = await must("space.create", { name: "Other" });
  const { token: adas } = await mint(pat, "admin");
  expect((await server.call(adas, "space.get", {}, elsewhere.slug)).error?.data.code).toBe("NOT_FOUND");
  expect((await server.call(adas, "space.list")).result).toMatchObject({ spaces: [{ slug }] });
});

test("what the credential lacks is refused with all that is missing, and nothing is cut in silence", async () => {
  const { error } = await server.call(bot.key, "token.create", {
    space: slug,
    scope: ["write:tasks:support", "read:tasks:other", "admin:tasks:support"],
  });
  expect(error?.data).toMatchObject({ code: "FORBIDDEN", reason: "scope", missing: ["read:tasks:other", "admin:tasks:support"] });
});

test("the largest scope makes a token that is good; a larger one is refused, not minted", async () => {
  // Of 63 characters each but the first, and the spaces between them.
  const largest = Array.from({ length: 64 }, (_, i) => `read:tasks:${String(i).padStart(i === 0 ? 53 : 52, "t")}`);
  expect(largest.join(" ")).toHaveLength(4096);
  const { token } = await mint(ada.session, largest.join(" "));
  expect((await must("whoami", {}, token)).credential.scope).toHaveLength(64);
  const { error } = await server.call(ada.session, "token.create", { space: slug, scope: [`${largest[0]}t`, ...largest.slice(1)] });
  expect(error).toMatchObject({ message: expect.stringContaining("at most 4096 characters"), data: { code: "INVALID_PARAMS" } });
});

test("a token is exchanged for a narrower and shorter one, never for a wider or longer one", async () => {
  const wide = await mint(bot.key, "write:tasks:support", { ttlSeconds: 60 });
  const narrow = await mint(wide.token, "read:tasks:support", { ttlSeconds: 3600 });
  expect(Date.parse(narrow.expiresAt)).toBeLessThanOrEqual(Date.parse(wide.expiresAt));
  expect((await server.call(narrow.token, "token.create", { space: slug, scope: ["write:tasks:support"] })).error?.data).toMatchObject({
    reason: "scope",
    layer: "token",
  });
  await must("token.revoke", { token: wide.token }, bot.key);
  expect((await server.call(narrow.token, "whoami")).error?.data.code).toBe("UNAUTHENTICATED");
});

test("a token dies with the key it came from", async () => {
  const key = await must("apiKey.create", { name: "short", agent: bot.id });
  const { token } = await mint(key.key, "read:tasks:support");
  expect((await server.call(token, "whoami")).error).toBeUndefined();
  await must("apiKey.delete", { id: key.id });
  expect((await server.call(token, "whoami")).error?.data.code).toBe("UNAUTHENTICATED");
});

test("a token opens nothing of the account, and makes nothing that would outlive it", async () => {
  const { token } = await mint(ada.session, "admin");
  expect((await server.call(token, "agent.list")).error?.data.reason).toBe("token");
  expect((await inSpace(token, "access.grant", { principal: bot.id, permission: "read:docs" })).error?.data.reason).toBe("token");
});

test("an agent acts for a user by a token that the user made for it, with the layers of both", async () => {
  const { token: subject } = await mint(pat, "write:tasks", { mayAct: bot.id });
  expect((await server.call(subject, "whoami")).error?.data.code, "good for nothing by itself").toBe("UNAUTHENTICATED");
  const exchange = (form: Record<string, string>) =>
    fetch(`${server.url}/api/v1/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: subject,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
        space: slug,
        ...form,
      }),
    });
  const answer = await exchange({ actor_token: bot.key, scope: "write:tasks:support" });
  const made = (await answer.json()) as { access_token: string };
  expect(answer.status, JSON.stringify(made)).toBe(200);
  const me = await must("whoami", {}, made.access_token);
  expect(me).toMatchObject({ id: ada.id, kind: "u", act: { id: bot.id, name: "bot" } });
  const over = await exchange({ actor_token: bot.key, scope: "write:tasks:other" });
  expect([over.status, await over.json()]).toMatchObject([400, { error: "invalid_scope", missing: ["write:tasks:other"] }]);
  const alone = await exchange({ scope: "write:tasks:support" });
  expect([alone.status, await alone.json()]).toMatchObject([400, { error: "invalid_request" }]);
});

test("a space's service calls by a secret key: everything of its tasks and sessions, nothing of an account", async () => {
  const { result } = (await inSpace(ada.session, "secretKey.create", { name: "backend" })) as { result: { id: string; key: string } };
  expect(result.key).toMatch(/^me_secret_/);
  const me = await must("whoami", {}, result.key);
  expect(me).toMatchObject({ kind: "s", email: null, owner: null, credential: { via: "secret_key", space: slug } });
  const check = async (permission: string) => (await inSpace(result.key, "access.check", { permission })).result;
  expect(await check("admin:tasks:anything")).toEqual({ allowed: true });
  expect(await check("write:sessions")).toEqual({ allowed: true });
  expect(await check("read:members")).toEqual({ allowed: false });
  expect((await server.call(result.key, "agent.list")).error?.data.reason).toBe("user-only");
  const { token } = await mint(result.key, "write:tasks:support");
  await inSpace(ada.session, "secretKey.revoke", { id: result.id });
  expect((await server.call(token, "whoami")).error?.data.code).toBe("UNAUTHENTICATED");
});
