import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Opened, pathOf, routesOpenedBy } from "./opened.ts";
import { exchange } from "./raw-http.ts";

// One request may be written in many ways that HTTP and JSON allow.

let server: TestServer;
let routes: Opened[];
let session: string;
let pat: string;
let host: string;
beforeAll(async () => {
  ({ started: server, routes } = await routesOpenedBy(() => startTestServer()));
  session = (await server.user("Ada")).session;
  await server.call(session, "space.create", { name: "Acme" });
  pat = (await server.call(session, "apiKey.create", { name: "mcp" })).result.key;
  host = new URL(server.url).host;
});
afterAll(() => server.close());

const CALL = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';
const TOOLS = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
const MODERN = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const head = (target: string, fields: readonly string[]) =>
  [
    `POST ${target} HTTP/1.1`,
    "Content-Type: application/json",
    "Accept: application/json, text/event-stream",
    "Connection: close",
    ...fields,
    "",
    "",
  ].join("\r\n");
const ask = (target: string, named: string, body: string, credential: string) =>
  exchange(server.url, head(target, [`Host: ${named}`, `Authorization: Bearer ${credential}`, `Content-Length: ${body.length}`]), body);

describe("a target that names the host (RFC 9112 §3.2.2)", () => {
  test("is answered as its path is, whatever letters the host has", async () => {
    const { port } = new URL(server.url);
    for (const origin of [`http://${host}`, `HTTP://${host}`, `http://LOCALHOST:${port}`, `http://user@${host}`])
      for (const named of [host, `LocalHost:${port}`]) {
        const rpc = await ask(`${origin}/api/v1/user/rpc`, named, CALL, session);
        expect([rpc.status, JSON.parse(rpc.body).result?.name], `${origin} ${named}`).toEqual([200, "Ada"]);
        const mcp = await ask(`${origin}/mcp?space=x`, named, TOOLS, pat);
        expect([mcp.status, mcp.body.includes("whoami")], `${origin} ${named}`).toEqual([200, true]);
      }
    expect((await ask(`http://${host}/nothing`, host, CALL, session)).status).toBe(404);
    expect((await ask(`http://${host}`, host, CALL, session)).status).toBe(405); // the page at /
    expect((await ask(`http://${host}?x=1`, host, CALL, session)).status).toBe(405);
  });

  test("is meant for that host: no other name comes in by it, nor by the Host header beside it", async () => {
    expect((await ask("http://evil.example/mcp", host, TOOLS, pat)).status).toBe(403);
    expect((await ask(`http://evil.example:${new URL(server.url).port}/mcp`, host, TOOLS, pat)).status).toBe(403);
    expect((await ask(`http://${host}@evil.example/mcp`, host, TOOLS, pat)).status).toBe(403);
    expect((await ask(`http://${host}/mcp`, "evil.example", TOOLS, pat)).status).toBe(200);
    expect((await ask("/mcp", "EVIL.example", TOOLS, pat)).status).toBe(403);
    expect((await ask("/mcp", "LOCALHOST", TOOLS, pat)).status).toBe(200);
  });
});

/** Every address that reads JSON. */
async function readers(): Promise<{ url: string; method: string }[]> {
  const taken = routes.flatMap(({ url, methods }) =>
    methods.filter((method) => /^(POST|PATCH)$/.test(method)).map((method) => ({ url, method })),
  );
  const answers = await Promise.all(
    taken.map(({ url, method }) => fetch(server.url + pathOf(url), { method, headers: { "content-type": "text/plain" }, body: "x" })),
  );
  return taken.filter((_, i) => {
    const { status, url } = answers[i] as Response;
    return status === 415 && !/\/(token|revoke|introspect|device\/code)$/.test(url);
  });
}

async function send(url: string, method: string, body: string | Uint8Array, more: Record<string, string> = {}) {
  await server.sql`delete from auth.attempts`;
  const headers = { authorization: `Bearer ${url === "/mcp" ? pat : session}`, "content-type": "application/json", ...more };
  const answer = await fetch(server.url + pathOf(url), { method, headers, body: body as BodyInit, redirect: "manual" });
  const text = await answer.text();
  // What differs from request to request: their ids.
  return { status: answer.status, headers: answer.headers, text: text.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "id") };
}

