import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

const LIMIT = 8;
const WHOAMI = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ RATE_LIMIT: String(LIMIT) });
});
afterAll(() => server.close());

test("requests beyond the limit are told when to come back, whoever asks, until the minute is over", async () => {
  const { session } = await server.user("Alice");
  const limited = { authorization: `Bearer ${session}` };

  for (let left = LIMIT - 1; left >= 0; left--) {
    const { status, headers } = await server.post(left % 2 ? WHOAMI : "not JSON", limited);
    expect(status).toBe(200);
    expect(headers.get("ratelimit-policy")).toBe(`"address";q=${LIMIT};w=60`);
    expect(headers.get("ratelimit")).toMatch(new RegExp(`^"address";r=${left};t=\\d+$`));
    expect(headers.get("retry-after")).toBeNull();
  }

  // 429, and never 401: a client that is told to sign in again would only make it worse.
  for (const credential of [limited, {}, { authorization: "Bearer nobody" }]) {
    const { status, headers, text } = await server.post(WHOAMI, credential);
    expect(status).toBe(429);
    expect(headers.get("www-authenticate")).toBeNull();
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(headers.get("retry-after"))).toBeLessThanOrEqual(60);
    expect(headers.get("ratelimit")).toMatch(/^"address";r=0;t=\d+$/);
    expect(JSON.parse(text)).toEqual({
      jsonrpc: "2.0",
      id: null,
      error: { code: 429, message: expect.any(String), data: { code: "RATE_LIMITED", requestId: headers.get("x-request-id") } },
    });
  }

  const signIn = await fetch(`${server.url}/api/auth/sign-in/email`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect([signIn.status, signIn.headers.get("content-type")]).toEqual([429, "application/problem+json; charset=utf-8"]);
  expect(await signIn.json()).toMatchObject({ status: 429, code: "RATE_LIMITED" });

  // Whoever watches over the server is not counted.
  for (const path of ["/healthz", "/readyz"]) expect((await fetch(server.url + path)).status).toBe(200);
});
