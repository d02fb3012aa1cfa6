import { once } from "node:events";
import { MAX_BODY_BYTES, spaceApi, userApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Opened, pathOf, routesOpenedBy } from "./opened.ts";
import { dial, readAnswers, received } from "./raw-http.ts";
import { makeHome, startUp } from "./run.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

// Bodies that cost far more than they should: many bytes, many values, many mistakes.

/** Bytes that a route takes of anybody. */
const ANYBODYS = 16_384;
/** Most bytes of an answer that says what is wrong. */
const MAX_ANSWER = 16_384;
const FORM = "application/x-www-form-urlencoded";

let server: TestServer;
let world: SpaceWorld;
let routes: Opened[];
let pat: string;
beforeAll(async () => {
  ({ started: server, routes } = await routesOpenedBy(() => startTestServer({ BODY_TIMEOUT_MS: "5000" })));
  world = await makeSpaceWorld(server);
  pat = (await server.call(world.ada.session, "apiKey.create", { name: "mcp" })).result.key;
});
afterAll(() => server.close());
// Many of these addresses count who asks.
beforeEach(() => server.sql`delete from auth.attempts`);

const FORMS = new Set(["/api/v1/token", "/api/v1/revoke", "/api/v1/introspect", "/api/auth/device/code"]);

/** Every address that reads a body, with the method that it takes. */
async function readers(): Promise<{ url: string; method: string; limit: number }[]> {
  const taken = routes.flatMap(({ url, methods, bodyLimit }) =>
    methods.filter((method) => /^(POST|PUT|PATCH|DELETE)$/.test(method)).map((method) => ({ url, method, limit: bodyLimit ?? ANYBODYS })),
  );
  const answers = await Promise.all(taken.map(({ url, method }) => fetch(server.url + pathOf(url), { method })));
  return taken.filter((_, i) => answers[i]?.status !== 405);
}

const headersFor = (url: string): Record<string, string> => ({
  "content-type": FORMS.has(url) ? FORM : "application/json",
  authorization: `Bearer ${url === "/mcp" ? pat : world.ada.session}`,
  "x-me-space": world.slug,
  ...(url === "/mcp" && { accept: "application/json, text/event-stream" }),
});

async function post(url: string, method: string, body: string) {
  const headers = headersFor(url);
  // What ends a session, or asks for one of its own, is tried with that of nobody else.
  if (url.startsWith("/api/auth/")) headers.authorization = `Bearer ${(await server.user("Guest")).session}`;
  const answer = await fetch(server.url + pathOf(url), { method, headers, body, redirect: "manual" });
  return { status: answer.status, text: await answer.text() };
}

test("addresses that take more than 16 KiB are few, and known", async () => {
  const big = (await readers()).filter(({ limit }) => limit > ANYBODYS);
  expect(Object.fromEntries(big.map(({ url, method, limit }) => [`${method} ${url}`, limit]))).toEqual({
    "POST /api/v1/user/rpc": MAX_BODY_BYTES,
    "POST /api/v1/space/rpc": MAX_BODY_BYTES,
    "POST /mcp": MAX_BODY_BYTES,
    "POST /access/v1/evaluations": 262_144,
    "POST /api/v1/sessions": MAX_BODY_BYTES,
    "PATCH /api/v1/sessions/:session": MAX_BODY_BYTES,
    "POST /api/v1/sessions/:session/in": MAX_BODY_BYTES,
    "POST /api/v1/runs/:run/emit": MAX_BODY_BYTES,
  });
});

test("of a stranger no address waits for more than that, announced or not; where it is not, the line is closed", async () => {
  const known = await readers();
  expect(known.length).toBeGreaterThan(30);
  const { host } = new URL(server.url);
  for (const { url, method, limit } of known)
    for (const credential of [undefined, `me_pat_${"0".repeat(36)}`]) {
      const head = [
        `${method} ${pathOf(url)} HTTP/1.1`,
        `Host: ${host}`,
        `Content-Type: ${FORMS.has(url) ? FORM : "application/json"}`,
        ...(credential ? [`Authorization: Bearer ${credential}`] : []),
      ];
      const piece = " ".repeat(4096);
      for (const [how, text] of [
        ["announced", [...head, `Content-Length: ${ANYBODYS + 1}`, "", ""].join("\r\n")],
        ["in chunks", [...head, "Transfer-Encoding: chunked", "", ""].join("\r\n") + `1000\r\n${piece}\r\n`.repeat(5)],
      ] as const) {
        const socket = await dial(server.url);
        const wire = received(socket);
        socket.write(text); // and then nothing: who reads on waits for it
        await once(socket, "data");
        if (how === "announced") socket.destroy();
        const [answer] = readAnswers(await wire);
        const title = `${method} ${url} ${how}`;
        expect(answer?.status, title).toBe(limit > ANYBODYS ? 401 : 413);
        if (how === "in chunks") expect(answer?.headers.get("connection"), title).toBe("close");
      }
    }
});

