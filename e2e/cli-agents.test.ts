import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, me, meJson, signedIn } from "./run.ts";

let server: TestServer;
let home: Home;
let user: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
});
afterAll(() => server.close());

const resultOf = async (method: string, params: object = {}) => (await server.call(user.session, method, params)).result;
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test("an agent, from its making to its end, by name and by id", async () => {
  const made = await meJson(home, ["agent", "create", "Support bot"]);
  expect(made).toEqual({ id: expect.stringMatching(UUID7), name: "Support bot" });
  for (const given of [made.id, "Support bot", "SUPPORT BOT"])
    expect(await meJson(home, ["agent", "get", given])).toEqual(await resultOf("agent.get", { id: made.id }));
  expect({ ...(await meJson(home, ["agent", "list"])), next: null }).toEqual(await resultOf("agent.list"));
  expect(await meJson(home, ["agent", "spaces", "Support bot"])).toEqual({ spaces: [] });
  expect(await meJson(home, ["agent", "rename", "Support bot", "Helper"])).toEqual({ id: made.id, name: "Helper" });
  expect((await me(home, ["agent", "list"])).stdout).toMatch(new RegExp(`^Name +Owner +Id +Created\nHelper +Ada +${made.id} +\\d{4}-`));

  const unsaid = await me(home, ["agent", "delete", "Helper"]);
  expect(unsaid).toEqual({ code: 2, stdout: "", stderr: expect.stringContaining("Add --yes to say so.") });
  expect((await resultOf("agent.list")).agents).toHaveLength(1);
  expect(await meJson(home, ["agent", "delete", "Helper", "--yes"])).toEqual({ id: made.id });
  expect((await resultOf("agent.list")).agents).toEqual([]);
});

test("whoami shows a person with their e-mail, and an agent without one", async () => {
  await meJson(home, ["agent", "create", "who"]);
  const { key, id } = await meJson(home, ["apikey", "create", "--agent", "who", "--name", "k"]);
  const person = (await me(home, ["whoami"])).stdout;
  expect(person).toMatch(/^Kind: +user$/m);
  expect(person).toMatch(new RegExp(`^Email: +${user.email}$`, "m"));
  const env = { ME_API_KEY: key };
  const agent = (await me(home, ["whoami"], { env })).stdout;
  expect(agent).toMatch(/^Name: +who$/m);
  expect(agent).toMatch(/^Kind: +agent$/m);
  expect(agent).toMatch(/^Owner: +Ada$/m);
  expect(agent).not.toMatch(/mail|@/i);
  expect(await meJson(home, ["whoami"], { env })).toEqual((await server.call(key, "whoami")).result);
  expect((await meJson(home, ["whoami"], { env })).credential.id).toBe(id);
});

test("a key, from its making to its end", async () => {
  await meJson(home, ["agent", "create", "keyed"]);
  const made = await meJson(home, ["apikey", "create", "--agent", "KEYED", "--name", "laptop"]);
  expect(made).toEqual({ id: expect.stringMatching(UUID7), key: expect.stringMatching(/^me_agent_\w{36}$/) });
  const own = await me(home, [
    "apikey",
    "create",
    "--self",
    "--name",
    "ci",
    "--ceiling",
    "read",
    "--ceiling",
    "write:tasks",
    "--expires",
    "90d",
  ]);
  expect(own.stdout).toMatch(/^me_pat_\w{36}\n$/);
  expect(own.stderr).toContain("shown once");
  const { keys } = await meJson(home, ["apikey", "list"]);
  expect({ keys, next: null }).toEqual(await resultOf("apiKey.list"));
  expect(keys[0]).toMatchObject({ name: "ci", ceiling: ["read", "write:tasks"] });
  expect(Date.parse(keys[0].expiresAt) - Date.now()).toBeCloseTo(90 * 24 * 3_600_000, -6);
  for (const given of ["laptop", "LAPTOP", made.id])
    expect(await meJson(home, ["apikey", "get", given])).toEqual(await resultOf("apiKey.get", { id: made.id }));
  expect((await meJson(home, ["apikey", "list", "--agent", "keyed"])).keys).toHaveLength(1);

  const rotated = await meJson(home, ["apikey", "rotate", "laptop", "--overlap", "0"]);
  expect(rotated).toEqual({ id: made.id, key: expect.stringMatching(/^me_agent_\w{36}$/), previousExpiresAt: null });
  expect((await server.call(made.key, "whoami")).status).toBe(401);
  expect((await server.call(rotated.key, "whoami")).status).toBe(200);

  expect(await me(home, ["apikey", "revoke", "laptop"])).toMatchObject({ code: 2, stdout: "" });
  expect(await meJson(home, ["apikey", "revoke", "laptop", "--yes"])).toEqual({ id: made.id });
  expect((await server.call(rotated.key, "whoami")).status).toBe(401);
});

test("a name that two keys have must be said more exactly", async () => {
  for (const agent of ["left", "right"]) {
    await meJson(home, ["agent", "create", agent]);
    await meJson(home, ["apikey", "create", "--agent", agent, "--name", "same"]);
  }
  const { code, stderr } = await me(home, ["apikey", "revoke", "same", "--yes"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/2 keys named same, of right, left\. Add --agent NAME, or give the id\./);
  await meJson(home, ["apikey", "revoke", "same", "--agent", "left", "--yes"]);
  expect((await meJson(home, ["apikey", "get", "same"])).principal.name).toBe("right");
});

test.each([
  ["for nobody", ["--name", "x"]],
  ["for two", ["--name", "x", "--self", "--agent", "left"]],
  ["that is over already", ["--name", "x", "--self", "--expires", "2020-01-01"]],
  ["until no time at all", ["--name", "x", "--self", "--expires", "soon"]],
  ["with a ceiling that is no permission", ["--name", "x", "--self", "--ceiling", "fly"]],
])("a key %s is not made", async (_what, args) => {
  const before = await resultOf("apiKey.list");
  expect(await me(home, ["apikey", "create", ...args])).toMatchObject({ code: 2, stdout: "" });
  expect(await resultOf("apiKey.list")).toEqual(before);
});
