import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

/** Calls a second that a credential may make for long: few, so that a flood is quickly made. */
const RATE = 20;
const MEBIBYTE = 1024 * 1024;

let server: TestServer;
let users = 0;
beforeAll(async () => {
  server = await startTestServer({ CALL_RATE: String(RATE) });
});
afterAll(() => server.close());

/** The key of somebody new, who has used up nothing. */
async function makeKey(): Promise<string> {
  const { session } = await server.user(`user${++users}`);
  return (await server.call(session, "apiKey.create", { name: "mcp" })).result.key;
}

async function post(key: string, body: unknown, signal: AbortSignal | null = null) {
  const answer = await fetch(`${server.url}/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2025-11-25",
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
    signal,
  });
  return { status: answer.status, retryAfter: answer.headers.get("retry-after"), text: await answer.text() };
}

const message = (method: string, params: object = {}) => ({ jsonrpc: "2.0", id: 1, method, params });
const client = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "tests", version: "1" } };

const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`m${i}`, {}]));
test.each([
  ["_meta of a call", message("tools/call", { name: "whoami", arguments: {}, _meta: many(1000) })],
  ["capabilities of a client", message("initialize", { ...client, capabilities: { experimental: many(1000) } })],
  ["what no method takes", message("tools/list", { more: [[many(998)]] })],
  ["beside params that are a long text", { ...message("tools/list"), more: Array(1200).fill(0), params: "x".repeat(900_000) }],
  [
    "as the arguments, a value that is there many times",
    message("tools/call", { name: "whoami", arguments: 0, _meta: { all: Array(1200).fill(0) } }),
  ],
])("a message of many values is refused before the protocol looks at it: %s", async (_what, body) => {
  const { status, text } = await post(await makeKey(), body);
  expect([status, JSON.parse(text).code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
  const fewer = await post(await makeKey(), message("tools/call", { name: "whoami", arguments: {}, _meta: many(400) }));
  expect(fewer.status).toBe(200);
});

test.each([
  ["ping", message("ping"), 8 * RATE],
  ["initialize", message("initialize", client), 8 * RATE],
  ["a call of no tool", message("tools/call", { name: "none", arguments: {} }), 8 * RATE],
  ["a call with wrong arguments", message("tools/call", { name: "read_session", arguments: { session: 1 } }), 8 * RATE],
  ["what is no message", "{ broken", 8 * RATE],
  ["what is large", `"${"x".repeat(MEBIBYTE - 2)}"`, 5],
])("a flood of messages that lead to no call is refused: %s", async (_what, body, count) => {
  const key = await makeKey();
  const over = new AbortController();
  const flood = Array.from({ length: count }, () => post(key, body, over.signal));
  const refused = await Promise.any(
    flood.map(async (answering) => {
      const answer = await answering;
      return answer.status === 429 ? answer : Promise.reject(answer.status);
    }),
  );
  expect([JSON.parse(refused.text).code, Number(refused.retryAfter) > 0]).toEqual(["RATE_LIMITED", true]);
  over.abort();
  await Promise.allSettled(flood);
});

test("a batch is refused, and nothing of it is done", async () => {
  const key = await makeKey();
  for (const batch of [[], [message("ping")], Array(50).fill(message("tools/list")), Array(4000).fill(message("ping"))]) {
    const { status, text } = await post(key, batch);
    expect([status, JSON.parse(text)]).toEqual([400, expect.objectContaining({ code: "INVALID_REQUEST" })]);
  }
  const { status, text } = await post(key, Array(5000).fill(message("ping")));
  expect([status, JSON.parse(text)], "of more values than any body may hold").toEqual([
    413,
    expect.objectContaining({ code: "PAYLOAD_TOO_LARGE" }),
  ]);
});

test("a long name does not come back", async () => {
  const key = await makeKey();
  const long = "x".repeat(100_000);
  for (const body of [message("tools/call", { name: long }), message(long), message("prompts/get", { name: long })]) {
    const { status, text } = await post(key, body);
    expect(status).toBe(400);
    expect(text.length).toBeLessThan(1000);
  }
});
