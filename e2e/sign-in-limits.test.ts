import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makeSecret } from "../packages/server/src/key.ts";
import { limits } from "../packages/server/src/people/limits.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { ACCESS_TOKEN, EXCHANGE } from "./oauth.ts";
import { until } from "./run.ts";

const FAILURES = 26;
const WRONG = "a wrong password";

let box: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
beforeAll(async () => {
  box = await openMailbox();
  server = await startTestServer({ TRUST_PROXY: "1", FAILED_AUTH_LIMIT: String(FAILURES), ...box.settings });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await box.close();
});

/** Guesses at the endpoints of OAuth, and with what status they are answered. Their checksums are right. */
function oauthGuesses(session: string): [number, string, Record<string, string>][] {
  const asked = { grant_type: EXCHANGE, subject_token_type: ACCESS_TOKEN, space: "0".repeat(12), scope: "read" };
  return [
    [400, "/api/v1/token", { ...asked, subject_token: makeSecret("me_pat_") }],
    [400, "/api/v1/token", { ...asked, subject_token: session, actor_token: makeSecret("me_agent_") }],
    [401, "/api/v1/token", { ...asked, subject_token: session, client_id: "x", client_secret: makeSecret("me_pat_") }],
    [200, "/api/v1/revoke", { token: makeSecret("me_pat_") }],
    [200, "/api/v1/revoke", { token: makeSecret("me_login_"), client_id: "me" }],
    [401, "/api/v1/introspect", { token: session, client_id: "x", client_secret: makeSecret("me_secret_") }],
    [400, "/api/v1/token", { grant_type: "refresh_token", client_id: "me", refresh_token: makeSecret("me_refresh_") }],
  ];
}

/** Addresses that nothing else comes from. */
let last = 0;
const newAddress = () => `198.51.${Math.floor(++last / 250)}.${(last % 250) + 1}`;
const from = (address = newAddress()) => openJar(server.url, address);
const call = (credential: string, address: string) =>
  server.post('{"jsonrpc":"2.0","id":1,"method":"whoami"}', { authorization: `Bearer ${credential}`, "x-forwarded-for": address });

test("guesses from everywhere end at the account, and do not lock its owner out", async () => {
  const alice = await server.user("Alice");
  const home = newAddress();
  expect((await from(home).signIn(alice.email, alice.password)).status).toBe(200);

  const guess = async () => (await from().signIn(alice.email, WRONG)).status;
  const statuses: number[] = [];
  for (let i = 0; i < 24; i++) statuses.push(await guess());
  expect(statuses).toEqual([...Array(20).fill(401), ...Array(4).fill(429)]);

  // From elsewhere not even the right password tells; from where she has been, she gets in.
  const late = await from().signIn(alice.email.toUpperCase(), alice.password);
  expect([late.status, late.body.code]).toEqual([429, "RATE_LIMITED"]);
  expect(Number(late.headers.get("retry-after"))).toBeGreaterThan(60);
  const jar = from(home);
  expect((await jar.signIn(alice.email, alice.password)).status).toBe(200);
  await jar.post("/api/auth/sign-out", {});
  expect((await from(home).signIn(alice.email, alice.password)).status, "signed out or not").toBe(200);
  // Nobody else is concerned.
  const bob = await server.user("Bob");
  expect((await from().signIn(bob.email, bob.password)).status).toBe(200);
});

test("guesses at an account that is none are counted alike", async () => {
  const statuses: number[] = [];
  for (let i = 0; i < 22; i++) statuses.push((await from().signIn("nobody@example.com", WRONG)).status);
  expect(statuses).toEqual([...Array(20).fill(401), 429, 429]);
});

