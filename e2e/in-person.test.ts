import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

// What can't be brought back is ended by a person who is signed in: a stolen key ends no space, no agent with its keys, no
// membership of its owner, and no admin.

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let slug: string;
let agent: string;
const keys: Record<string, string> = {};
beforeAll(async () => {
  server = await startTestServer();
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  slug = (await must(ada.session, "space.create", { name: "Team" })).slug;
  await server.join(slug, ada, bob);
  await must(ada.session, "principal.setAdmin", { principal: bob.id, admin: true }, slug);
  agent = (await must(ada.session, "agent.create", { name: "bot" })).id;
  await must(ada.session, "principal.add", { principal: agent }, slug);
  await must(ada.session, "access.grant", { principal: agent, permission: "admin" }, slug);
  const { key: pat } = await must(ada.session, "apiKey.create", { name: "pat" });
  const { key: agentKey } = await must(ada.session, "apiKey.create", { name: "bot", agent });
  const { token } = await must(pat, "token.create", { space: slug, scope: ["admin"] });
  Object.assign(keys, { "a personal access token": pat, "an agent's key": agentKey, "a token": token });
});
afterAll(() => server.close());

async function must(credential: string, method: string, params: object, space?: string) {
  const { result, error } = await server.call(credential, method, params, space);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}

const ends: Record<string, () => [string, object, string?]> = {
  "a space": () => ["space.delete", { slug, confirm: slug }],
  "an agent, and its keys": () => ["agent.delete", { id: agent }],
  "a membership of one's own": () => ["space.leave", {}, slug],
  "an admin": () => ["principal.remove", { principal: bob.id }, slug],
  "the admin who made the key": () => ["principal.remove", { principal: ada.id }, slug],
};
const by = ["a personal access token", "an agent's key", "a token"];
test.each(Object.keys(ends).flatMap((what) => by.map((who) => [what, who] as const)))("%s is not ended by %s", async (what, who) => {
  const [method, params, space] = (ends[what] as () => [string, object, string?])();
  const { error } = await server.call(keys[who], method, params, space);
  expect(error?.data).toMatchObject({ code: "FORBIDDEN", reason: expect.stringMatching(/^(interactive-only|user-only|token)$/) });
});

test("a personal access token still removes who is no admin, and its owner in person whom they like", async () => {
  const carol = await server.user("Carol");
  await server.join(slug, ada, carol);
  await must(keys["a personal access token"] as string, "principal.remove", { principal: carol.id }, slug);
  await must(ada.session, "principal.remove", { principal: bob.id }, slug);
  await must(ada.session, "agent.delete", { id: agent });
  await must(ada.session, "space.delete", { slug, confirm: slug });
});
