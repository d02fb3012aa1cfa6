import { ClientSecretBasic, ClientSecretPost, WWWAuthenticateChallengeError } from "oauth4webapi";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { bearer, exchange, introspect, postForm, revoke } from "./oauth.ts";
import { isGood, makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

// Whether a token is good (RFC 7662), and its end (RFC 7009), by a client that knows nothing of Gatehouse.

let server: TestServer;
let world: TokenWorld;
let other: TokenWorld;
beforeAll(async () => {
  server = await startTestServer();
  [world, other] = [await makeTokenWorld(server), await makeTokenWorld(server)];
});
afterAll(() => server.close());

const ways = { client_secret_basic: ClientSecretBasic, client_secret_post: ClientSecretPost, Bearer: bearer };

/** What is asked about, by whom, and whether they are told. Each is a world's own. */
const asked: Record<string, { token: (of: TokenWorld) => Promise<string> | string; by: (of: TokenWorld) => string; told: boolean }> = {
  "a token, by itself": { token: () => adas, by: () => adas, told: true },
  "a token, by the key it came from": { token: () => adas, by: ({ pat }) => pat.key, told: true },
  "a token, by its user's session": { token: () => adas, by: ({ ada }) => ada.session, told: true },
  "a key, by itself": { token: ({ pat }) => pat.key, by: ({ pat }) => pat.key, told: true },
  "a session, by its user's key": { token: ({ ada }) => ada.session, by: ({ pat }) => pat.key, told: true },
  "an agent's key, by its owner": { token: ({ bot }) => bot.key, by: ({ pat }) => pat.key, told: true },
  "an agent's token, by its owner": {
    token: async (of) => (await mint(of, of.bot.key, "read")).token,
    by: ({ pat }) => pat.key,
    told: true,
  },
  "an agent's token, by somebody else's": {
    token: async (of) => (await mint(of, of.bot.key, "read")).token,
    by: ({ bobs }) => bobs.key,
    told: false,
  },
  "an agent's key, by its owner's token": { token: ({ bot }) => bot.key, by: () => adas, told: false },
  "an owner's key, by their agent": { token: ({ pat }) => pat.key, by: ({ bot }) => bot.key, told: false },
  "a token, by a fellow member": { token: () => adas, by: ({ bobs }) => bobs.key, told: false },
  "a key, by a fellow member": { token: ({ pat }) => pat.key, by: ({ bobs }) => bobs.key, told: false },
  "a token, by the service of its space": { token: () => adas, by: ({ secret }) => secret.key, told: true },
  "a token, by the service of another space": { token: () => adas, by: () => other.secret.key, told: false },
  "a key, by the service of a space": { token: ({ pat }) => pat.key, by: ({ secret }) => secret.key, told: false },
  "a token for an agent to act, by its user": { token: forHelper, by: ({ pat }) => pat.key, told: true },
  "a token for an agent to act, by the agent": { token: forHelper, by: ({ helper }) => helper.key, told: true },
  "a token for an agent to act, by the service of its space": { token: forHelper, by: ({ secret }) => secret.key, told: false },
  rubbish: { token: () => "rubbish", by: ({ pat }) => pat.key, told: false },
  "a token of 9,000 characters": { token: () => `a.${"b".repeat(9000)}.c`, by: ({ pat }) => pat.key, told: false },
  "what no header can hold": { token: () => "\u20ac\n\u0001", by: ({ pat }) => pat.key, told: false },
  "a token with another signature": { token: () => `${adas.slice(0, -8)}AAAAAAAA`, by: ({ pat }) => pat.key, told: false },
  "a token that has expired": { token: expired, by: ({ pat }) => pat.key, told: false },
};

let adas: string;
beforeAll(async () => {
  adas = (await mint(world, world.pat.key, "read write:tasks")).token;
});

async function forHelper(of: TokenWorld): Promise<string> {
  return (await mint(of, of.pat.key, "admin:tasks", { mayAct: of.helper.id })).token;
}

async function expired(of: TokenWorld): Promise<string> {
  const { id, token } = await mint(of, of.pat.key, "read");
  await server.sql`update tokens set expires_at = now() where id = ${id}`;
  return token;
}

describe.each(Object.keys(ways) as (keyof typeof ways)[])("by %s", (way) => {
  test.each(Object.keys(asked))("%s", async (name) => {
    const { token, by, told } = asked[name] as (typeof asked)[string];
    const answer = await introspect(server.url, await token(world), ways[way](by(world)));
    if (told) expect(answer).toMatchObject({ active: true, iss: server.url, sub: expect.any(String), token_type: "Bearer" });
    else expect(answer).toEqual({ active: false });
  });
});

test("of a token is told what it says itself, and who may act by it", async () => {
  const { id, token, expiresAt } = await mint(world, world.pat.key, "read write:tasks", { mayAct: world.helper.id });
  expect(await introspect(server.url, token, bearer(world.ada.session))).toEqual({
    ...{ active: true, iss: server.url, aud: server.url, token_type: "Bearer", jti: id, sub: world.ada.id, username: "Ada" },
    ...{ scope: "read write:tasks", space: world.space.slug, exp: Date.parse(expiresAt) / 1000, may_act: { sub: world.helper.id } },
  });
});

test.each(["introspect", "revoke"])("%s wants one token, and a proof that is good if there is one", async (endpoint) => {
  const address = `${server.url}/api/v1/${endpoint}`;
  const authorization = `Bearer ${world.pat.key}`;
  for (const form of [
    [],
    [["token", ""]],
    [
      ["token", "a"],
      ["token", "a"],
    ],
  ]) {
    const { status, body, headers } = await postForm(address, form, { authorization });
    expect([status, body.error]).toEqual([400, "invalid_request"]);
    expect(body).toMatchObject({ code: "INVALID_PARAMS", requestId: headers.get("x-request-id") });
  }
  for (const proof of ["Bearer me_pat_x", `Basic ${btoa("x:rubbish")}`, "Basic", ""]) {
    const { status, body, text, headers } = await postForm(address, { token: adas }, { authorization: proof });
    expect([status, body.error, body.code], proof).toEqual([401, "invalid_client", "UNAUTHENTICATED"]);
    expect(headers.get("cache-control")).toBe("no-store");
    expect(text).not.toContain(adas);
  }
  expect(await isGood(server, adas)).toBe(true);
});

test("whoever does not say who they are is told nothing", async () => {
  const { status, body, headers } = await postForm(`${server.url}/api/v1/introspect`, { token: adas });
  expect([status, body.error]).toEqual([401, "invalid_client"]);
  expect(headers.get("www-authenticate")).toMatch(/^Bearer /);
  await expect(introspect(server.url, adas, bearer("me_pat_x"))).rejects.toThrow(WWWAuthenticateChallengeError);
});

test("a token is revoked by itself, without more, and all that came of it goes with it", async () => {
  const first = await mint(world, world.pat.key, "admin");
  const second = await mint(world, first.token, "admin:tasks");
  const third = await exchange(server.url, second.token, { space: world.space.slug, scope: "read:tasks" });
  const forAgent = await mint(world, first.token, "admin:tasks", { mayAct: world.helper.id });
  const acting = await exchange(
    server.url,
    forAgent.token,
    { space: world.space.slug, scope: "read:tasks:support" },
    bearer(world.helper.key),
  );
  const all = [first.token, second.token, third.access_token, acting.access_token];
  for (const token of all) expect(await isGood(server, token)).toBe(true);
  const { status, text } = await postForm(`${server.url}/api/v1/revoke`, { token: first.token });
  expect([status, text]).toEqual([200, ""]);
  for (const token of all) expect(await isGood(server, token)).toBe(false);
  expect(await introspect(server.url, forAgent.token, bearer(world.pat.key))).toEqual({ active: false });
  expect(await isGood(server, world.pat.key)).toBe(true);
  expect(await server.sql`select from tokens where id = any(${[first.id, second.id, forAgent.id]}::uuid[])`).toHaveLength(0);
});

test("a token for an agent to act is revoked by itself, too, though it proves nobody", async () => {
  const token = await forHelper(world);
  expect((await server.call(token, "token.revoke", { token })).error?.data.code).toBe("UNAUTHENTICATED");
  expect((await introspect(server.url, token, bearer(world.pat.key))).active).toBe(true);
  expect((await postForm(`${server.url}/api/v1/revoke`, { token })).status).toBe(200);
  expect((await introspect(server.url, token, bearer(world.pat.key))).active).toBe(false);
});

/** Tokens and keys, and who may end them besides themselves. */
const ended: Record<string, (of: TokenWorld) => Promise<[string, string]>> = {
  "a token, by its user's key": async (of) => [(await mint(of, of.ada.session, "read")).token, of.pat.key],
  "an agent's token, by its owner": async (of) => [(await mint(of, of.bot.key, "read")).token, of.ada.session],
  "a token for an agent to act, by its user": async (of) => [await forHelper(of), of.pat.key],
  "a token for an agent to act, by the agent": async (of) => [await forHelper(of), of.helper.key],
};

test.each(Object.keys(ended))("%s is ended", async (name) => {
  const [token, by] = await (ended[name] as (typeof ended)[string])(world);
  const active = async () => (await introspect(server.url, token, bearer(by))).active;
  expect(await active()).toBe(true);
  await revoke(server.url, token, ClientSecretBasic(by));
  expect(await active()).toBe(false);
  await revoke(server.url, token, ClientSecretBasic(by));
});

test("a key and a session that are revoked end with what came of them", async () => {
  const fresh = await makeTokenWorld(server);
  for (const credential of [fresh.bot.key, fresh.pat.key, fresh.secret.key, fresh.ada.session]) {
    const { token } = await mint(fresh, credential, "read:tasks");
    await revoke(server.url, credential, bearer(credential));
    expect([await isGood(server, credential), await isGood(server, token)]).toEqual([false, false]);
  }
});

test("to revoke what is not one's own, or nothing at all, is no error and changes nothing", async () => {
  const helpers = await mint(world, world.helper.key, "read:tasks:support");
  const theirs = [adas, helpers.token, world.pat.key, world.ada.session, world.helper.key];
  for (const token of [adas, world.pat.key, world.ada.session]) await revoke(server.url, token, bearer(world.bobs.key));
  for (const token of theirs) await revoke(server.url, token, ClientSecretBasic(other.pat.key));
  for (const token of theirs) await revoke(server.url, token, ClientSecretPost(other.secret.key));
  for (const token of theirs) expect(await isGood(server, token)).toBe(true);
  for (const token of ["rubbish", "a.b.c", "x".repeat(9000), "\u20ac", `${adas}x`]) {
    await revoke(server.url, token, bearer(world.pat.key));
    expect((await postForm(`${server.url}/api/v1/revoke`, { token })).status).toBe(200);
  }
});

test("what is revoked by a hint of another type is revoked all the same (RFC 7009 §2.1)", async () => {
  const { token } = await mint(world, world.pat.key, "read");
  const { status } = await postForm(`${server.url}/api/v1/revoke`, { token, token_type_hint: "refresh_token" });
  expect([status, await isGood(server, token)]).toEqual([200, false]);
});

test("who ended what is in the record, and the token is not", async () => {
  const { id, token } = await mint(world, world.pat.key, "read");
  await must(server, world.ada.session, "token.revoke", { token });
  const rows = await server.sql`select target, method from audit where target like ${`${id}%`} order by id`;
  expect(rows.map(({ method }) => method)).toEqual(["token.create", "token.revoke"]);
  expect(JSON.stringify(await server.sql`select * from audit`)).not.toContain(token.split(".")[2]);
});