/** What parsers, schemas and messages about them make much of. */
const shapes: Record<string, (bytes: number) => string> = {
  "unknown members": (bytes) => `{${Array.from({ length: Math.min(9000, Math.floor(bytes / 12)) }, (_, i) => `"k${i}":1`).join(",")}}`,
  "long names": (bytes) => `{${Array.from({ length: Math.floor(bytes / 1100) }, (_, i) => `"${i}${"k".repeat(1000)}":1`).join(",")}}`,
  "names that stand twice": (bytes) =>
    `{${Array(Math.min(9000, Math.floor(bytes / 8)))
      .fill('"a":1')
      .join(",")}}`,
  arrays: (bytes) => "[".repeat(Math.min(20_000, Math.floor(bytes / 2 - 50))) + "]".repeat(Math.min(20_000, Math.floor(bytes / 2 - 50))),
};
const form = (bytes: number) =>
  Array.from({ length: Math.floor(bytes / 9) }, (_, i) => `k${i}=1`)
    .join("&")
    .slice(0, bytes - 1);

test("what is said about a body is short, at every address, however much is wrong with it", async () => {
  for (const { url, method, limit } of await readers()) {
    const bodies: [string, string][] = FORMS.has(url)
      ? [["fields", form(limit)]]
      : Object.entries(shapes).map(([what, make]) => [what, make(Math.min(limit, 500_000))]);
    for (const [what, body] of bodies) {
      await server.sql`delete from auth.attempts`;
      const { status, text } = await post(url, method, body);
      expect(text.length, `${method} ${url}: ${what}: ${status} ${text.slice(0, 200)}`).toBeLessThan(MAX_ANSWER);
      expect([500, 429, 503], `${method} ${url}: ${what}`).not.toContain(status);
    }
  }
});

test("what is said about params is short, for every method and every tool", async () => {
  for (const [door, api] of [
    [undefined, userApi],
    [world.slug, spaceApi],
  ] as const)
    for (const method of Object.keys(api))
      for (const [what, make] of Object.entries(shapes)) {
        const body = `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${make(100_000)}}`;
        const { text } = await server.post(body, { authorization: `Bearer ${world.ada.session}`, ...(door && { "x-me-space": door }) });
        expect(text.length, `${method}: ${what}`).toBeLessThan(MAX_ANSWER);
      }
  for (const tool of ["whoami", "start_agent_chat", "list_agents", "no_such_tool"])
    for (const what of ["unknown members", "long names"]) {
      const args = (shapes[what] as (bytes: number) => string)(500_000);
      const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${tool}","arguments":${args}}}`;
      expect((await post("/mcp", "POST", body)).text.length, `${tool}: ${what}`).toBeLessThan(MAX_ANSWER);
    }
});

test("who sends a large call with a token that has ended hears so, and the line goes on", async () => {
  const body = `{"jsonrpc":"2.0","id":1,"method":"whoami","params":{"x":"${"x".repeat(900_000)}"}}`;
  for (let i = 0; i < 10; i++) {
    expect((await server.post(body, { authorization: "Bearer nobody" })).status).toBe(401);
    expect((await server.call(world.ada.session, "whoami")).status).toBe(200);
  }
});

