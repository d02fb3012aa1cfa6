import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, ME, me, meJson, signedIn, start, until } from "./run.ts";

let server: TestServer;
let home: Home;
let ada: TestUser;
let bob: { home: Home; user: TestUser };
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user: ada } = await signedIn(server, "Ada"));
  bob = await signedIn(server, "Bob");
  slug = (await meJson(home, ["space", "create", "Team"])).slug;
});
afterAll(() => server.close());

const inSpace = async (method: string, params: object = {}) => (await server.call(ada.session, method, params, slug)).result;

test("people join by invitation, and use the only space there is without saying so", async () => {
  const { id } = await meJson(home, ["invite", "create", bob.user.email]);
  expect((await meJson(home, ["invite", "list"])).invites).toEqual((await inSpace("invite.list")).invites);
  expect((await meJson(bob.home, ["invite", "pending"])).invites).toMatchObject([{ id, space: { slug } }]);
  expect(await me(bob.home, ["space", "get"])).toMatchObject({ code: 2, stderr: expect.stringContaining("You are in no space") });
  expect((await me(bob.home, ["invite", "accept", id])).stdout).toBe(`You are in Team. Use it with: me space use ${slug}\n`);
  expect((await meJson(bob.home, ["space", "get"])).slug).toBe(slug);
  expect((await me(bob.home, ["space", "members"])).stdout).toMatch(/^Name +Kind +Id\nAda +user .*\nBob +user /);

  const link = await me(home, ["invite", "create", "--expires", "1"]);
  expect(link.stderr).toContain("shown once");
  expect(await me(bob.home, ["invite", "accept", "--token", link.stdout.trim()])).toMatchObject({ code: 0 });
  expect(await me(bob.home, ["invite", "accept", "--token", link.stdout.trim()])).toMatchObject({ code: 5 });
  expect(await me(bob.home, ["invite", "accept"])).toMatchObject({ code: 2 });
});

test("groups, grants and explanations, by name", async () => {
  await meJson(home, ["agent", "create", "bot"]);
  await meJson(home, ["agent", "add", "bot"]);
  const { id: group } = await meJson(home, ["group", "create", "Support"]);
  await meJson(home, ["group", "add", "support", "BOT"]);
  await meJson(home, ["group", "add", "Support", "Bob"]);
  await meJson(home, ["group", "set-admin", "Support", "Bob"]);
  expect((await meJson(home, ["group", "members", "Support"])).members).toEqual((await inSpace("group.listMembers", { group })).members);
  expect((await meJson(bob.home, ["group", "mine"])).groups).toMatchObject([{ name: "Support", admin: true }]);

  expect((await me(home, ["access", "grant", "Support", "write:tasks:support"])).stdout).toBe("Support has write:tasks:support.\n");
  expect((await meJson(home, ["access", "mine", "--as", "bot"])).permissions).toContain("write:tasks:support");
  expect(await me(home, ["access", "check", "read:tasks:support/billing", "--as", "bot"])).toMatchObject({ code: 0, stdout: "yes\n" });
  expect(await me(home, ["access", "check", "write:tasks", "--as", "bot"])).toMatchObject({ code: 4, stdout: "no\n" });
  expect((await me(home, ["access", "explain", "write:tasks:sales", "--as", "bot"])).stdout).toBe(
    "write:tasks:sales for bot: no\n├─ grants of bot: no\n└─ owner Ada: yes, by admin\nWho could change it: Ada\n",
  );
  const params = JSON.stringify({ group, name: "Help" });
  expect((await me(home, ["access", "explain", "group.rename", "--params", params, "--as", "Bob"])).stdout).toMatch(
    /^group\.rename for Bob: yes\n/,
  );
  expect(await me(home, ["access", "explain", "group.rename", "--params", "{"])).toMatchObject({ code: 2 });

  await meJson(home, ["access", "revoke", "Support", "write:tasks:support"]);
  expect((await meJson(home, ["access", "list"])).grants).toEqual([]);
  expect(await me(home, ["access", "revoke", "Support", "write:tasks:support"])).toMatchObject({ code: 5 });
  expect(await me(home, ["group", "rename", "Nowhere", "x"])).toMatchObject({ code: 5 });
});

