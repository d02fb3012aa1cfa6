import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Home, makeHome, me, meJson, signedIn } from "./run.ts";
import { isGood } from "./token-world.ts";

let server: TestServer;
/** Signed in as Ada, whose space is Support. */
let home: Home;
let slug: string;
/** As somebody who has nothing but a credential. */
let bare: Home;
let botKey: string;
let botId: string;

beforeAll(async () => {
  server = await startTestServer();
  ({ home } = await signedIn(server, "Ada"));
  ({ slug } = await meJson(home, ["space", "create", "Support"]));
  ({ id: botId } = await meJson(home, ["agent", "create", "bot"]));
  ({ key: botKey } = await meJson(home, ["apikey", "create", "--agent", "bot", "--name", "k"]));
  await meJson(home, ["principal", "add", "bot"]);
  await meJson(home, ["access", "grant", "bot", "write:tasks:support"]);
  bare = await makeHome({ ME_SERVER: server.url });
});
afterAll(() => server.close());

const as = (credential: string) => ({ env: { ME_API_KEY: credential, ME_SPACE: slug } });
const create = (...args: string[]) => meJson(home, ["token", "create", "--space", "Support", ...args]);

test("me token create gives a token, its end and its scope, and nothing else; it is used as a key is", async () => {
  const made = await create("--scope", "write:tasks:support read:sessions", "--ttl", "15m");
  expect(Object.keys(made).sort()).toEqual(["expiresAt", "scope", "token"]);
  expect(made.scope).toEqual(["write:tasks:support", "read:sessions"]);
  const lives = Date.parse(made.expiresAt) - Date.now();
  expect([lives > 14 * 60_000, lives <= 15 * 60_000]).toEqual([true, true]);
  const { code, stdout } = await me(bare, ["whoami"], as(made.token));
  expect(code).toBe(0);
  for (const shown of ["Ada", slug, "write:tasks:support read:sessions", "token"]) expect(stdout).toContain(shown);
  expect(await meJson(bare, ["whoami"], as(made.token))).toMatchObject({ credential: { via: "jwt", space: slug, scope: made.scope } });
  expect(await meJson(bare, ["space", "list"], { env: { ME_API_KEY: made.token } })).toMatchObject({ spaces: [{ slug }] });
});

test("for a script the token alone is on stdout; what to know of it is on stderr", async () => {
  const { stdout, stderr } = await me(home, ["token", "create", "--scope", "read:tasks"]);
  expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  expect(stderr).toMatch(/Good for read:tasks, until /);
  expect(stderr).not.toContain(stdout.trim());
});

test("a user's token for an agent is exchanged by the agent, from stdin, and the agent acts for the user", async () => {
  const subject = await create("--scope", "write:tasks", "--for", "bot");
  expect((await me(bare, ["whoami"], as(subject.token))).code).toBe(3);
  const exchange = ["token", "exchange", "--scope", "write:tasks:support"];
  const made = await meJson(bare, exchange, { ...as(botKey), stdin: `${subject.token}\n` });
  expect(Object.keys(made).sort()).toEqual(["expiresAt", "scope", "token"]);
  const { stdout } = await me(bare, ["whoami"], as(made.token));
  expect(stdout).toMatch(/Acting for them:\s+bot/);
  expect(await meJson(bare, ["whoami"], as(made.token))).toMatchObject({ name: "Ada", act: { id: botId } });
  const over = await me(bare, ["token", "exchange", "--scope", "write:tasks:other"], { ...as(botKey), stdin: subject.token });
  expect([over.code, over.stderr]).toEqual([4, expect.stringContaining("write:tasks:other")]);
  const wrong = await me(bare, exchange, { ...as(botKey), stdin: made.token });
  expect([wrong.code, wrong.stderr]).toEqual([expect.any(Number), expect.stringContaining("not made for this agent")]);
  expect(wrong.code).not.toBe(0);
  expect(wrong.stderr).not.toContain(made.token);
});

test("a token for an agent is inspected and revoked by its user", async () => {
  const { token } = await create("--scope", "write:tasks", "--for", "bot");
  const { stdout } = await me(home, ["token", "inspect"], { stdin: token });
  expect(stdout).toMatch(new RegExp(`Only for agent:\\s+${botId}`));
  expect((await me(home, ["token", "revoke"], { stdin: token })).code).toBe(0);
  const after = await me(bare, ["token", "exchange", "--scope", "read:tasks"], { ...as(botKey), stdin: token });
  expect(after.code).not.toBe(0);
});

test("me token inspect tells what is told of what is one's own, and me token revoke ends it", async () => {
  const { token } = await create("--scope", "read:tasks");
  const { stdout } = await me(home, ["token", "inspect"], { stdin: `${token}\n` });
  for (const shown of [/Good:\s+yes/, /Kind:\s+token/, /For:\s+Ada/, /Scope:\s+read:tasks/]) expect(stdout).toMatch(shown);
  expect(await meJson(home, ["token", "inspect"], { stdin: botKey })).toMatchObject({
    active: true,
    kind: "key",
    principal: { id: botId },
  });
  expect((await me(home, ["token", "revoke"], { stdin: token })).stdout).toBe("Revoked.\n");
  expect(await isGood(server, token)).toBe(false);
  expect((await me(home, ["token", "inspect"], { stdin: token })).stdout).toContain("Not good");
  const again = await me(home, ["token", "revoke"], { stdin: token });
  expect([again.code, again.stderr]).toEqual([5, expect.stringContaining("no token or key of yours")]);
});

