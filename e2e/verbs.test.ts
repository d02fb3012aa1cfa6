import { METHODS } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Opened, pathOf, routesOpenedBy } from "./opened.ts";
import { dial, readAnswers, received } from "./raw-http.ts";

// Every address of the server, as it says itself, asked by every method there is (RFC 9110 §9).

let server: TestServer;
let session: string;
let space: string;
/** The methods that each address takes, by its own word. */
const taken = new Map<string, string[]>();
beforeAll(async () => {
  let routes: Opened[];
  ({ started: server, routes } = await routesOpenedBy(() => startTestServer()));
  session = (await server.user("Ada")).session;
  space = (await server.call(session, "space.create", { name: "Acme" })).result.slug;
  await server.call(session, "task.register", { task: "a/b" }, space);
  await server.call(session, "session.create", { task: "a/b", externalId: "e1" }, space);
  for (const url of new Set(routes.map(({ url }) => url)))
    if (url !== "*") {
      const { status, headers } = await ask(url, "MKCOL");
      expect(status, url).toBe(405);
      taken.set(url, (headers.get("allow") ?? "").split(", "));
    }
});
afterAll(() => server.close());

/** Over a line of its own: no client sends all of these as they are. */
async function ask(url: string, method: string, fields: readonly string[] = []) {
  const socket = await dial(server.url);
  const wire = received(socket);
  socket.write(
    [`${method} ${pathOf(url)} HTTP/1.1`, "Host: localhost", "Connection: close", "Content-Length: 0", ...fields, "", ""].join("\r\n"),
  );
  const text = await wire;
  const end = text.indexOf("\r\n\r\n") + 4;
  const [answer] = readAnswers(text.slice(0, end));
  if (!answer) throw new Error(`${method} ${url} was not answered`);
  return { ...answer, body: text.slice(end) };
}

test("there are pages, files, metadata, health, and the doors of calls among them", () => {
  for (const url of ["/", "/sign-in", "/pages/style.css", "/healthz", "/readyz", "/.well-known/jwks.json", "/api/v1/user/rpc", "/mcp"])
    expect([...taken.keys()]).toContain(url);
  for (const url of ["/api/v1/token", "/api/auth/get-session", "/api/v1/sessions/:session/out", "/access/v1/evaluation"])
    expect([...taken.keys()]).toContain(url);
  expect(taken.size).toBeGreaterThan(60);
});

test("a method that an address does not take is answered 405, with those that it takes", async () => {
  for (const [url, methods] of taken) {
    expect(methods.length, url).toBeGreaterThan(0);
    for (const method of METHODS) {
      if (method === "CONNECT" || method === "OPTIONS" || methods.includes(method)) continue;
      const { status, headers, body } = await ask(url, method);
      expect([status, headers.get("allow")], `${method} ${url}`).toEqual([405, methods.join(", ")]);
      if (method === "HEAD") expect(body).toBe("");
      else expect(JSON.parse(body), `${method} ${url}`).toBeTypeOf("object");
    }
  }
});

describe("HEAD", () => {
  test("is taken wherever GET is", () => {
    for (const [url, methods] of taken) expect(methods.includes("HEAD"), url).toBe(methods.includes("GET"));
  });

  test("is answered as GET is, without the body", async () => {
    let bodies = 0;
    for (const [url, methods] of taken) {
      if (!methods.includes("GET") || url.endsWith("/out")) continue;
      for (const fields of [[], [`Authorization: Bearer ${session}`, `X-Me-Space: ${space}`]]) {
        await server.sql`delete from auth.attempts`;
        const [get, head] = [await ask(url, "GET", fields), await ask(url, "HEAD", fields)];
        expect([head.status, head.body], url).toEqual([get.status, ""]);
        const told = ({ headers }: typeof get) => [...headers.keys()].filter((name) => name !== "transfer-encoding").sort();
        expect(told(head), url).toEqual(told(get));
        expect(head.headers.get("content-type"), url).toBe(get.headers.get("content-type"));
        if (get.body) bodies++;
      }
    }
    expect(bodies).toBeGreaterThan(30);
  });

  test("of a stream is its head, and ends", async () => {
    const url = "/api/v1/sessions/:session/out";
    const { status, headers, body } = await ask(url, "HEAD", [`Authorization: Bearer ${session}`, `X-Me-Space: ${space}`]);
    expect([status, headers.get("content-type"), body]).toEqual([200, "text/event-stream; charset=utf-8", ""]);
    expect((await ask(url, "HEAD")).status).toBe(401);
  });
});

test("OPTIONS says of every address what it takes", async () => {
  for (const [url, methods] of taken) {
    const { status, headers, body } = await ask(url, "OPTIONS");
    expect([status, headers.get("allow"), body], url).toEqual([204, methods.join(", "), ""]);
  }
});

test("OPTIONS is answered everywhere, as pages of allowed origins need it", async () => {
  for (const url of taken.keys()) {
    const { status, headers } = await ask(url, "OPTIONS", [`Origin: ${server.url}`, "Access-Control-Request-Method: POST"]);
    expect([status, headers.get("access-control-allow-origin")], url).toEqual([204, server.url]);
  }
});