test("guesses that come at once are counted one by one, by two servers together", async () => {
  const carol = await server.user("Carol");
  const other = await startTestServer({ DATABASE_URL: server.databaseUrl, TRUST_PROXY: "1" });
  try {
    const tries = Array.from({ length: 40 }, (_, i) => openJar(i % 2 ? server.url : other.url, newAddress()).signIn(carol.email, WRONG));
    const statuses = (await Promise.all(tries)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(20);
    expect(statuses.filter((status) => status === 429)).toHaveLength(20);
  } finally {
    await other.close();
  }
});

test("one who signs in often from one place is not taken for a guesser", async () => {
  const dave = await server.user("Dave");
  for (let i = 0; i < 25; i++) expect((await from().signIn(dave.email, dave.password)).status).toBe(200);
});

test("an address waits after ten attempts, known or not, whatever accounts it tries", async () => {
  const erin = await server.user("Erin");
  const home = newAddress();
  await from(home).signIn(erin.email, erin.password);
  for (let i = 0; i < 9; i++) expect((await from(home).signIn(`nobody${i}@example.com`, WRONG)).status).toBe(401);
  const { status, headers } = await from(home).signIn(erin.email, erin.password);
  expect([status, Number(headers.get("retry-after")) <= 60]).toEqual([429, true]);
  expect((await from().signIn(erin.email, erin.password)).status).toBe(200);
});

test("an IPv6 address counts with all of its /64", async () => {
  const frank = await server.user("Frank");
  const statuses: number[] = [];
  for (let i = 0; i < 11; i++) statuses.push((await from(`2001:db8:1:1::${i + 1}`).signIn(`nobody${i}@example.com`, WRONG)).status);
  expect(statuses).toEqual([...Array(10).fill(401), 429]);
  expect((await from("2001:db8:1:2::1").signIn(frank.email, frank.password)).status).toBe(200);

  // Known there is known in all of it.
  for (let i = 0; i < 21; i++) await from().signIn(frank.email, WRONG);
  expect((await from().signIn(frank.email, frank.password)).status).toBe(429);
  expect((await from("2001:db8:1:2:ffff::9").signIn(frank.email, frank.password)).status).toBe(200);
});

test("mail is sent to an address three times, whoever asks", async () => {
  const grace = await server.user("Grace");
  const statuses: number[] = [];
  for (let i = 0; i < 5; i++) statuses.push((await from().post("/api/auth/request-password-reset", { email: grace.email })).status);
  expect(statuses).toEqual([200, 200, 200, 429, 429]);
});

test("user codes can't be guessed at, nor device codes and tokens asked for without end", async () => {
  const heidi = await server.user("Heidi");
  const jars = await Promise.all(
    [1, 2].map(async () => {
      const jar = from();
      await jar.signIn(heidi.email, heidi.password);
      return jar;
    }),
  );
  // From two addresses by turns: it is her account that is counted.
  const statuses: number[] = [];
  for (let i = 0; i < 31; i++) statuses.push((await jars[i % 2]?.get(`/api/auth/device?user_code=AAAAAA${10 + i}`))?.status as number);
  expect(statuses).toEqual([...Array(30).fill(404), 429]);

  const program = from();
  const asked: number[] = [];
  for (let i = 0; i < 21; i++) asked.push((await program.form("/api/auth/device/code", { client_id: "me" })).status);
  expect(asked).toEqual([...Array(20).fill(200), 429]);

  const tokens = from();
  for (let i = 0; i < 120; i++) await tokens.form("/api/v1/token", { grant_type: "x" });
  const { status, body, headers } = await tokens.form("/api/v1/token", { grant_type: "x" });
  expect([status, body.error, body.code, Number(headers.get("retry-after")) > 0]).toEqual([429, "slow_down", "RATE_LIMITED", true]);
});

const COOKIES: Record<string, string>[] = [{}, { cookie: "better-auth.session_token=x.y" }];

/** What a page of others makes a browser send: without a credential, or with the cookie of nobody. */
const images = (address: string) =>
  ["/api/v1/sessions", "/api/v1/tasks", "/api/v1/sessions/x/out", "/mcp", "/account"].flatMap((path) =>
    COOKIES.map((headers) => fetch(server.url + path, { headers: { "x-forwarded-for": address, ...headers }, redirect: "manual" })),
  );

test("requests without a credential are not wrong ones, at any door and however many", async () => {
  const ivan = await server.user("Ivan");
  const address = newAddress();
  for (let i = 0; i < FAILURES; i += 2) {
    await Promise.all(images(address));
    expect((await from(address).post("/access/v1/evaluation", {})).status).toBe(401);
    expect((await from(address).post("/api/auth/device/approve", { userCode: "AAAAAAAA" })).status).toBeOneOf([401, 429]);
    expect((await from(address).post("/api/v1/user/rpc", {})).status).toBe(401);
  }
  expect((await call("nobody", address)).status).toBe(401);
  expect((await call(ivan.session, address)).status).toBe(200);
});

test("wrong credentials, at whatever door, make wrong ones wait: with 429 and never 401; a good one is never refused for them", async () => {
  const ivan = await server.user("Ivan");
  const address = newAddress();
  // What OAuth answers has a status of its own: what is wrong is a guess all the same.
  const doors: [number, () => Promise<{ status: number }>][] = [
    [401, () => call(`me_pat_${"0".repeat(36)}`, address)],
    [401, () => call(`me_login_${"0".repeat(36)}`, address)],
    [401, () => call("nobody", address)],
    [401, () => from(address).signIn("nobody@example.com", WRONG)],
    ...oauthGuesses(ivan.session).map(
      ([status, path, form]) => [status, () => from(address).form(path, form)] as [number, () => Promise<{ status: number }>],
    ),
  ];
  expect(FAILURES).toBeGreaterThanOrEqual(doors.length);
  for (let i = 0; i < FAILURES; i++) {
    const [status, knock] = doors[i % doors.length] as (typeof doors)[number];
    expect((await knock()).status, `${i}`).toBe(status);
  }
  const wrong = ["nobody", `me_pat_${"0".repeat(36)}`, makeSecret("me_pat_"), makeSecret("me_agent_"), makeSecret("me_login_"), "a.b.c"];
  for (const credential of wrong) {
    const { status, headers, text } = await call(credential, address);
    expect([status, headers.get("www-authenticate"), JSON.parse(text).error.data.code]).toEqual([429, null, "RATE_LIMITED"]);
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(headers.get("retry-after"))).toBeLessThanOrEqual(60);
  }
  const { status, headers } = await from(address).form("/api/v1/introspect", {
    token: "x",
    client_id: "x",
    client_secret: makeSecret("me_pat_"),
  });
  expect([status, Number(headers.get("retry-after")) > 0]).toEqual([429, true]);

  // Whoever is known here, is not yet, or is signed in by a page.
  expect((await call(ivan.session, address)).status).toBe(200);
  const { result: fresh } = await server.call(ivan.session, "apiKey.create", { name: "fresh" });
  expect((await call(fresh.key, address)).status).toBe(200);
  const jar = from(address);
  expect((await jar.signIn(ivan.email, ivan.password)).status).toBe(200);
  expect((await jar.get("/api/auth/get-session")).body?.user.id).toBe(ivan.id);

  // A flood of guesses takes nothing from who was good here before, and nothing from revocation.
  const guesses = Array.from({ length: 200 }, () => call(makeSecret("me_pat_"), address));
  expect((await call(fresh.key, address)).status).toBe(200);
  expect((await from(address).form("/api/v1/revoke", { token: fresh.key })).status).toBe(200);
  for (const { status } of await Promise.all(guesses)) expect(status).toBe(429);
  expect((await call(fresh.key, newAddress())).status).toBe(401);
  expect((await call(fresh.key, address)).status, "what was good once is a guess now").toBe(429);

  expect((await call(ivan.session, newAddress())).status).toBe(200);
  for (const path of ["/healthz", "/.well-known/oauth-authorization-server"]) expect((await from(address).get(path)).status).toBe(200);
});