test("an agent uses the same commands, to the extent of its grants", async () => {
  await meJson(home, ["agent", "create", "helper"]);
  await meJson(home, ["agent", "add", "helper"]);
  const { key } = await meJson(home, ["apikey", "create", "--agent", "helper", "--name", "k"]);
  const env = { ME_API_KEY: key };
  for (const always of [
    ["whoami"],
    ["space", "list"],
    ["group", "mine"],
    ["access", "mine"],
    ["principal", "resolve", "Ada"],
    ["space", "members"],
  ])
    expect(await me(home, always, { env }), always.join(" ")).toMatchObject({ code: 0 });
  expect(await me(home, ["principal", "list"], { env })).toMatchObject({
    code: 4,
    stderr: "Error: This needs read:members; your grants in this space lack it. Ask Ada.\n",
  });
  await meJson(home, ["access", "grant", "helper", "admin"]);
  const made = await meJson(home, ["group", "create", "made by an agent"], { env });
  await meJson(home, ["group", "add", "made by an agent", "Bob"], { env });
  await meJson(home, ["access", "grant", "Bob", "read:docs"], { env });
  await meJson(home, ["invite", "create", "carol@example.com"], { env });
  expect((await meJson(home, ["principal", "list"], { env })).members).toHaveLength(4);
  expect((await meJson(home, ["group", "mine", "--of", "Bob"], { env })).groups).toContainEqual(expect.objectContaining({ id: made.id }));
  expect(await me(home, ["principal", "set-admin", "Bob"], { env })).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("user-only"),
  });

  // All of it goes with the key.
  await meJson(home, ["apikey", "revoke", "k", "--agent", "helper", "--yes"]);
  expect((await meJson(home, ["access", "list", "Bob"])).grants).toEqual([]);
  expect((await meJson(home, ["invite", "list"])).invites).toEqual([]);
});

test("an agent changes hands when the new owner says yes", async () => {
  await meJson(home, ["agent", "create", "present"]);
  expect((await me(home, ["agent", "transfer", "present", "Bob"])).stdout).toMatch(/^Offered to user Bob/);
  const [offer] = (await meJson(bob.home, ["agent", "offers"])).offers;
  expect(offer).toMatchObject({ agent: { name: "present" }, offeredBy: "Ada" });
  expect(await me(bob.home, ["agent", "accept", "nothing"])).toMatchObject({ code: 5 });
  await meJson(bob.home, ["agent", "accept", "PRESENT"]);
  expect((await meJson(bob.home, ["agent", "list"])).agents).toMatchObject([{ name: "present", owner: { name: "Bob" } }]);
  expect(await me(home, ["agent", "get", "present"])).toMatchObject({ code: 5 });
});

test("whoever has offered an agent sees the offer, and takes it back", async () => {
  await meJson(home, ["agent", "create", "loan"]);
  await meJson(home, ["agent", "transfer", "loan", "Bob"]);
  expect((await me(home, ["agent", "offers"])).stdout).toMatch(/loan +Bob +Ada/);
  expect((await meJson(home, ["agent", "offers"])).offers).toMatchObject([{ agent: { name: "loan" }, toYou: false }]);
  expect(await me(home, ["agent", "accept", "loan"])).toMatchObject({ code: 5 });
  await meJson(home, ["agent", "decline", "loan"]);
  for (const one of [home, bob.home]) expect((await meJson(one, ["agent", "offers"])).offers).toEqual([]);
});

test("the record is shown with names, and can be followed", async () => {
  expect((await me(home, ["audit", "--method", "group.setMemberAdmin"])).stdout).toMatch(
    /Ada +session +group\.setMemberAdmin +Support Bob admin=true +OK/,
  );
  expect((await me(home, ["audit", "--denied", "--json"])).stdout).toContain('"principal.list"');
  const following = start(process.execPath, [ME, "audit", "--follow", "--limit", "1", "--method", "group.create"], home.env, null);
  await until("it follows", () => following.stderr().includes("Following"));
  const { id } = await inSpace("group.create", { name: "Newest" });
  await until("the change is shown", () => following.stdout().includes("Newest"));
  expect(following.stdout().match(new RegExp(`group\\.create.*(Newest|${id})`, "g"))).toHaveLength(1);
  following.child.kill("SIGINT");
  expect((await following.finished).code).toBe(0);
});

test("who leaves is gone; the last admin stays", async () => {
  expect(await me(bob.home, ["space", "leave"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
  expect(await me(bob.home, ["space", "leave", "--yes"])).toMatchObject({ code: 0 });
  expect(await me(bob.home, ["space", "get"], { env: { ME_SPACE: slug } })).toMatchObject({ code: 5 });
  expect(await me(home, ["space", "leave", "--yes"])).toMatchObject({ code: 6 });
  expect(await me(home, ["principal", "remove", "bot", "--yes"])).toMatchObject({ code: 0 });
});