test("a byte order mark before JSON is ignored, at every address (RFC 8259 §8.1)", async () => {
  const all = await readers();
  expect(all.length).toBeGreaterThan(25);
  for (const { url, method } of all) {
    if (url.endsWith("/sign-out") || url.endsWith("/register")) continue; // those do something anew each time
    const [without, marked] = [await send(url, method, '{"x":1}'), await send(url, method, '\ufeff{"x":1}')];
    expect([marked.status, marked.text], `${method} ${url}`).toEqual([without.status, without.text]);
  }
  const program = '{"redirect_uris":["http://127.0.0.1/x"]}';
  for (const body of [program, `\ufeff${program}`]) expect((await send("/api/v1/register", "POST", body)).status).toBe(201);
  expect((await send("/api/v1/user/rpc", "POST", `\ufeff\ufeff${CALL}`)).text).toContain("PARSE_ERROR");
});

test("a body that is not coded may say so in any letters; one that is, is refused with what is taken", async () => {
  const everywhere = [...(await readers()), { url: "/api/v1/token", method: "POST" }, { url: "/api/auth/device/code", method: "POST" }];
  for (const { url, method } of everywhere) {
    const type = /token$|code$/.test(url) ? { "content-type": "application/x-www-form-urlencoded" } : undefined;
    for (const coding of ["identity", "Identity", "IDENTITY", " identity , Identity", "identity,", ","])
      expect((await send(url, method, "{}", { ...type, "content-encoding": coding })).status, `${coding} ${url}`).not.toBe(415);
    for (const coding of ["gzip", "identity, gzip", "GZIP", "x"]) {
      const { status, headers } = await send(url, method, "{}", { ...type, "content-encoding": coding });
      expect([status, headers.get("accept-encoding")], `${coding} ${url}`).toEqual([415, "identity"]);
    }
    // Not, where the type is what is wrong (RFC 9110 §12.5.3).
    const { status, headers } = await send(url, method, "{}", { "content-type": "text/plain" });
    expect([status, headers.get("accept-encoding")], url).toEqual([415, null]);
  }
});

test("an address of more than 8192 characters is refused as too long, at every address", async () => {
  const paths = new Set(routes.flatMap(({ url }) => (url === "*" ? [] : [pathOf(url)])));
  expect(paths.size).toBeGreaterThan(60);
  for (const path of [...paths, "/nothing/here"]) {
    const long = `${path}?state=`.padEnd(8193, "x");
    const answer = await fetch(server.url + long, { redirect: "manual" });
    const body = await answer.text();
    expect([answer.status, body.includes("8,192 characters at most"), body.length < 16_384], path).toEqual([414, true, true]);
    const fits = await fetch(server.url + long.slice(0, -1), { method: "HEAD", redirect: "manual" });
    expect(fits.status, path).not.toBe(414);
  }
});

test("MCP is answered whatever Accept says, or where it says nothing", async () => {
  const post = (body: object, headers: Record<string, string>) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const sent = request(
        `${server.url}/mcp`,
        { method: "POST", headers: { authorization: `Bearer ${pat}`, "content-type": "application/json", ...headers } },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8").on("data", (chunk) => (text += chunk));
          answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
        },
      );
      sent.on("error", reject).end(JSON.stringify(body));
    });
  const modern = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "whoami" };
  const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "whoami", arguments: {} } };
  for (const accept of [
    undefined,
    "",
    "*/*",
    "application/*",
    "application/json",
    "text/event-stream",
    "Text/Event-Stream, */*;q=0.1",
    "text/html",
  ])
    for (const [body, headers] of [
      [{ ...call, params: { ...call.params, _meta: MODERN } }, modern],
      [call, {}],
    ] as const) {
      const { status, text } = await post(body, { ...headers, ...(accept !== undefined && { accept }) });
      expect([status, text.includes("Ada")], `${accept}: ${text.slice(0, 200)}`).toEqual([200, true]);
    }
});
