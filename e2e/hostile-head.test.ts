import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { head, readAnswers, sendRaw } from "./raw-http.ts";

// What may be wrong with the head of a request: its method, its address, its headers.

const WHOAMI = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';

let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer();
  session = (await server.user("Mallory")).session;
});
afterAll(() => server.close());
afterEach(async () => {
  expect((await server.call(session, "whoami")).result).toBeDefined();
});

const request = (method: string, path: string, headers: Record<string, string> = {}, body?: string) =>
  fetch(server.url + path, { method, headers, ...(body !== undefined && { body }) });
const rpcError = (status: number, code: string, requestId: string | null) => ({
  jsonrpc: "2.0",
  id: null,
  error: { code: status, message: expect.any(String), data: { code, requestId } },
});

describe("media types", () => {
  test.each([
    "application/json",
    "application/json; charset=utf-8",
    "APPLICATION/JSON;CHARSET=UTF-8",
    'application/json; charset="utf-8"',
    "application/json; charset=UTF8",
  ])("%s is taken", async (type) => {
    const answer = await server.post(WHOAMI, { "content-type": type, authorization: `Bearer ${session}` });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json; charset=utf-8"]);
  });

  test.each<Record<string, string>>([
    { "content-type": "text/plain" },
    { "content-type": "application/x-www-form-urlencoded" },
    { "content-type": "multipart/form-data; boundary=x" },
    { "content-type": "application/xml" },
    { "content-type": "application/jsonp" },
    { "content-type": "application/json-patch+json" },
    { "content-type": "text/json" },
    { "content-type": "application/json, text/plain" },
    { "content-type": "json" },
    { "content-type": "*/*" },
    { "content-type": "application/json; charset=utf-16" },
    { "content-type": "application/json; charset=iso-8859-1" },
    { "content-type": 'application/json; x=y; charset="utf-7"' },
    { "content-encoding": "gzip" },
    { "content-encoding": "br" },
    { "content-encoding": "identity, gzip" },
  ])("%j is not", async (headers) => {
    const answer = await server.post(WHOAMI, { authorization: `Bearer ${session}`, ...headers });
    expect(answer.status).toBe(415);
    expectClean(answer.text);
    expect(JSON.parse(answer.text)).toEqual(rpcError(415, "UNSUPPORTED_MEDIA_TYPE", answer.headers.get("x-request-id")));
  });

  test("none at all is not either", async () => {
    const lines = head(session, `Content-Length: ${WHOAMI.length}`, "Connection: close").replace(/Content-Type.*\r\n/, "");
    expect(readAnswers(await sendRaw(server.url, lines, WHOAMI))[0]?.status).toBe(415);
  });
});

describe("methods and addresses", () => {
  test.each(["GET", "HEAD", "PUT", "PATCH", "DELETE"])("%s on the RPC path is answered 405 with Allow", async (method) => {
    const body = method === "GET" || method === "HEAD" ? undefined : WHOAMI;
    const answer = await request(
      method,
      "/api/v1/user/rpc",
      { authorization: `Bearer ${session}`, "content-type": "application/json" },
      body,
    );
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
    const text = await answer.text();
    if (method !== "HEAD") expect(JSON.parse(text)).toEqual(rpcError(405, "METHOD_NOT_ALLOWED", answer.headers.get("x-request-id")));
  });

  test.each([
    ["GET", "/nothing"],
    ["POST", "/api/v1/user/rpc/"],
    ["POST", "/api/v1/user/RPC"],
    ["POST", "/api/v1/user/rpc/x"],
    ["POST", "/api/auth/update-user"],
    ["POST", "/api/auth/delete-user"],
    ["GET", "/api/auth/list-sessions"],
    ["GET", `/${"a".repeat(8000)}`],
    ["GET", "/%zz"],
    ["GET", "/%ff%fe"],
    ["GET", "/..%2f..%2fetc%2fpasswd"],
  ])("%s %s is a problem+json 404", async (method, path) => {
    const answer = await request(
      method,
      path,
      { authorization: `Bearer ${session}`, "content-type": "application/json" },
      method === "POST" ? "{}" : undefined,
    );
    const text = await answer.text();
    expectClean(text);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "application/problem+json; charset=utf-8"]);
    expect(JSON.parse(text)).toEqual({
      type: "about:blank",
      title: "NOT_FOUND",
      status: 404,
      detail: expect.any(String),
      code: "NOT_FOUND",
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
  });
});

