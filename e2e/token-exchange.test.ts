import { ClientSecretBasic, ClientSecretPost } from "oauth4webapi";
import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { ACCESS_TOKEN, bearer, EXCHANGE, exchange, expectRefusal, postForm } from "./oauth.ts";
import { makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

// POST /api/v1/token as RFC 8693 has it, by a client that knows nothing of Gatehouse.

let server: TestServer;
let world: TokenWorld;
let space: string;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeTokenWorld(server);
  space = world.space.slug;
});
afterAll(() => server.close());

/** Posts an exchange of Ada's key, changed as told: undefined leaves a parameter out. */
function post(changed: Record<string, string | undefined>, headers?: Record<string, string>) {
  const whole = { grant_type: EXCHANGE, subject_token: world.pat.key, subject_token_type: ACCESS_TOKEN, space, scope: "read:tasks" };
  const form = Object.entries({ ...whole, ...changed }).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return postForm(`${server.url}/api/v1/token`, form, headers);
}

const sources: Record<string, () => Promise<string> | string> = {
  "a session": () => world.ada.session,
  "a personal access token": () => world.pat.key,
  "an agent's key": () => world.bot.key,
  "a secret key": () => world.secret.key,
  "a token": async () => (await mint(world, world.pat.key, "admin")).token,
};

test.each(Object.keys(sources))("%s is exchanged for a token that may do part of what it may", async (name) => {
  const subject = await (sources[name] as () => Promise<string>)();
  const made = await exchange(server.url, subject, { space, scope: "write:tasks:support read:sessions", ttl: "60" });
  expect(made).toMatchObject({ token_type: "bearer", issued_token_type: ACCESS_TOKEN, scope: "write:tasks:support read:sessions" });
  expect(made.expires_in).toBeGreaterThan(57);
  expect(made.expires_in).toBeLessThanOrEqual(60);
  const [whose, now] = [await must(server, subject, "whoami"), await must(server, made.access_token, "whoami")];
  expect(now).toMatchObject({
    id: whose.id,
    act: null,
    credential: { via: "jwt", scope: ["write:tasks:support", "read:sessions"], space },
  });
});

test("a token is not kept on its way", async () => {
  const { status, headers } = await post({});
  expect([status, headers.get("cache-control"), headers.get("content-type")]).toEqual([200, "no-store", "application/json; charset=utf-8"]);
});