test("of guesses nothing is kept; an exchange is counted by its address and its credential, once that is known to be good", async () => {
  const kim = await server.user("Kim");
  const address = newAddress();
  const kept = async () => (await server.sql<{ key: string }[]>`select key from auth.attempts order by key`).map(({ key }) => key);
  for (const [, path, form] of oauthGuesses(kim.session))
    if (form.grant_type === undefined || form.grant_type === EXCHANGE) await from(address).form(path, form);
  expect(await kept()).toEqual([]);

  const { slug: space } = (await server.call(kim.session, "space.create", { name: "Home" })).result;
  const { key } = (await server.call(kim.session, "apiKey.create", { name: "laptop" })).result;
  const exchange = (subject_token: string) =>
    from(address).form("/api/v1/token", { grant_type: EXCHANGE, subject_token, subject_token_type: ACCESS_TOKEN, space, scope: "read" });
  for (const _time of [1, 2]) expect((await exchange(key)).status).toBe(200);
  expect(await kept()).toEqual([expect.stringMatching(/^exchange account /), `exchange address ${address}`]);
  await server.sql`update auth.attempts set count = 600 where key like 'exchange account %'`;
  const { status, headers, body } = await exchange(key);
  expect([status, body.error, Number(headers.get("retry-after")) > 0]).toEqual([429, "slow_down", true]);
  expect((await exchange(kim.session)).status).toBe(200);
});

test("what was counted is forgotten when its time is over, and not before", async () => {
  const windows = Object.entries(limits).flatMap(([name, limited]) =>
    (["address", "account"] as const).flatMap((of) => {
      const seconds = of in limited ? limited[of as "address"].seconds : 0;
      return seconds
        ? [
            { key: `${name} ${of} over`, age: seconds },
            { key: `${name} ${of} going on`, age: seconds / 2 },
          ]
        : [];
    }),
  );
  for (const { key, age } of windows)
    await server.sql`insert into auth.attempts (key, count, since) values (${key}, 1, now() - make_interval(secs => ${age}))`;
  // A server tidies up as it starts, and every hour.
  const other = await startTestServer({ DATABASE_URL: server.databaseUrl });
  await until(
    "what is over is gone",
    async () => (await server.sql`select from auth.attempts where key like '% over' limit 1`).length === 0,
  );
  await other.close();
  const left = (await server.sql<{ key: string }[]>`select key from auth.attempts`).map(({ key }) => key);
  expect(left.sort()).toEqual(windows.flatMap(({ key }) => (key.endsWith("going on") ? [key] : [])).sort());
});

test("a caller who does nothing wrong is never limited by it", async () => {
  const judy = await server.user("Judy");
  const address = newAddress();
  for (let i = 0; i < FAILURES * 3; i++) expect((await call(judy.session, address)).status).toBe(200);
});

test("who introspects tokens without a pause keeps nobody at their address from revoking", async () => {
  const user = await server.user("Rita");
  const address = newAddress();
  const key = async (name: string) => (await server.call(user.session, "apiKey.create", { name })).result.key as string;
  const [asking, ended] = [await key("asks"), await key("ends")];
  const introspect = () => from(address).form("/api/v1/introspect", { token: ended, client_id: "x", client_secret: asking });
  expect((await introspect()).status).toBe(200);
  await server.sql`update auth.attempts set count = ${limits.exchange.address.max} where key like 'exchange address %'`;
  expect((await introspect()).status).toBe(429);
  expect((await from(address).form("/api/v1/revoke", { token: ended })).status).toBe(200);
  expect((await call(ended, newAddress())).status).toBe(401);
});