test.each<[string[], number, RegExp]>([
  [["create"], 2, /--scope/],
  [["create", "--scope", ""], 2, /scope/],
  [["create", "--scope", "everything"], 2, /scope.*read, write or admin/s],
  [["create", "--scope", "read", "--ttl", "soon"], 2, /Say 90s, 15m or 2h/],
  [["create", "--scope", "read", "--ttl", "-1h"], 2, /ttl|90s/],
  [["create", "--scope", "read", "--ttl", "1d"], 2, /Say 90s, 15m or 2h/],
  [["create", "--scope", "read", "--ttl", "0s"], 2, /ttlSeconds/],
  [["create", "--scope", "read", "--ttl", "25h"], 2, /ttlSeconds/],
  [["create", "--scope", "read", "--space", "nowhere"], 5, /nowhere/],
  [["create", "--scope", "read", "--for", "nobody"], 5, /nobody/],
  [["create", "--scope", "read", "--for", "Ada"], 5, /Ada/],
  [["create", "x", "--scope", "read"], 2, /argument/],
  [["exchange"], 2, /--scope/],
  [["exchange", "--scope", "read"], 2, /stdin/],
  [["inspect"], 2, /stdin/],
  [["revoke"], 2, /stdin/],
])("me token %j is refused with exit code %d, and says why", async (args, code, why) => {
  const refused = await me(home, ["token", ...args], { stdin: "" });
  expect([refused.code, refused.stdout], refused.stderr).toEqual([code, ""]);
  expect(refused.stderr).toMatch(why);
  expect(refused.stderr).not.toMatch(/\n {4}at /);
});

test("no command takes a token on its command line", async () => {
  for (const command of ["exchange", "inspect", "revoke"]) {
    const { code, stdout, stderr } = await me(home, ["token", command, "a.b.c", ...(command === "exchange" ? ["--scope", "read"] : [])]);
    expect([code, stdout], command).toEqual([2, ""]);
    expect(stderr).toMatch(/argument/);
  }
});

test("secret keys are made, listed, rotated and revoked, and with them goes what came of them", async () => {
  const { id, key } = await meJson(home, [
    "secretkey",
    "create",
    "--name",
    "backend",
    "--ceiling",
    "write:tasks:support",
    "--expires",
    "90d",
  ]);
  expect(key).toMatch(/^me_secret_/);
  expect(await meJson(bare, ["whoami"], as(key))).toMatchObject({ kind: "s", credential: { via: "secret_key", space: slug } });
  const { token } = await meJson(bare, ["token", "create", "--scope", "read:tasks:support"], { env: { ME_API_KEY: key, ME_SPACE: slug } });
  const list = await me(home, ["secretkey", "list"]);
  for (const shown of ["backend", key.slice(-4), "write:tasks:support", id]) expect(list.stdout).toContain(shown);
  expect(list.stdout).not.toContain(key);
  const rotated = await meJson(home, ["secretkey", "rotate", "BACKEND"]);
  expect(rotated.id).toBe(id);
  for (const good of [key, rotated.key, token]) expect(await isGood(server, good)).toBe(true);
  const last = await meJson(home, ["secretkey", "rotate", id, "--overlap", "0"]);
  expect([await isGood(server, key), await isGood(server, rotated.key), await isGood(server, token)]).toEqual([false, false, false]);
  const unsure = await me(home, ["secretkey", "revoke", "backend"]);
  expect([unsure.code, unsure.stderr]).toEqual([2, expect.stringContaining("--yes")]);
  await meJson(home, ["secretkey", "revoke", "backend", "--yes"]);
  expect(await isGood(server, last.key)).toBe(false);
  expect((await me(home, ["secretkey", "list"])).stdout).toContain("There are no secret keys");
});

test.each<[string[], number, RegExp]>([
  [["create"], 2, /--name/],
  [["create", "--name", "x", "--ceiling", "all"], 2, /ceiling/],
  [["create", "--name", "x", "--expires", "yesterday"], 2, /Say 90d/],
  [["rotate", "nothing"], 5, /no secret key nothing/],
  [["rotate", "nothing", "--overlap", "1.5"], 2, /whole number/],
  [["revoke", "nothing", "--yes"], 5, /no secret key nothing/],
])("me secretkey %j is refused with exit code %d, and says why", async (args, code, why) => {
  const refused = await me(home, ["secretkey", ...args]);
  expect([refused.code, refused.stdout], refused.stderr).toEqual([code, ""]);
  expect(refused.stderr).toMatch(why);
});

test("secret keys are for the admins of the space, in person", async () => {
  const { home: bobs, user } = await signedIn(server, "Bob");
  const { id } = await meJson(home, ["invite", "create", user.email]);
  await meJson(bobs, ["invite", "accept", id]);
  for (const [where, more, why] of [
    [bobs, { env: { ME_SPACE: slug } }, "This needs admin"],
    [bare, as(botKey), "refused (user-only)"],
  ] as const) {
    const { code, stderr } = await me(where, ["secretkey", "create", "--name", "mine"], more);
    expect([code, stderr]).toEqual([4, expect.stringContaining(why)]);
  }
});
