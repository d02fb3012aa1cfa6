import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openJar } from "./jar.ts";
import { type OAuthClient, SCOPE, standardClient } from "./oauth-client.ts";

let server: TestServer;
let client: OAuthClient;
let alice: TestUser;
let bob: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  client = await standardClient(server);
  [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
});
afterAll(() => server.close());

/** What polling comes to: the tokens, or the error's name. As if the interval had passed. */
const poll = async (deviceCode: string) => {
  await server.sql`update auth."deviceCode" set "lastPolledAt" = null`;
  return client.poll(deviceCode).catch((error) => error.error as string);
};
const signedIn = async (user: TestUser) => {
  const jar = openJar(server.url);
  expect((await jar.signIn(user.email, user.password)).status).toBe(200);
  return jar;
};

test("a program without a browser is signed in by a code that its person types elsewhere", async () => {
  const { device_code, user_code, verification_uri, verification_uri_complete, expires_in, interval } = await client.askDevice();
  expect({ verification_uri, verification_uri_complete, expires_in, interval }).toEqual({
    verification_uri: `${server.url}/device`,
    verification_uri_complete: `${server.url}/device?user_code=${user_code}`,
    expires_in: 600,
    interval: 5,
  });
  expect(await poll(device_code)).toBe("authorization_pending");
  await expect(client.poll(device_code)).rejects.toMatchObject({ error: "slow_down" });

  const jar = await signedIn(alice);
  const typed = `${user_code.slice(0, 4).toLowerCase()}-${user_code.slice(4)}`;
  const { body } = await jar.get(`/api/auth/device?user_code=${typed}`);
  expect(body).toMatchObject({ status: "pending", client_id: "me", scope: SCOPE });
  expect(await poll(device_code)).toBe("authorization_pending");
  expect((await jar.post("/api/auth/device/approve", { userCode: typed })).body).toEqual({ success: true });

  const tokens = await client.poll(device_code).catch(() => poll(device_code));
  if (typeof tokens === "string") throw new Error(tokens);
  expect((await server.call(tokens.access_token, "whoami")).result).toMatchObject({ id: alice.id, credential: { via: "session" } });
  expect(await poll(device_code), "once").toBe("invalid_grant");

  // It is one login like any other: it refreshes, and ends as a whole.
  const next = await client.refresh(tokens.refresh_token as string);
  await client.revoke(next.refresh_token as string);
  for (const { access_token } of [tokens, next]) expect((await server.call(access_token, "whoami")).status).toBe(401);
});

test("a code ends with the session that allowed it, until it is taken, and with no other", async () => {
  const allow = async () => {
    const { device_code, user_code: userCode } = await client.askDevice();
    const [hers, other] = [await signedIn(alice), await signedIn(alice)];
    await hers.get(`/api/auth/device?user_code=${userCode}`);
    expect((await hers.post("/api/auth/device/approve", { userCode })).status).toBe(200);
    return { device_code, hers, other };
  };
  const ended = await allow();
  expect((await ended.hers.post("/api/auth/sign-out", {})).status).toBe(200);
  expect(await poll(ended.device_code)).toBe("invalid_grant");

  const stays = await allow();
  expect((await stays.other.post("/api/auth/sign-out", {})).status).toBe(200);
  expect(await poll(stays.device_code)).toMatchObject({ access_token: expect.any(String) });
});

test("a code is answered by one person, once", async () => {
  const { device_code, user_code: userCode } = await client.askDevice();
  const [hers, his] = [await signedIn(alice), await signedIn(bob)];
  const nobody = openJar(server.url);
  expect((await nobody.post("/api/auth/device/approve", { userCode })).status).toBe(401);
  expect((await hers.post("/api/auth/device/approve", { userCode })).status, "before she has seen it").toBe(400);
  expect((await hers.get(`/api/auth/device?user_code=${userCode}`)).body.client_id).toBe("me");
  expect((await his.get(`/api/auth/device?user_code=${userCode}`)).body).toEqual({ user_code: userCode, status: "pending" });
  for (const answer of ["approve", "deny"]) expect((await his.post(`/api/auth/device/${answer}`, { userCode })).status).toBe(403);

  expect((await hers.post("/api/auth/device/deny", { userCode })).status).toBe(200);
  expect((await hers.post("/api/auth/device/approve", { userCode })).body).toMatchObject({ status: 409, code: "CONFLICT" });
  expect(await poll(device_code)).toBe("access_denied");
  expect((await his.post("/api/auth/device/approve", { userCode: "AAAAAAAA" })).body).toMatchObject({ status: 404, code: "NOT_FOUND" });
});

test("an old code is no code", async () => {
  const { device_code, user_code } = await client.askDevice();
  const jar = await signedIn(alice);
  await jar.get(`/api/auth/device?user_code=${user_code}`);
  await server.sql`update auth."deviceCode" set "expiresAt" = now() - interval '1 second'`;
  expect((await jar.get(`/api/auth/device?user_code=${user_code}`)).status).toBe(404);
  expect((await jar.post("/api/auth/device/approve", { userCode: user_code })).status).toBe(404);
  expect(await poll(device_code)).toBe("expired_token");
});

test("nobody asks for a code in somebody's name, for another client, or for more than there is", async () => {
  const jar = openJar(server.url);
  const ask = (params: Record<string, string>) => jar.form("/api/auth/device/code", params);
  expect((await ask({ client_id: "you" })).body).toMatchObject({ error: "invalid_client" });
  expect((await ask({})).body).toMatchObject({ error: "invalid_request" });
  expect((await ask({ client_id: "me", scope: "everything" })).body).toMatchObject({ error: "invalid_scope" });
  expect((await ask({ client_id: "me", user_id: alice.id })).status).toBe(200);
  expect(
    await server.sql`select from auth."deviceCode" where "userId" = ${alice.id} and status = 'pending' and "expiresAt" > now()`,
  ).toHaveLength(0);
});

test("a foreign web page can't answer with the cookies of who is signed in", async () => {
  const { user_code: userCode } = await client.askDevice();
  const jar = await signedIn(alice);
  await jar.get(`/api/auth/device?user_code=${userCode}`);
  for (const origin of ["https://evil.example", "null", ""]) {
    const { status, body } = await jar.post("/api/auth/device/approve", { userCode }, origin ? { origin } : { origin: "" });
    expect([status, body.code], origin).toEqual([403, "FORBIDDEN"]);
  }
  const cookie = [...jar.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const read = (origin?: string) => fetch(`${server.url}/api/auth/get-session`, { headers: { cookie, ...(origin && { origin }) } });
  expect((await read("https://evil.example")).status).toBe(403);
  for (const origin of [server.url, undefined]) expect(await (await read(origin)).json()).toMatchObject({ user: { id: alice.id } });
  expect((await jar.post("/api/auth/device/approve", { userCode })).status).toBe(200);
});
