import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { waiting } from "./rivals.ts";
import { until } from "./run.ts";

// Somebody is taken away while others never stop to give them something, or their agents to change something.

let server: TestServer;
let ada: TestUser;
let friend: TestUser;
let eve: TestUser;
let slug: string;
let agent: { id: string; key: string; keyId: string };
beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  [ada, friend, eve] = [await server.user("Ada"), await server.user("Friend"), await server.user("Eve")];
  slug = (await must(server, ada.session, "space.create", { name: "Team" })).slug;
  await server.join(slug, ada, friend, eve);
  const { id } = await must(server, eve.session, "agent.create", { name: "bot" });
  await must(server, eve.session, "principal.add", { principal: id }, slug);
  const { key, id: keyId } = await must(server, eve.session, "apiKey.create", { name: "k", agent: id });
  agent = { id, key, keyId };
  for (const principal of [friend.id, eve.id, id])
    await must(server, ada.session, "access.grant", { principal, permission: "admin:docs" }, slug);
});
afterAll(() => server.close());

const give = (credential: string, principal: string) =>
  server.call(credential, "access.grant", { principal, permission: "read:docs:x" }, slug);

const ends: [what: string, end: () => ReturnType<TestServer["call"]>][] = [
  ["a member is removed", () => server.call(ada.session, "principal.remove", { principal: eve.id }, slug)],
  ["a member leaves", () => server.call(eve.session, "space.leave", {}, slug)],
];

test.each(ends)("who gives somebody something waits behind who came before them: %s", async (_what, end) => {
  let ending: ReturnType<typeof end> | undefined;
  let giving: ReturnType<typeof give>[] = [];
  await server.sql.begin(async (tx) => {
    await tx`select from principals where id = ${eve.id} for key share`; // as any row holds them that is being made for them
    ending = end();
    await until("the end waits", async () => (await waiting(server.sql)) === 1);
    giving = [give(friend.session, eve.id), give(friend.session, agent.id), give(agent.key, friend.id)];
    await until("all that came later wait", async () => (await waiting(server.sql)) >= 3);
  });
  expect((await ending)?.error).toBeUndefined();
  const [toThem, toTheirAgent, byTheirAgent] = await Promise.all(giving);
  expect(toThem?.error?.data.code).toBe("NOT_FOUND");
  expect(toTheirAgent?.error?.data.code).toBe("NOT_FOUND");
  expect(["UNAUTHENTICATED", "NOT_FOUND", "FORBIDDEN"]).toContain(byTheirAgent?.error?.data.code);
});

test.each(ends)("a change by their own agent that is under way is done first, and nothing waits in a circle: %s", async (_what, end) => {
  let ending: ReturnType<typeof end> | undefined;
  let giving: ReturnType<typeof give> | undefined;
  let releasedAt = 0;
  await must(server, agent.key, "whoami"); // when the key was last used is written down: that, too, would wait
  await server.sql.begin(async (tx) => {
    await tx`select from api_keys where id = ${agent.keyId} for update`;
    giving = give(agent.key, eve.id);
    await until("the agent's change is under way", async () => (await waiting(server.sql)) === 1);
    ending = end();
    await until("the end waits", async () => (await waiting(server.sql)) === 2);
    releasedAt = performance.now();
  });
  expect((await giving)?.error).toBeUndefined();
  expect((await ending)?.error).toBeUndefined();
  // Postgres looks for circles after a second.
  expect(performance.now() - releasedAt).toBeLessThan(1000);
});

test("an agent is deleted before those who come later give it something", async () => {
  let ending: ReturnType<TestServer["call"]> | undefined;
  let giving: ReturnType<typeof give> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`select from principals where id = ${agent.id} for key share`;
    ending = server.call(eve.session, "agent.delete", { id: agent.id });
    await until("the end waits", async () => (await waiting(server.sql)) === 1);
    giving = give(friend.session, agent.id);
    await until("so does the gift", async () => (await waiting(server.sql)) === 2);
  });
  expect((await ending)?.error).toBeUndefined();
  expect((await giving)?.error?.data.code).toBe("NOT_FOUND");
});