describe("values are counted before they are parsed", () => {
  const many = `[${Array(60_000).fill("{}").join(",")}]`;
  const long = `[${Array(10_001).fill("1").join(",")}]`;
  const wide = `{${Array.from({ length: 10_001 }, (_, i) => `"k${i}":1`).join(",")}}`;
  const deep = "[".repeat(60_000);

  test.each(Object.entries({ many, long, wide, deep }))("%s: too large at every address that takes so many bytes", async (_what, value) => {
    const big = (await readers()).filter(({ limit }) => limit > ANYBODYS);
    expect(big).toHaveLength(8);
    for (const { url, method } of big) {
      const { status, text } = await post(url, method, `{"jsonrpc":"2.0","id":1,"method":"session.send","params":{"message":${value}}}`);
      expect([status, text.includes("PAYLOAD_TOO_LARGE")], `${method} ${url}`).toEqual([413, true]);
    }
  });

  test("quotes and escapes in texts hide no values, and make none", async () => {
    const text = JSON.stringify(`${'{"[\\,'.repeat(20_000)}`);
    const answer = await server.post(`{"jsonrpc":"2.0","id":${text},"method":"whoami"}`, { authorization: `Bearer ${world.ada.session}` });
    expect(JSON.parse(answer.text).result.name).toBe("Ada");
    const hidden = `{"a":"\\\\","b":${many}}`;
    expect((await post("/api/v1/user/rpc", "POST", hidden)).status).toBe(413);
  });
});

test.each([true, false])("bodies that do not end take up no more than their sender may send at once, announced: %s", async (announced) => {
  const { key } = (await server.call(world.ada.session, "secretKey.create", { name: `chat-${announced}` }, world.slug)).result;
  const { token } = (await server.call(key, "session.create", { task: "chat" }, world.slug)).result;
  const SENT = 900_000;
  const lines = Array.from({ length: 8 }, async () => {
    const line = await dial(server.url);
    const length = announced ? "content-length: 1000000" : "transfer-encoding: chunked";
    line.write(
      `POST /api/v1/space/rpc HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\nx-me-space: ${world.slug}\r\ncontent-type: application/json\r\n${length}\r\n\r\n`,
    );
    line.write(announced ? "x".repeat(SENT) : `${SENT.toString(16)}\r\n${"x".repeat(SENT)}`);
    return line;
  });
  const answers = await Promise.all(lines.map(async (dialed) => readAnswers(await received(await dialed))[0]?.status));
  // A visitor of a chat sends four at once, at most; all others are refused before they are read.
  expect(new Set(answers)).toEqual(new Set([408, 429]));
  expect(answers.filter((status) => status === 429).length).toBeGreaterThanOrEqual(4);
  // A body that has ended counts no more.
  expect((await server.call(token, "session.list", {}, world.slug)).status).toBe(200);
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "whoami", params: { x: "x".repeat(SENT) } });
  const again = await fetch(`${server.url}/api/v1/space/rpc`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "x-me-space": world.slug, "content-type": "application/json" },
    body,
  });
  expect(again.status).toBe(200);
});

test("a message of too many parts is refused in few words", async () => {
  await world.asAda("task.register", { task: "echo" });
  await world.asAda("session.create", { task: "echo", externalId: "talk" });
  const parts = (count: number) => `[${Array(count).fill('{"type":"x"}').join(",")}]`;
  const say = (count: number) =>
    post("/api/v1/sessions/:session/in".replace(":session", "talk"), "POST", `{"message":{"role":"user","parts":${parts(count)}}}`);
  expect((await say(1000)).status).toBe(200);
  for (const [count, code] of [
    [1001, "INVALID_PARAMS"],
    [9999, "INVALID_PARAMS"],
    [80_000, "PAYLOAD_TOO_LARGE"],
  ] as const) {
    const { text } = await say(count);
    expect([JSON.parse(text).code, text.length < MAX_ANSWER]).toEqual([code, true]);
  }
});

test("/healthz answers while strangers flood sign-in with large bodies", async () => {
  const up = await startUp(await makeHome());
  const body = `{${Array.from({ length: 90_000 }, (_, i) => `"k${i}":1`).join(",")}}`;
  let over = false;
  const flood = Promise.all(
    Array.from({ length: 64 }, async () => {
      const answer = await fetch(`${up.url}/api/auth/sign-in/email`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      }).catch(() => undefined); // the line may be closed while it is still sent
      return (await answer?.text().catch(() => ""))?.length ?? 0;
    }),
  ).finally(() => {
    over = true;
  });
  const waits: number[] = [];
  do {
    const began = performance.now();
    expect((await fetch(`${up.url}/healthz`)).status).toBe(200);
    waits.push(performance.now() - began);
  } while (!over);
  for (const length of await flood) expect(length).toBeLessThan(MAX_ANSWER);
  // Seconds, where it parses them.
  expect(Math.max(...waits)).toBeLessThan(3000);
  await up.stop();
});
