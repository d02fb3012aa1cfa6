import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

// What comes to an endpoint of OAuth in a form that it does not take.

const FORM = "application/x-www-form-urlencoded";
const JSON_TYPE = "application/json";
const endpoints: Record<string, string> = {
  "/api/v1/token": FORM,
  "/api/v1/revoke": FORM,
  "/api/v1/introspect": FORM,
  "/api/auth/device/code": FORM,
  "/api/v1/register": JSON_TYPE,
};

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

async function send(path: string, init: RequestInit) {
  const answered = await fetch(server.url + path, init);
  const text = await answered.text();
  return { status: answered.status, headers: answered.headers, body: text ? JSON.parse(text) : undefined };
}

test("these are all that the metadata names, besides the page that people are sent to", async () => {
  const { body } = await send("/.well-known/oauth-authorization-server", {});
  const named = Object.entries<string>(body).flatMap(([name, value]) => (name.endsWith("_endpoint") ? [new URL(value).pathname] : []));
  expect(named.filter((path) => path !== "/api/auth/oauth2/authorize").sort()).toEqual(Object.keys(endpoints).sort());
});

describe.each(Object.entries(endpoints))("%s", (path, type) => {
  test.each([
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/xml",
    "*/*",
    "json",
    `${type}; charset=utf-16`,
    type === FORM ? JSON_TYPE : FORM,
  ])("does not take %s, and says what it takes", async (wrong) => {
    const { status, headers, body } = await send(path, { method: "POST", headers: { "content-type": wrong }, body: "{}" });
    expect([status, body]).toEqual([
      415,
      {
        error: "invalid_request",
        error_description: `Send the request as Content-Type: ${type}, in UTF-8, not compressed.`,
        code: "UNSUPPORTED_MEDIA_TYPE",
        requestId: headers.get("x-request-id"),
      },
    ]);
  });

  test("does not take what is compressed, or too long", async () => {
    const packed = await send(path, { method: "POST", headers: { "content-type": type, "content-encoding": "gzip" }, body: "x" });
    expect([packed.status, packed.body.code]).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
    const long = await send(path, { method: "POST", headers: { "content-type": type }, body: "x".repeat(5_000_000) });
    expect([long.status, long.body.error, long.body.code]).toEqual([413, "invalid_request", "PAYLOAD_TOO_LARGE"]);
    expect(long.headers.get("connection")).toBe("close");
  });

  test.each(["GET", "HEAD", "PUT", "PATCH", "DELETE"])("answers %s with 405, and what it allows", async (method) => {
    const { status, headers, body } = await send(path, { method });
    expect([status, headers.get("allow"), body?.code]).toEqual([405, "POST", method === "HEAD" ? undefined : "METHOD_NOT_ALLOWED"]);
  });

  test("takes its own type, in any case and with its charset", async () => {
    for (const right of [type, type.toUpperCase(), `${type}; charset=UTF-8`]) {
      const { status, body } = await send(path, { method: "POST", headers: { "content-type": right }, body: "x=x" });
      expect([status, body.code], right).toEqual([400, "INVALID_PARAMS"]);
      expect(body.error_description).not.toContain("urlencoded");
    }
  });
});
