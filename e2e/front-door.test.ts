import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { inputOf, routes, sendTo, valuesFor } from "./people-routes.ts";
import { exchange, head } from "./raw-http.ts";
import { makeHome, me, meJson, startUp } from "./run.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ TRUST_PROXY: "1" });
});
afterAll(() => server.close());

const signIn = (url: string, headers: Record<string, string> = {}, body: object = { email: "nobody@example.com", password: "x" }) =>
  fetch(`${url}/api/auth/sign-in/email`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

test("behind one proxy, what a caller writes into X-Forwarded-For is not their address", async () => {
  const statuses: number[] = [];
  for (let i = 0; i < 12; i++) statuses.push((await signIn(server.url, { "x-forwarded-for": `192.0.2.${i}, 198.51.100.7` })).status);
  expect(statuses).toEqual([...Array(10).fill(401), 429, 429]);
  expect((await signIn(server.url, { "x-forwarded-for": "192.0.2.1, 198.51.100.8" })).status).toBe(401);
});

test("with two Authorization headers neither counts", async () => {
  const { session } = await server.user("Ada");
  const body = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';
  const { status } = await exchange(
    server.url,
    head(session, `Authorization: Bearer ${session}`, "Connection: close", `Content-Length: ${body.length}`),
    body,
  );
  expect(status).toBe(401);
});

test("a key that has expired is not rotated into another dead one", async () => {
  const { session } = await server.user("Ada");
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  const { result } = await server.call(session, "apiKey.create", { name: "short", expiresAt });
  await server.sql`update api_keys set expires_at = now() where id = ${result.id}`;
  expect((await server.call(session, "apiKey.rotate", { id: result.id })).error?.data.code).toBe("CONFLICT");
});

test("an address with a path is no PUBLIC_URL, and a proxy has an address", async () => {
  const home = await makeHome({
    PUBLIC_URL: "https://example.com/gatehouse",
    TRUST_PROXY: "true",
    ALLOWED_ORIGINS: "https://app.example.com/x",
    COOKIE_ORIGINS: "null",
  });
  const { code, stderr } = await me(home, ["up"]);
  expect(code).toBe(1);
  for (const name of ["PUBLIC_URL", "TRUST_PROXY", "ALLOWED_ORIGINS", "COOKIE_ORIGINS"]) expect(stderr).toContain(`${name}:`);
});

test.each(routes)("$method $path is no fault of the server, whatever text it is sent", async (route) => {
  for (const text of ["ü", "日本", "a\nb", "\u0000", "\ud800", "\u001b[2J", "%", "%ff", "a@evil@example.com", "\ufeff"]) {
    const input = inputOf(route, valuesFor("nobody@example.com"), {
      "/callback/:id": { state: "", code: "" },
      "/oauth2/authorize": { client_id: "me", redirect_uri: "", state: "" },
    });
    for (const [name, value] of Object.entries(input)) {
      if (typeof value !== "string") continue;
      await server.sql`delete from auth.attempts`;
      const { status } = await sendTo(server.url, route, { ...input, [name]: name === "callbackURL" ? `/${text}` : text });
      expect(status, `${name} ${JSON.stringify(text)}`).toBeLessThan(500);
    }
  }
});

test("sign-ins are in the log, with address and without e-mail; a kept session is kept", async () => {
  const home = await makeHome();
  const first = await startUp(home);
  const kept = (await meJson(home, ["whoami"])).credential.id;
  expect((await signIn(first.url)).status).toBe(401);
  await me(home, ["logout"]);
  await first.stop();
  expect(first.stderr()).toMatch(/"route":"\/sign-in\/email".*"address":"127\.0\.0\.1".*"outcome":"UNAUTHENTICATED".*"sign-in refused"/);
  expect(first.stderr()).toMatch(/"route":"\/sign-out".*"outcome":"OK".*"signed out"/);
  expect(first.stderr()).not.toContain("@example.com");

  const { port } = new URL(first.url);
  const second = await startUp(home, { PORT: port });
  const renewed = (await meJson(home, ["whoami"])).credential.id;
  await second.stop();
  const third = await startUp(home, { PORT: port });
  expect((await meJson(home, ["whoami"])).credential.id).toBe(renewed);
  expect(renewed).not.toBe(kept);
  await third.stop();
});
