import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makePasskey } from "./authenticator.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";
import { standardClient } from "./oauth-client.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(() => server.close());

async function withPasskey(user: TestUser) {
  const jar = openJar(server.url);
  await jar.signIn(user.email, user.password);
  const passkey = makePasskey(server.url);
  const options = (await jar.get("/api/auth/passkey/generate-register-options")).body;
  expect(options.authenticatorSelection).toMatchObject({ residentKey: "required", userVerification: "required" });
  const made = await jar.post("/api/auth/passkey/verify-registration", { response: passkey.register(options), name: "laptop" });
  expect(made.status, JSON.stringify(made.body)).toBe(200);
  return { jar, passkey, id: made.body.id as string };
}

/** Signs in by a passkey. */
async function by(
  jar: Jar,
  passkey: ReturnType<typeof makePasskey>,
  how: Parameters<typeof passkey.authenticate>[1] = {},
  more: object = {},
) {
  const options = (await jar.get("/api/auth/passkey/generate-authenticate-options")).body;
  return jar.post("/api/auth/passkey/verify-authentication", { response: passkey.authenticate(options, how), ...more });
}

test("a passkey signs its person in, is listed and goes", async () => {
  const alice = await server.user("Alice");
  const { jar, passkey, id } = await withPasskey(alice);
  expect((await jar.get("/api/auth/passkey/list-user-passkeys")).body).toMatchObject([{ id, name: "laptop" }]);
  const other = openJar(server.url);
  const { status, body } = await by(other, passkey);
  expect([status, body.user.id, body.session.token]).toEqual([200, alice.id, undefined]);
  expect(await other.whoami()).toBe(alice.email);

  expect((await jar.post("/api/auth/passkey/delete-passkey", { id })).status).toBe(200);
  expect((await by(openJar(server.url), passkey)).body).toMatchObject({ status: 401, code: "UNAUTHENTICATED" });
});

test("in the middle of signing a program in, it leads on to consent", async () => {
  const { passkey } = await withPasskey(await server.user("Bob"));
  const jar = openJar(server.url);
  const page = new URL((await jar.get((await (await standardClient(server)).begin()).address)).headers.get("location") as string);
  const { body } = await by(jar, passkey, {}, { oauth_query: page.search.slice(1) });
  expect(new URL(body.url).pathname).toBe("/consent");
});

test("having the device is not enough, nor is what another site was told", async () => {
  const { passkey } = await withPasskey(await server.user("Carol"));
  for (const how of [{ verified: false }, { from: "https://evil.example" }]) {
    const jar = openJar(server.url);
    expect((await by(jar, passkey, how)).status, JSON.stringify(how)).toBeGreaterThanOrEqual(400);
    expect(await jar.whoami()).toBeUndefined();
  }
  // An answer is good for one time.
  const jar = openJar(server.url);
  const options = (await jar.get("/api/auth/passkey/generate-authenticate-options")).body;
  const response = passkey.authenticate(options);
  expect((await jar.post("/api/auth/passkey/verify-authentication", { response })).status).toBe(200);
  expect((await jar.post("/api/auth/passkey/verify-authentication", { response })).status).toBeGreaterThanOrEqual(400);
});

test("a passkey is added only by who has just signed in, and taken away only by its owner", async () => {
  const [dave, erin] = [await server.user("Dave"), await server.user("Erin")];
  const { jar, id } = await withPasskey(dave);
  expect((await openJar(server.url).get("/api/auth/passkey/generate-register-options")).status).toBe(401);
  const hers = openJar(server.url);
  await hers.signIn(erin.email, erin.password);
  expect((await hers.post("/api/auth/passkey/delete-passkey", { id })).status).toBeGreaterThanOrEqual(400);
  expect((await jar.get("/api/auth/passkey/list-user-passkeys")).body).toHaveLength(1);

  await server.sql`update auth.session set "createdAt" = now() - interval '2 days' where "userId" = ${dave.id}`;
  const stale = await jar.get("/api/auth/passkey/generate-register-options");
  expect([stale.status, stale.body.detail]).toEqual([403, expect.stringContaining("Sign in again")]);
});

test("a passkey that is registered already, be it by another person, is not registered again", async () => {
  const { passkey } = await withPasskey(await server.user("Ivan"));
  const judy = await server.user("Judy");
  const jar = openJar(server.url);
  await jar.signIn(judy.email, judy.password);
  const options = (await jar.get("/api/auth/passkey/generate-register-options")).body;
  const again = await jar.post("/api/auth/passkey/verify-registration", { response: passkey.register(options), name: "laptop" });
  expect([again.status, again.body.code]).toEqual([409, "CONFLICT"]);
});
