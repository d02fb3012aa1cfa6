import { afterAll, beforeAll, expect, test } from "vitest";
import { makeSecret } from "../packages/server/src/key.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Opened, pathOf, routesOpenedBy } from "./opened.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

// What a request that lacks a good token, or scope, is told in WWW-Authenticate (RFC 6750 §3).

let server: TestServer;
let routes: Opened[];
let world: SpaceWorld;
beforeAll(async () => {
  ({ started: server, routes } = await routesOpenedBy(() => startTestServer()));
  world = await makeSpaceWorld(server);
  await world.asAda("principal.add", { principal: world.bob.id });
});
afterAll(() => server.close());

const ask = (url: string, method: string, headers: Record<string, string>) =>
  fetch(server.url + pathOf(url), {
    method,
    redirect: "manual",
    headers: { "x-me-space": world.slug, "content-type": "application/json", ...headers },
    ...(method !== "GET" && method !== "HEAD" && { body: '{"jsonrpc":"2.0","id":1,"method":"whoami"}' }),
  });

test("a wrong token is said to be wrong, and of none nothing is said: at every address that asks for one", async () => {
  const addresses = new Set<string>();
  for (const { url, methods } of routes)
    for (const method of methods) {
      // Some take cookies, and some methods nobody takes.
      if (url === "*" || url.startsWith("/api/auth/") || !["GET", "HEAD", "POST", "PATCH"].includes(method)) continue;
      const none = await ask(url, method, {});
      if (none.status !== 401) continue;
      addresses.add(url);
      const challenged = none.headers.get("www-authenticate");
      expect(challenged, url).toMatch(/^Bearer resource_metadata="[^"]+"(, scope="[^"]+")?$/);
      for (const token of ["nobody", makeSecret("me_pat_"), `me_pat_${"0".repeat(36)}`, "a.b.c"]) {
        const wrong = await ask(url, method, { authorization: `Bearer ${token}` });
        expect([wrong.status, wrong.headers.get("www-authenticate")], `${method} ${url}`).toEqual([
          401,
          `${challenged}, error="invalid_token", error_description="The token is wrong, expired or revoked"`,
        ]);
      }
      // Another scheme is no token that is wrong.
      const basic = await ask(url, method, { authorization: "Basic eDp5" });
      expect([basic.status, basic.headers.get("www-authenticate")], `${method} ${url}`).toEqual([401, challenged]);
    }
  // The RPCs, MCP, AuthZEN, the routes of sessions and the stream.
  expect(addresses.size).toBeGreaterThanOrEqual(22);
});

test("a token whose scope leaves out what a call needs is told which, over plain HTTP", async () => {
  const { result } = await server.call(world.ada.session, "token.create", { space: world.slug, scope: ["read:tasks:support"] });
  const refused = await fetch(`${server.url}/api/v1/tasks`, {
    method: "POST",
    headers: { "x-me-space": world.slug, "content-type": "application/json", authorization: `Bearer ${result.token}` },
    body: '{"task":"support"}',
  });
  expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([
    403,
    `Bearer resource_metadata="${server.url}/.well-known/oauth-protected-resource", scope="admin:tasks", error="insufficient_scope", error_description="More scope is needed"`,
  ]);
  // What no scope would change is no matter of scope.
  const other = await fetch(`${server.url}/api/v1/tasks`, {
    method: "POST",
    headers: { "x-me-space": world.slug, "content-type": "application/json", authorization: `Bearer ${world.bob.session}` },
    body: '{"task":"support"}',
  });
  expect([other.status, other.headers.get("www-authenticate")]).toEqual([403, null]);
});