test.each<[string, Record<string, string | undefined>, string]>([
  ["no grant type", { grant_type: undefined }, "invalid_request"],
  ["another grant type", { grant_type: "client_credentials" }, "unsupported_grant_type"],
  ["no subject token", { subject_token: undefined }, "invalid_request"],
  ["an empty subject token", { subject_token: "" }, "invalid_request"],
  ["no type of the subject token", { subject_token_type: undefined }, "invalid_request"],
  ["an unknown type of the subject token", { subject_token_type: "urn:ietf:params:oauth:token-type:saml2" }, "invalid_request"],
  ["a refresh token wanted", { requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" }, "invalid_request"],
  [
    "an actor token of an unknown type",
    { actor_token: "x", actor_token_type: "urn:ietf:params:oauth:token-type:saml2" },
    "invalid_request",
  ],
  ["another audience", { audience: "https://elsewhere.example.com" }, "invalid_target"],
  ["another resource", { resource: "https://elsewhere.example.com" }, "invalid_target"],
  ["a space that is none", { space: "000000000000" }, "invalid_target"],
  ["no space", { space: undefined }, "invalid_request"],
  ["a space of a wrong form", { space: "'; drop table tokens" }, "invalid_request"],
  ["no scope", { scope: undefined }, "invalid_request"],
  ["a scope of nothing", { scope: " " }, "invalid_scope"],
  ["a malformed scope", { scope: "everything" }, "invalid_scope"],
  ["a scope that is half malformed", { scope: "read:tasks write:" }, "invalid_scope"],
  ["a subject that is no token", { subject_token: "rubbish" }, "invalid_request"],
  ["a subject that looks like one", { subject_token: "a.b.c" }, "invalid_request"],
  ["a subject of 10,000 characters", { subject_token: "x".repeat(10_000) }, "invalid_request"],
  ...["0", "-1", "86401", "NaN", "1e3", "0x10", " 60", "1.5", "Infinity"].map((ttl): [string, Record<string, string>, string] => [
    `a life of ${JSON.stringify(ttl)}`,
    { ttl },
    "invalid_request",
  ]),
])("with %s there is no token", async (_what, changed, error) => {
  expectRefusal(await post(changed), error, [world.pat.key]);
});

test("a parameter that stands twice makes a request invalid, whatever it says", async () => {
  const form = [
    ["grant_type", EXCHANGE],
    ["subject_token", world.pat.key],
  ];
  for (const twice of [
    form.slice(0, 1),
    form.slice(1),
    [
      ["scope", "read"],
      ["scope", "read"],
    ],
  ])
    expectRefusal(await postForm(`${server.url}/api/v1/token`, [...form, ...twice]), "invalid_request", [world.pat.key]);
});

test("what the credential lacks is invalid_scope, and all of it is named", async () => {
  const asked = await post({ subject_token: world.helper.key, scope: "read:tasks:support write:tasks read:audit" });
  expectRefusal(asked, "invalid_scope", [world.helper.key]);
  expect(asked.body).toMatchObject({ code: "FORBIDDEN", reason: "scope", missing: ["write:tasks", "read:audit"] });
});

test.each(["Basic", "Basic !", `Basic ${btoa("any")}`, `Basic ${btoa("any:%zz")}`, "Bearer", "Bearer a b", "Digest x"])(
  "an Authorization header of %j is a failed proof, and not none: there is no token",
  async (authorization) => {
    const { status, headers, body } = await post({}, { authorization });
    expect([status, body.error, body.code], JSON.stringify(body)).toEqual([401, "invalid_client", "UNAUTHENTICATED"]);
    // By the scheme that was tried (RFC 6749 §5.2).
    expect(headers.get("www-authenticate")).toMatch(authorization.startsWith("Basic") ? /^Basic realm=/ : /^Bearer /);
  },
);

test.each([`Basic ${btoa("any:\u00ff")}`, `Basic ${btoa("any:%E2%82%AC")}`, "Bearer me_agent_x", `Bearer ${"x".repeat(9000)}`])(
  "a client of %j is nobody, whatever the subject's token",
  async (authorization) => {
    const { status, text, body } = await post({}, { authorization });
    expect([status, body.error]).toEqual([401, "invalid_client"]);
    expect(text).not.toContain(world.pat.key);
  },
);

const clients = { client_secret_basic: ClientSecretBasic, client_secret_post: ClientSecretPost, Bearer: bearer };

test.each(Object.keys(clients) as (keyof typeof clients)[])("a client that proves itself by %s exchanges what it has", async (way) => {
  const form = { space, scope: "read:tasks" };
  const own = (await mint(world, world.pat.key, "read")).token;
  // Its own token, its own key, and what somebody else has given it.
  for (const [subject, by] of [
    [own, world.pat.key],
    [world.pat.key, world.pat.key],
    [own, world.bobs.key],
    [world.pat.key, world.helper.key],
  ] as const) {
    const made = await exchange(server.url, subject, form, clients[way](by));
    expect(await must(server, made.access_token, "whoami")).toMatchObject({ id: world.ada.id, act: null });
  }
  await expect(exchange(server.url, own, form, clients[way]("me_pat_x"))).rejects.toThrow();
});

test("what a parameter is too large for, or lacks, is said by its name in the form", async () => {
  for (const ttl of ["0", "999999"]) {
    const { body } = await post({ ttl });
    expect(body).toMatchObject({
      error: "invalid_request",
      error_description: expect.stringMatching(/: ttl: /),
      issues: [{ path: "ttl" }],
    });
  }
  const { body } = await post({ may_act: "nobody" });
  expect(body).toMatchObject({ error_description: expect.stringMatching(/: may_act: /), issues: [{ path: "may_act" }] });
});
