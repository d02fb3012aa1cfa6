import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

test("a user makes an agent and a key; the agent calls the same API, to its own extent", async () => {
  const alice = await server.user("Alice");
  const { result: agent } = await server.call(alice.session, "agent.create", { name: "support-bot" });
  const { result: key } = await server.call(alice.session, "apiKey.create", { name: "laptop", agent: agent.id });
  const { result: who } = await server.call(key.key, "whoami");
  expect(who).toEqual({
    id: agent.id,
    kind: "a",
    name: "support-bot",
    email: null,
    credential: { via: "agent_key", id: key.id, expiresAt: null, scope: null, space: null },
    owner: { id: alice.id, kind: "u", name: "Alice" },
    act: null,
  });
  expect((await server.call(key.key, "agent.create", { name: "another" })).error).toMatchObject({
    code: 403,
    data: { code: "FORBIDDEN", reason: "user-only" },
  });
  await server.call(alice.session, "agent.delete", { id: agent.id });
  expect(await server.call(key.key, "whoami")).toMatchObject({ status: 401, error: { data: { code: "UNAUTHENTICATED" } } });
});