describe("headers", () => {
  const length = `Content-Length: ${WHOAMI.length}`;
  const CLOSE = "Connection: close";
  const asChunk = `${WHOAMI.length.toString(16)}\r\n${WHOAMI}\r\n0\r\n\r\n`;
  const bad: [string, number, () => string][] = [
    ["two lengths", 400, () => head(session, length, "Content-Length: 4") + WHOAMI],
    ["a length below nothing", 400, () => head(session, "Content-Length: -1") + WHOAMI],
    ["a length in hexadecimal", 400, () => head(session, "Content-Length: 0x10") + WHOAMI],
    ["both a length and chunks", 400, () => head(session, length, "Transfer-Encoding: chunked") + asChunk],
    ["a chunk whose size is no number", 400, () => `${head(session, "Transfer-Encoding: chunked")}zz\r\n${WHOAMI}\r\n`],
    ["a chunk longer than its size", 400, () => `${head(session, "Transfer-Encoding: chunked")}2\r\n${WHOAMI}\r\n0\r\n\r\n`],
    ["a NUL", 400, () => head(session, length, "X-A: a\0b") + WHOAMI],
    ["a folded line", 400, () => head(session, length, "X-A: a\r\n b") + WHOAMI],
    ["a space before the colon", 400, () => head(session, length, "X-A : a") + WHOAMI],
    ["no name", 400, () => head(session, length, ": a") + WHOAMI],
    ["lines without CR", 400, () => head(session, length).replaceAll("\r", "") + WHOAMI],
    ["no host", 400, () => head(session, length, CLOSE).replace(/Host.*\r\n/, "") + WHOAMI],
    ["a method that there is not", 400, () => head(session, length).replace("POST", "BREW") + WHOAMI],
    ["the preface of HTTP/2", 400, () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["the hello of TLS", 400, () => "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\r\n\r\n"],
    ["100 kB in one line", 431, () => head(session, length, `X-A: ${"a".repeat(100_000)}`) + WHOAMI],
    ["5,000 lines", 431, () => head(session, length, ...Array.from({ length: 5000 }, (_, i) => `X-${i}: a`)) + WHOAMI],
    ["an expectation that nobody meets", 417, () => head(session, length, CLOSE, "Expect: a-miracle") + WHOAMI],
    ["a credential of 10 kB", 401, () => head(`me_pat_${"a".repeat(10_000)}`, length, CLOSE) + WHOAMI],
    ["a credential behind another one", 401, () => head("nobody", `Authorization: Bearer ${session}`, length, CLOSE) + WHOAMI],
    [
      "another credential in the query",
      401,
      () => head("nobody", length, CLOSE).replace("rpc HTTP", `rpc?access_token=${session} HTTP`) + WHOAMI,
    ],
  ];

  test.each(bad)("with %s: %i", async (_what, status, make) => {
    const wire = await sendRaw(server.url, make());
    expectClean(wire);
    const [answer] = readAnswers(wire);
    expect(answer?.status).toBe(status);
    if (status === 401) return;
    // Where there is a body at all, it is in our words: a missing host and an unmet expectation are answered below us.
    const type = answer?.headers.get("content-type") ?? null;
    expect([null, "application/problem+json"]).toContain(type);
    if (type) expect(JSON.parse(answer?.body ?? "")).toMatchObject({ status, code: "INVALID_REQUEST", requestId: expect.any(String) });
  });

  test.each([
    ["traceparent: 00-zz-zz-01"],
    [`traceparent: ${"a".repeat(4000)}`],
    ["X-Request-Id: chosen by the caller"],
    ["X-Forwarded-For: ::ffff:1.2.3.4, <script>"],
    ["Origin: null"],
    ["Connection: Upgrade\r\nUpgrade: h2c"],
    ["X-HTTP-Method-Override: DELETE"],
  ])("%s changes nothing", async (field) => {
    const last = field.startsWith("Connection") ? [] : [CLOSE];
    const closing = field.startsWith("Connection") ? head(session, length, CLOSE) + WHOAMI : "";
    const answers = readAnswers(await sendRaw(server.url, head(session, length, field, ...last) + WHOAMI + closing));
    for (const { status, headers, body } of answers) {
      expect([status, JSON.parse(body).result.name]).toEqual([200, "Mallory"]);
      expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(answers.length).toBe(closing ? 2 : 1);
  });
});

test("a request with two Host headers is refused (RFC 9112 §3.2)", async () => {
  const wire = await sendRaw(server.url, head(session, "Host: elsewhere", `Content-Length: ${WHOAMI.length}`, "Connection: close"), WHOAMI);
  expect(readAnswers(wire).map(({ status }) => status)).toEqual([400]);
});

test("a coding takes no longer to refuse for the spaces in its name", async () => {
  const refuse = async (coding: string) => {
    const startedAt = performance.now();
    const { status } = await fetch(server.rpcUrl, {
      method: "POST",
      headers: { "content-type": "application/json", "content-encoding": coding },
      body: "{}",
    });
    expect(status).toBe(415);
    return performance.now() - startedAt;
  };
  const took = { spaces: 0, none: 0 };
  for (let i = 0; i < 5; i++) {
    took.none += await refuse(`identity,${"x".repeat(12_000)}`);
    took.spaces += await refuse(`identity,${" ".repeat(11_999)}x`);
  }
  expect(took.spaces).toBeLessThan(5 * took.none + 100);
});
