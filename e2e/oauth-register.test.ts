import { afterAll, beforeAll, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { until } from "./run.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

async function register(metadata: unknown, from = "203.0.113.1") {
  const answered = await fetch(`${server.url}/api/v1/register`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-forwarded-for": from },
    body: typeof metadata === "string" ? metadata : JSON.stringify(metadata),
  });
  const text = await answered.text();
  expectClean(text);
  return { status: answered.status, body: JSON.parse(text), headers: answered.headers };
}

test("a program registers as what it may be: public, with PKCE, for the door for programs", async () => {
  const redirect_uris = [
    "http://127.0.0.1/callback",
    "https://app.example/callback",
    "com.example.app:/callback",
    "com.example.app://callback",
  ];
  const { status, body } = await register({
    redirect_uris,
    client_name: "An editor",
    token_endpoint_auth_method: "client_secret_basic",
    grant_types: ["client_credentials", "password"],
    scope: "admin account",
    jwks_uri: "http://169.254.169.254/",
    skip_consent: true,
    client_id: "me",
  });
  expect(status).toBe(201);
  expect(body).toMatchObject({
    client_id: expect.not.stringMatching(/^me$/),
    client_name: "An editor",
    redirect_uris,
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"],
  });
  expect(body).not.toHaveProperty("client_secret");
  expect(body.scope.split(" ")).not.toContain("account");
  const [kept] =
    await server.sql`select "skipConsent", "requirePKCE", scopes ? 'account' as account from auth."oauthClient" where "clientId" = ${body.client_id}`;
  expect(kept).toEqual({ skipConsent: false, requirePKCE: true, account: false });
});

const REFUSED: [unknown, string][] = [
  [{ redirect_uris: [] }, "invalid_redirect_uri"],
  [{}, "invalid_redirect_uri"],
  [{ redirect_uris: "https://app.example/" }, "invalid_redirect_uri"],
  [{ redirect_uris: Array.from({ length: 11 }, (_, i) => `https://app.example/${i}`) }, "invalid_redirect_uri"],
  ...[
    "http://app.example/",
    "http://127.0.0.1.evil.example/",
    "https://app.example/#fragment",
    "https://app.example/#",
    "https://user:secret@app.example/",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "intent://callback#Intent;end",
    "intent://callback",
    "mailto:thief@evil.example",
    "web+gatehouse://callback",
    "WEB+gatehouse://callback",
    "cursor://editor/callback",
    "search-ms:query=x&crumb=location:%5C%5Cevil.example%5Cshare",
    "ms-appinstaller:?source=https://evil.example/x.msix",
    "ms-word:ofe|u|https://evil.example/x.doc",
    "steam://run/1",
    "tel:110",
    "x-apple.systempreferences:com.apple.preference",
    "com.:/callback",
    ".com.example:/callback",
    "com..example:/callback",
    "/relative",
    "",
    `https://app.example/${"x".repeat(2048)}`,
  ].map((uri) => [{ redirect_uris: [uri] }, "invalid_redirect_uri"] as [unknown, string]),
  [{ redirect_uris: ["https://app.example/"], client_name: 1 }, "invalid_client_metadata"],
  [{ redirect_uris: ["https://app.example/"], client_name: "x".repeat(65) }, "invalid_client_metadata"],
  [{ redirect_uris: ["https://app.example/"], client_name: "right\u202eleft" }, "invalid_client_metadata"],
  [{ redirect_uris: ["https://app.example/"], client_name: "\u3164\u2800\u115f" }, "invalid_client_metadata"],
  ["{", "invalid_client_metadata"],
  ["null", "invalid_client_metadata"],
  ["[]", "invalid_client_metadata"],
];

test.each(REFUSED)("%j is refused as %s", async (metadata, error) => {
  const { status, body } = await register(metadata);
  expect({ status, error: body.error }).toEqual({ status: 400, error });
  expect(body.error_description).toMatch(/\w/);
});

test("one address registers only so many; what nobody signs in to is forgotten", async () => {
  const one = { redirect_uris: ["https://app.example/"] };
  const own = await startTestServer({ TRUST_PROXY: "1" });
  const knock = (from: string) =>
    fetch(`${own.url}/api/v1/register`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-forwarded-for": from },
      body: JSON.stringify(one),
    });
  const seen: number[] = [];
  for (let i = 0; i < 21; i++) seen.push((await knock("203.0.113.7")).status);
  expect(seen.filter((status) => status === 201)).toHaveLength(20);
  const late = await knock("203.0.113.7");
  expect(late.status).toBe(429);
  expect(Number(late.headers.get("retry-after"))).toBeGreaterThan(0);
  expect((await knock("203.0.113.8")).status).toBe(201);

  await own.sql`update auth."oauthClient" set "createdAt" = now() - interval '25 hours' where "clientId" <> 'me' and name is not null`;
  await own.close();
  const again = await startTestServer({ DATABASE_URL: own.databaseUrl });
  await until("all others are gone", async () => {
    const left = await again.sql<{ clientId: string }[]>`select "clientId" from auth."oauthClient"`;
    return left.length === 1 && left[0]?.clientId === "me";
  });
  await again.close();
});
