import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { exchange } from "./raw-http.ts";

let server: TestServer;
let pat: string;
beforeAll(async () => {
  server = await startTestServer();
  const { session } = await server.user("Ada");
  pat = (await server.call(session, "apiKey.create", { name: "mcp" })).result.key;
});
afterAll(() => server.close());

const TOOLS = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
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

describe("a server that listens everywhere", () => {
  test.each(["0.0.0.0", "::", "0", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"])("on %s must be told how callers reach it", async (everywhere) => {
    await expect(startTestServer({ HOST: everywhere, DATABASE_URL: server.databaseUrl })).rejects.toThrow(
      /PUBLIC_URL: must be set where HOST is/,
    );
  });

  test.each(["*", "a b", "[::1", "http://localhost", "-a"])("%s is no address to listen on", async (none) => {
    await expect(startTestServer({ HOST: none, DATABASE_URL: server.databaseUrl })).rejects.toThrow(
      /HOST: must be an IP address or a host name/,
    );
  });

  test("announces that address, and is open for programs there and on its own machine", async () => {
    const open = await startTestServer({ HOST: "0.0.0.0", PUBLIC_URL: "http://gatehouse.example:7070", DATABASE_URL: server.databaseUrl });
    try {
      const here = open.url.replace("0.0.0.0", "127.0.0.1");
      const metadata = await (await fetch(`${here}/.well-known/oauth-authorization-server`)).json();
      expect(metadata.issuer).toBe("http://gatehouse.example:7070");
      for (const [named, status] of [
        ["gatehouse.example:7070", 200],
        ["Gatehouse.Example", 200],
        ["gatehouse.example.:7070", 200],
        ["localhost:7070", 200],
        ["localhost.:7070", 200],
        ["0.0.0.0:7070", 403],
        ["evil.example", 403],
      ] as const) {
        const fields = [`Host: ${named}`, `Authorization: Bearer ${pat}`, `Content-Length: ${TOOLS.length}`];
        expect((await exchange(here, head("/mcp", fields), TOOLS)).status, named).toBe(status);
      }
    } finally {
      await open.close();
    }
  });
});

test.each(["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "::1"])(
  "a server on %s is told by the address that it goes by",
  async (host) => {
    const named = await startTestServer({ HOST: host, DATABASE_URL: server.databaseUrl });
    try {
      const { issuer } = (await (await fetch(`${named.url}/.well-known/oauth-authorization-server`)).json()) as { issuer: string };
      expect(named.url).toBe(issuer);
    } finally {
      await named.close();
    }
  },
);
