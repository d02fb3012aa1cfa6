import { openDatabase, SigningKeys } from "@gatehouse/server";
import { createRemoteJWKSet, decodeProtectedHeader, type JWTVerifyOptions, jwtVerify } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { makeHome, me, meJson, startUp } from "./run.ts";
import { isGood, makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

let server: TestServer;
let world: TokenWorld;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeTokenWorld(server);
});
afterAll(() => server.close());

interface KeySet {
  keys: Record<string, string>[];
}
const keySetOf = async (url: string) => (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as KeySet;
const kidOf = (token: string) => decodeProtectedHeader(token).kid as string;
const kidsOf = async (url: string) => (await keySetOf(url)).keys.map(({ kid }) => kid);

/** `me keys …`, run by the operator of a server's database. */
async function keys(of: TestServer, args: string[], secret = of.secret) {
  const home = await makeHome({ DATABASE_URL: of.databaseUrl, GATEHOUSE_SECRET: secret });
  return me(home, ["keys", ...args]);
}

/** Lets time pass for every signing key. */
const age = (of: TestServer, interval: string) =>
  of.sql`update signing_keys set signs_from = signs_from - ${interval}::interval, created_at = created_at - ${interval}::interval`;

/** Checks a token as somebody would who has nothing but the address of the server. */
const verified = (url: string, token: string, more: JWTVerifyOptions = {}) =>
  jwtVerify(token, createRemoteJWKSet(new URL(`${url}/.well-known/jwks.json`)), { issuer: url, audience: url, typ: "at+jwt", ...more });

test("the key set has the public halves alone, and says what they are for", async () => {
  const answer = await fetch(`${server.url}/.well-known/jwks.json`);
  expect(answer.headers.get("cache-control")).toBe("public, max-age=300");
  const { keys } = (await answer.json()) as KeySet;
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) {
    expect(Object.keys(key).sort()).toEqual(["alg", "crv", "kid", "kty", "use", "x"]);
    expect(key).toMatchObject({ kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig" });
  }
});

test("anybody can check a token with a library of their own, by the key set", async () => {
  const { id, token } = await mint(world, world.pat.key, "read:tasks");
  const { payload, protectedHeader } = await verified(server.url, token, { algorithms: ["EdDSA"] });
  expect(payload).toMatchObject({ jti: id, sub: world.ada.id, space: world.space.slug, scope: "read:tasks", client_id: world.pat.id });
  expect(await kidsOf(server.url)).toContain(protectedHeader.kid);
  await expect(verified(server.url, `${token.slice(0, -6)}AAAAAA`)).rejects.toThrow();
});

test("a new key is published at once and signs later, and what was signed before stays good", async () => {
  const before = await mint(world, world.pat.key, "read:tasks");
  const { code, stdout, stderr } = await keys(server, ["rotate", "--json"]);
  expect(code, stderr).toBe(0);
  const { kid, signsFrom } = JSON.parse(stdout);
  expect(Date.parse(signsFrom) - Date.now()).toBeGreaterThan(9 * 60_000); // longer than max-age of the key set
  expect(await kidsOf(server.url)).toEqual([kidOf(before.token), kid]);
  const between = await mint(world, world.pat.key, "read:tasks");
  expect(kidOf(between.token)).toBe(kidOf(before.token));
  await age(server, "11 minutes");
  const after = await mint(world, world.pat.key, "read:tasks");
  expect(kidOf(after.token)).toBe(kid);
  for (const { token } of [before, between, after]) {
    expect(await isGood(server, token)).toBe(true);
    await verified(server.url, token);
  }
});

test("a key is forgotten when all that it signed has expired, and not before", async () => {
  const { token } = await mint(world, world.pat.key, "read:tasks");
  expect((await keys(server, ["rotate"])).code).toBe(0);
  await age(server, "20 minutes");
  expect((await keys(server, ["rotate"])).code).toBe(0);
  expect(await kidsOf(server.url)).toContain(kidOf(token));
  await age(server, "25 hours");
  expect((await keys(server, ["rotate"])).code).toBe(0);
  expect(await kidsOf(server.url)).not.toContain(kidOf(token));
  expect(await isGood(server, token)).toBe(false);
});

test("a compromised key ends with every token, at once; whoever has it can't make new ones", async () => {
  const { token, id } = await mint(world, world.pat.key, "read:tasks");
  const refused = await keys(server, ["rotate", "--compromised"]);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
  expect(await isGood(server, token)).toBe(true);
  const thief = new SigningKeys(server.sql, server.secret);
  const stolen = await thief.signer(server.sql);
  expect((await keys(server, ["rotate", "--compromised", "--yes"])).code).toBe(0);
  expect(await kidsOf(server.url)).not.toContain(stolen.kid);
  expect(await isGood(server, token)).toBe(false);
  expect(await server.sql`select from live_tokens where id = ${id}`).toHaveLength(0);
  const next = await mint(world, world.pat.key, "read:tasks");
  expect(kidOf(next.token)).not.toBe(stolen.kid);
  expect(await isGood(server, next.token)).toBe(true);
});

test("a server that starts gives an old key its successor, and only one, however many start", async () => {
  const databaseUrl = await makeDatabase();
  const settings = { DATABASE_URL: databaseUrl, PUBLIC_URL: "https://gatehouse.example.com" };
  const first = await startTestServer(settings);
  const [old] = await kidsOf(first.url);
  await first.sql`update signing_keys set created_at = now() - interval '91 days'`;
  const others = await Promise.all([1, 2, 3].map(() => startTestServer(settings)));
  for (const { url } of [first, ...others]) {
    const [kept, next, ...more] = await kidsOf(url);
    expect([kept, typeof next, more]).toEqual([old, "string", []]);
  }
  await Promise.all([first, ...others].map((one) => one.close()));
});

test("servers on one database check each other's tokens, and end them for each other", async () => {
  const databaseUrl = await makeDatabase();
  const settings = { DATABASE_URL: databaseUrl, PUBLIC_URL: "https://gatehouse.example.com" };
  const [one, two] = [await startTestServer(settings), await startTestServer(settings)];
  const there = await makeTokenWorld(one);
  const { token } = await mint(there, there.pat.key, "read:tasks");
  expect(await must(two, token, "whoami")).toMatchObject({ id: there.ada.id, credential: { via: "jwt" } });
  const { token: back } = await mint({ ...there, server: two }, token, "read:tasks");
  expect(await isGood(one, back)).toBe(true);
  await must(two, there.ada.session, "token.revoke", { token });
  expect([await isGood(one, token), await isGood(one, back)]).toEqual([false, false]);
  await Promise.all([one.close(), two.close()]);
});

test("of the database alone nobody reads a private key, nor makes a token", async () => {
  const rows = await server.sql<{ encrypted: string; publicJwk: object }[]>`select encrypted, public_jwk from signing_keys`;
  for (const { encrypted, publicJwk } of rows) {
    expect(publicJwk).not.toHaveProperty("d");
    expect(decodeProtectedHeader(encrypted)).toEqual({ alg: "dir", enc: "A256GCM" });
  }
  const guess = new SigningKeys(server.sql, "another secret that is long enough, 01234");
  await expect(guess.signer(server.sql)).rejects.toThrow(/another GATEHOUSE_SECRET/);
});

const wrong = "another secret that is long enough, 01234";

test("with another GATEHOUSE_SECRET a server says what to do, and ends; keys are not made under two secrets", async () => {
  const home = await makeHome({ DATABASE_URL: server.databaseUrl, GATEHOUSE_SECRET: wrong, PORT: "0" });
  const { code, stderr } = await me(home, ["up"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("me keys rotate --compromised")]);
  expect(stderr).toContain("GATEHOUSE_SECRET");
  expect(stderr).not.toContain(wrong);
  const before = await kidsOf(server.url);
  const rotated = await keys(server, ["rotate"], wrong);
  expect([rotated.code, rotated.stderr]).toEqual([1, expect.stringContaining("another GATEHOUSE_SECRET")]);
  expect(await kidsOf(server.url)).toEqual(before);
});

test("a secret that is lost is replaced by what the message says", async () => {
  const databaseUrl = await makeDatabase();
  await (await startTestServer({ DATABASE_URL: databaseUrl })).close();
  const home = await makeHome({ DATABASE_URL: databaseUrl, GATEHOUSE_SECRET: wrong, PORT: "0" });
  expect((await me(home, ["keys", "rotate", "--compromised", "--yes"])).code).toBe(0);
  await (await startUp(home)).stop();
});

test.each([["up"], ["keys", "rotate"]])("me %s with a DATABASE_URL and no GATEHOUSE_SECRET says what is missing", async (...args) => {
  const home = await makeHome({ DATABASE_URL: server.databaseUrl, PORT: "0" });
  const { code, stderr } = await me(home, args);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/GATEHOUSE_SECRET: must be set where DATABASE_URL is.*openssl rand/s)]);
});

test("me migrate needs no secret", async () => {
  const home = await makeHome({ DATABASE_URL: await makeDatabase() });
  expect((await me(home, ["migrate"])).code).toBe(0);
});

test("on the embedded database, keys are rotated beside the server that runs", async () => {
  const home = await makeHome();
  const running = await startUp(home);
  const [first] = await kidsOf(running.url);
  const { kid } = await meJson(home, ["keys", "rotate"]);
  expect(await kidsOf(running.url)).toEqual([first, kid]);
  await running.stop();
  const again = await startUp(home);
  expect(await kidsOf(again.url)).toEqual([first, kid]);
  await again.stop();
});

test("an empty table of keys is no way in: nothing is good, and a mint is a failure of the server", async () => {
  const empty = await startTestServer();
  const there = await makeTokenWorld(empty);
  const { token } = await mint(there, there.pat.key, "read");
  const sql = openDatabase(empty.databaseUrl);
  await sql`delete from signing_keys`;
  await sql.end();
  expect(await isGood(empty, token)).toBe(false);
  const { error } = await empty.call(there.pat.key, "token.create", { space: there.space.slug, scope: ["read"] });
  expect(error?.data.code).toBe("INTERNAL_ERROR");
  await empty.close();
});
