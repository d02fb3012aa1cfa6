import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, me, meJson, signedIn } from "./run.ts";

// Others name what is theirs like what is yours, and put it among yours without asking: a command takes none of it for yours.

let server: TestServer;
let home: Home;
let ada: TestUser;
let mallory: TestUser;
let prod: string;
let theirs: string;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user: ada } = await signedIn(server, "Ada"));
  mallory = await server.user("Mallory");
  await server.acquaint(ada, mallory);
  prod = (await meJson(home, ["space", "create", "Prod"])).slug;
  await meJson(home, ["space", "use", prod]);
  theirs = (await must(server, mallory.session, "space.create", { name: "Theirs" })).slug;
  await must(server, mallory.session, "principal.add", { principal: ada.id }, theirs);
});
afterAll(() => server.close());

/** Makes an agent that Ada manages, as an admin of a group of Mallory's. @returns its id */
async function plantAgent(name: string): Promise<string> {
  const { id: group } = await must(server, mallory.session, "group.create", { name: `group of ${name}` }, theirs);
  for (const member of [ada.id, mallory.id]) {
    await must(server, mallory.session, "group.addMember", { group, member }, theirs);
    await must(server, mallory.session, "group.setMemberAdmin", { group, member, admin: true }, theirs);
  }
  const { id } = await must(server, mallory.session, "agent.create", { name });
  expect(await must(server, mallory.session, "agent.transfer", { id, to: group })).toMatchObject({ accepted: true });
  return id;
}

test("of two agents of one name none is taken, and both are told with their owners", async () => {
  const planted = await plantAgent("support-bot");
  const { id: own } = await meJson(home, ["agent", "create", "support-bot"]);
  for (const args of [
    ["agent", "get", "support-bot"],
    ["agent", "add", "support-bot"],
    ["agent", "delete", "support-bot", "--yes"],
    ["apikey", "create", "--agent", "support-bot", "--name", "k"],
    ["apikey", "list", "--agent", "support-bot"],
    ["principal", "add", "support-bot"],
    ["access", "grant", "support-bot", "write:tasks"],
  ]) {
    const { code, stderr } = await me(home, args);
    expect([args, code]).toEqual([args, 2]);
    for (const said of [own, planted, "agent of Ada", "agent of group of support-bot"]) expect(stderr).toContain(said);
  }
  expect((await meJson(home, ["agent", "get", own])).owner.name).toBe("Ada");
  expect(await me(home, ["agent", "add", own])).toMatchObject({ code: 0 });
});

test("an agent is not taken for a member of the same name", async () => {
  const planted = await plantAgent("Bob");
  const bob = await server.user("Bob");
  await server.join(prod, ada, bob);
  const { code, stderr } = await me(home, ["access", "grant", "Bob", "read:docs:payroll"]);
  expect(code).toBe(2);
  for (const said of [bob.id, planted]) expect(stderr).toContain(said);
  expect((await must(server, ada.session, "access.list", {}, prod)).grants).toEqual([]);
});

test("a space that is named like the slug of another is never taken for it", async () => {
  await must(server, mallory.session, "space.rename", { slug: theirs, name: prod });
  expect((await meJson(home, ["space", "use", prod])).slug).toBe(prod);
  const eve = await signedIn(server, "Eve");
  await server.acquaint(mallory, eve.user);
  await must(server, mallory.session, "principal.add", { principal: eve.user.id }, theirs);
  for (const args of [
    ["space", "use", prod],
    ["token", "create", "--space", prod, "--scope", "read"],
  ]) {
    const { code, stderr } = await me(eve.home, args);
    expect([args, code]).toEqual([args, 5]);
    expect(stderr).toContain(`no space with the slug ${prod}`);
  }
  expect((await meJson(eve.home, ["space", "use", theirs])).slug).toBe(theirs);
});
