import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

const LIMIT = 8;
const WHOAMI = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ RATE_LIMIT: String(LIMIT) });
});
afterAll(() => server.close());

test("one credential has one share, however it is spelled, and whatever comes with it", async () => {
  const { session } = await server.user("Speller");
  const { key } = (await server.call(session, "apiKey.create", { name: "spelled" })).result;
  const cookie = (more: string, value = encodeURIComponent(session)) => ({
    origin: server.url,
    cookie: `a=1; gatehouse.session_token=${value}${more}`,
  });
  const everyByte = (text: string) => Buffer.from(text).toString("hex").replace(/../g, "%$&");
  const spellings: Record<string, Record<string, string>[]> = {
    "a key": ["Bearer ", "bearer ", "BEARER  ", "bEaReR     "].map((scheme) => ({ authorization: scheme + key })),
    "a session": [session, encodeURIComponent(session), everyByte(session)].map((token) => ({ authorization: `Bearer ${token}` })),
    "a cookie": [cookie(""), cookie("; b=2"), cookie(`; gatehouse.session_token=${session}x`), cookie("", everyByte(session))],
  };
  for (const [what, headers] of Object.entries(spellings)) {
    await server.post(WHOAMI, headers[0]); // from now on it is known here
    const asked = Array.from({ length: 3 * LIMIT }, (_, i) => server.post(WHOAMI, headers[i % headers.length]));
    const good = (await Promise.all(asked)).filter(({ status }) => status === 200);
    expect([what, good.length <= LIMIT]).toEqual([what, true]);
    expect(good.length).toBeGreaterThan(0);
  }
});

test("a session's cookie that is known at another door opens none for programs", async () => {
  const { session } = await server.user("Warm");
  const headers = { origin: server.url, cookie: `gatehouse.session_token=${encodeURIComponent(session)}` };
  expect((await server.post(WHOAMI, headers)).status).toBe(200);
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} });
  const answer = await fetch(`${server.url}/mcp`, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body });
  expect(answer.status).toBe(401);
});

const PAGE = { origin: "https://page.example" };

test("requests beyond the limit are told when to come back, whoever asks, until the minute is over", async () => {
  const { session } = await server.user("Alice");
  const limited = { authorization: `Bearer ${session}` };
  await server.post(WHOAMI, limited); // from now on it is known here

  for (const asker of [limited, {}, PAGE]) {
    for (let left = LIMIT - 1; left >= 0; left--) {
      const { status, headers } = await server.post(left % 2 ? WHOAMI : "not JSON", asker);
      expect(status).toBe(asker === limited ? 200 : 401);
      expect(headers.get("ratelimit-policy")).toBe(`"address";q=${LIMIT};w=60`);
      expect(headers.get("ratelimit")).toMatch(new RegExp(`^"address";r=${left};t=\\d+$`));
      expect(headers.get("retry-after")).toBeNull();
    }

    // 429, and never 401: a client that is told to sign in again would only make it worse.
    const { status, headers, text } = await server.post(WHOAMI, asker);
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
  const registering = await fetch(`${server.url}/api/v1/register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect([registering.status, await registering.json()]).toMatchObject([429, { code: "RATE_LIMITED" }]);

  // Whoever watches over the server is not counted.
  for (const path of ["/healthz", "/readyz"]) expect((await fetch(server.url + path)).status).toBe(200);
});

test("what a page makes a browser send keeps nobody at its address from their work, nor from revocation and sign-in", async () => {
  const [victim, other] = [await server.user("Victim"), await server.user("Other")];
  const known = { authorization: `Bearer ${victim.session}` };
  expect((await server.post(WHOAMI, known)).status).toBe(200);
  const { result: key } = await server.call(victim.session, "apiKey.create", { name: "stolen" });

  const image = (headers: Record<string, string>) => fetch(`${server.url}/api/v1/sessions`, { headers });
  const junk = () => server.post(WHOAMI, { authorization: `Bearer me_pat_${Math.random()}` });
  for (let i = 0; i < LIMIT * 2; i++)
    await Promise.all([
      image({}),
      image(PAGE),
      image({ "sec-fetch-site": "cross-site" }),
      junk(),
      server.post(WHOAMI, { authorization: `Bearer ${other.session}` }),
    ]);
  expect((await image({})).status).toBe(429);
  expect((await image(PAGE)).status).toBe(429);
  expect((await junk()).status).toBe(429);

  expect((await server.post(WHOAMI, known)).status).toBe(200);
  const post = (path: string, type: string, body: string, headers: Record<string, string> = {}) =>
    fetch(server.url + path, { method: "POST", headers: { "content-type": type, ...headers }, body });
  expect((await post("/api/v1/revoke", "application/x-www-form-urlencoded", `token=${key.key}`)).status).toBe(200);
  expect((await server.call(victim.session, "apiKey.list")).result.keys).toEqual([]);
  const signIn = JSON.stringify({ email: victim.email, password: victim.password });
  expect((await post("/api/auth/sign-in/email", "application/json", signIn)).status).toBe(200);
  // A page can't use up what is kept for that, either.
  const forged = await Promise.all(
    Array.from({ length: LIMIT }, () => post("/api/v1/revoke", "application/x-www-form-urlencoded", "token=x", PAGE)),
  );
  for (const { status } of forged) expect(status).toBe(429);
  expect((await post("/api/v1/revoke", "application/x-www-form-urlencoded", "token=x")).status).toBe(200);
});

test("strangers at an address keep out nobody there who is signed in by cookie, and no good key that was not seen before", async () => {
  const own = await startTestServer({ RATE_LIMIT: String(LIMIT) });
  try {
    const ada = await own.user("Ada");
    const signedIn = await fetch(`${own.url}/api/auth/sign-in/email`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: own.url },
      body: JSON.stringify({ email: ada.email, password: ada.password }),
    });
    const cookie = signedIn.headers
      .getSetCookie()
      .map((set) => set.split(";")[0])
      .join("; ");
    const { key } = (await own.call(ada.session, "apiKey.create", { name: "unseen" })).result;
    for (let i = 0; i < LIMIT * 2; i++) await Promise.all([own.post(WHOAMI, {}), own.post(WHOAMI, { authorization: "Bearer x" })]);
    const junk: Record<string, string>[] = [{}, { authorization: "Bearer x" }];
    for (const headers of junk) expect((await own.post(WHOAMI, headers)).status).toBe(429);

    expect((await fetch(`${own.url}/account`, { headers: { cookie } })).status).toBe(200);
    for (let i = 0; i < LIMIT - 2; i++) expect((await own.post(WHOAMI, { cookie, origin: own.url })).status).toBe(200);
    expect((await own.post(WHOAMI, { authorization: `Bearer ${key}` })).status).toBe(200);
  } finally {
    await own.close();
  }
});
