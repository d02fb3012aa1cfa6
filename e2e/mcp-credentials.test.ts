import { signOut } from "@gatehouse/client";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { openJar } from "./jar.ts";
import { enterCode, kept } from "./logins.ts";
import { connectMcp, homeWithKey, revisions } from "./mcp.ts";
import { ME, makeHome, me, signedIn, start, until } from "./run.ts";

let at: Workplace;
let agentKey: string;
beforeAll(async () => {
  at = await makeWorkplace();
  agentKey = at.env.ME_API_KEY;
});
afterAll(() => at.close());

const namesOf = async (mcp: Awaited<ReturnType<typeof connectMcp>>) => (await mcp.client.listTools()).tools.map(({ name }) => name);

test("what calls is a token of its own, that may do what the tools need, whatever key it was made from", async () => {
  const home = await homeWithKey(at);
  const mcp = await connectMcp(home.env);
  expect((await mcp.call("whoami")).credential).toMatchObject({
    via: "jwt",
    scope: ["read", "write:tasks", "write:sessions"],
    space: at.slug,
  });
  const agent = await connectMcp({ ...home.env, ME_API_KEY: agentKey });
  expect(await agent.call("whoami")).toMatchObject({ name: "bot", credential: { via: "jwt", scope: ["write:tasks"] } });
});

test("a key with a ceiling gives a token with no more than that", async () => {
  const home = await homeWithKey(at, ["write:tasks:echo"]);
  const mcp = await connectMcp(home.env);
  expect((await mcp.call("whoami")).credential.scope).toEqual(["write:tasks:echo"]);
  await expect(mcp.call("start_agent_chat", { task: "other" })).rejects.toThrow(
    /needs write:tasks:other[\s\S]*Missing: any one of write:tasks:other, write:sessions. Layer that lacks it: ceiling\./,
  );
});

test("--read-only and --scope reduce the token itself, and the list follows", async () => {
  const home = await homeWithKey(at);
  const reader = await connectMcp(home.env, ["--read-only"]);
  expect((await reader.call("whoami")).credential.scope).toEqual(["read"]);
  const { tools } = await reader.client.listTools();
  expect(tools.every(({ annotations }) => annotations?.readOnlyHint)).toBe(true);
  expect(tools.map(({ name }) => name)).toContain("list_agent_chats");
  await expect(reader.call("start_agent_chat", { task: "echo" })).rejects.toThrow(/Layer that lacks it: token\.\nNext: .*wider/);

  const narrow = await connectMcp(home.env, ["--scope", "write:tasks:echo read:members"]);
  expect((await narrow.call("whoami")).credential.scope).toEqual(["write:tasks:echo", "read:members"]);
  const names = await namesOf(narrow);
  expect(names).toEqual(expect.arrayContaining(["start_agent_chat", "list_roster"]));
  expect(names).not.toContain("list_audit");
  const both = await connectMcp(home.env, ["--read-only", "--scope", "write:tasks:echo"]);
  expect((await both.call("whoami")).credential.scope).toEqual(["read:tasks:echo"]);
  const much = await connectMcp((await homeWithKey(at, ["read"])).env, ["--scope", "admin"]);
  await expect(much.call("whoami")).rejects.toThrow("lacks admin");
});

test("who was granted nothing yet has the tools that need no grant, and each works", async () => {
  const guest = await at.server.user("guest");
  await at.server.join(at.slug, at.ada, guest);
  const { key } = (await at.server.call(guest.session, "apiKey.create", { name: "ide" })).result;
  const mcp = await connectMcp((await makeHome({ ME_SERVER: at.server.url, ME_API_KEY: key })).env);
  expect((await mcp.call("whoami")).credential).toMatchObject({ via: "jwt", scope: [] });
  const names = await namesOf(mcp);
  const direct = new Client({ name: "tests", version: "1" });
  const address = new URL(`${at.server.url}/mcp?space=${at.slug}`);
  await direct.connect(new StreamableHTTPClientTransport(address, { requestInit: { headers: { authorization: `Bearer ${key}` } } }));
  // By the key itself there are more: some that no token may call.
  expect((await direct.listTools()).tools.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  await direct.close();
  expect(names).toEqual(expect.arrayContaining(["whoami", "list_spaces", "list_agents", "explain_access"]));
  for (const name of ["list_spaces", "list_agents", "list_agent_chats", "show_space"]) await mcp.call(name);
  await expect(mcp.call("start_agent_chat", { task: "echo" })).rejects.toThrow(/Missing: any one of write:tasks, write:sessions/);
});

test("who holds more than a token carries is told to choose", async () => {
  const guest = await at.server.user("many");
  await at.server.join(at.slug, at.ada, guest);
  const grant = (n: number) => at.must("access.grant", { principal: guest.id, permission: `write:tasks:team${n}/bot` });
  for (let n = 0; n < 66; n++) await grant(n);
  const { key } = (await at.server.call(guest.session, "apiKey.create", { name: "ide" })).result;
  const home = await makeHome({ ME_SERVER: at.server.url, ME_API_KEY: key });
  expect((await (await connectMcp(home.env)).call("whoami")).credential.scope).toHaveLength(66);
  for (let n = 66; n < 257; n++) await grant(n);
  await expect((await connectMcp(home.env)).call("whoami")).rejects.toThrow(/You hold 257 permissions there.*me mcp --scope/);
  const some = await connectMcp(home.env, ["--scope", "write:tasks:team7/bot"]);
  expect((await some.call("whoami")).credential.scope).toEqual(["write:tasks:team7/bot"]);
});

test.each(["mcp", "mcp install claude --print"])("me %s with a --scope that is none says so at once", async (command) => {
  const home = await homeWithKey(at);
  for (const [scope, why] of [
    ["foo bar", /The --scope "foo" must be action/],
    [" ", /The --scope is empty/],
  ] as const) {
    const { code, stdout, stderr } = await me(home, [...command.split(" "), "--scope", scope], { stdin: "" });
    expect([code, stdout, stderr]).toEqual([exitCodes.usage, "", expect.stringMatching(why)]);
  }
});

test("a token that is given is used as it is; a secret key is refused at once", async () => {
  const { token, id } = await at.must("token.create", { space: at.slug, scope: ["read:tasks"] }, null);
  const given = await connectMcp((await makeHome({ ME_SERVER: at.server.url, ME_API_KEY: token })).env);
  expect((await given.call("whoami")).credential).toMatchObject({ via: "jwt", id });
  const { key } = await at.must("secretKey.create", { name: "shop" });
  const home = await makeHome({ ME_SERVER: at.server.url, ME_API_KEY: key });
  const { code, stdout, stderr } = await me(home, ["mcp"], { stdin: "" });
  expect([code, stdout, stderr]).toEqual([exitCodes.usage, "", expect.stringMatching(/A secret key.*me login/)]);
  expect(stderr).not.toContain(key);
});

test("a token that ends is followed by another, and nobody notices", async () => {
  const home = await homeWithKey(at);
  const mcp = await connectMcp(home.env);
  const answers = await Promise.all(Array.from({ length: 5 }, () => mcp.call("whoami")));
  const [first, ...others] = new Set(answers.map(({ credential }) => credential.id));
  expect(others, "one for many calls").toEqual([]);
  await at.server.sql`delete from tokens where id = ${first}`;
  at.server.settle();
  const second = await until("it calls with another token", async () => {
    const { id } = (await mcp.call("whoami")).credential;
    return id !== first && id;
  });
  expect(second).not.toBe(first);
});

test("a token is renewed before it ends", async () => {
  const { token } = await at.must("token.create", { space: at.slug, scope: ["read"], ttlSeconds: 10 }, null);
  const mcp = await connectMcp((await makeHome({ ME_SERVER: at.server.url, ME_API_KEY: token })).env, ["--read-only"]);
  const first = (await mcp.call("whoami")).credential;
  const second = await until("it calls with another token", async () => {
    const { credential } = await mcp.call("whoami");
    return credential.id !== first.id && Date.now() < Date.parse(first.expiresAt) && credential;
  });
  expect(second.scope).toEqual(["read"]);
});

test("with nobody signed in it starts, and says what to do; once somebody is, it goes on", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const mcp = await connectMcp(home.env);
  await expect(mcp.call("list_agents")).rejects.toThrow("Run: me login");
  const user = await at.server.user("eve");
  expect((await me(home, ["login", "--email", user.email], { stdin: user.password })).code).toBe(0);
  await expect(mcp.call("list_agents")).rejects.toThrow("You are in no space");
  expect(mcp.stderr()).toBe("");
});

test("who is in several spaces is told which, and how to choose; the running client goes on", async () => {
  const { home, user } = await signedIn(at.server, "paula");
  await at.server.join(at.slug, at.ada, user);
  const { slug } = (await at.server.call(user.session, "space.create", { name: "Second" })).result;
  const env = { ...home.env, ME_SERVER: at.server.url };
  const mcp = await connectMcp(env);
  const spaces = new RegExp(`You are in 2 spaces: (?=.*Acme \\(${at.slug}\\))(?=.*Second \\(${slug}\\)).*`);
  for (const tool of ["whoami", "list_spaces"]) await expect(mcp.call(tool)).rejects.toThrow(spaces);
  await expect(mcp.call("whoami")).rejects.toThrow(/me space use SLUG, and this client goes on.*me mcp install CLIENT --space SLUG/);
  expect((await me({ ...home, env }, ["space", "use", slug])).code).toBe(0);
  expect((await mcp.call("whoami")).credential.space).toBe(slug);

  // What is chosen goes with a login, not with a key.
  const { key } = (await at.server.call(user.session, "apiKey.create", { name: "ide" })).result;
  const keyed = await connectMcp({ ...env, ME_API_KEY: key });
  await expect(keyed.call("whoami")).rejects.toThrow(/Choose: me mcp install CLIENT --space SLUG/);
  const terminal = await me({ ...home, env: { ...env, ME_API_KEY: key } }, ["space", "get"]);
  expect([terminal.code, terminal.stderr]).toEqual([exitCodes.usage, expect.stringMatching(/2 spaces: .*Choose: set ME_SPACE=SLUG/)]);
});

test("a login that has ended is none: it says so, and goes on once the person has signed in again", async () => {
  const { home, user } = await signedIn(at.server, "mary");
  await at.server.join(at.slug, at.ada, user);
  const env = { ...home.env, ME_SERVER: at.server.url };
  const mcp = await connectMcp(env);
  const shown: string[] = [];
  const shows = await connectMcp(env, [], {
    capabilities: { elicitation: { url: {} } },
    prepare: (client) =>
      client.setRequestHandler("elicitation/create", async ({ params }) => {
        shown.push((params as { url: string }).url);
        return { action: "decline" };
      }),
  });
  for (const each of [mcp, shows]) expect(await each.call("whoami")).toMatchObject({ id: user.id });

  await signOut({ server: at.server.url, credential: (await kept(home, at.server.url)).token });
  for (let n = 0; n < 2; n++) await expect(mcp.call("whoami")).rejects.toThrow("Your login has ended. Sign in again: me login");
  await expect(shows.call("whoami")).rejects.toThrow("the sign-in was declined");
  expect(shown).toEqual([expect.stringContaining(`${at.server.url}/device?user_code=`)]);

  expect((await me({ ...home, env }, ["login", "--email", user.email], { stdin: user.password })).code).toBe(0);
  for (const each of [mcp, shows]) expect(await each.call("whoami")).toMatchObject({ id: user.id });
  expect((await me({ ...home, env }, ["logout"])).code).toBe(0);
  await expect(mcp.call("whoami")).rejects.toThrow(/me login/);
});

describe.each(Object.keys(revisions) as (keyof typeof revisions)[])("revision %s", (revision) => {
  test("with nobody signed in, a client that shows addresses is asked to have the person sign in", async () => {
    const user = await at.server.user("grace");
    await at.server.join(at.slug, at.ada, user);
    await at.must("access.grant", { principal: user.id, permission: "write:tasks" });
    const home = await makeHome({ ME_SERVER: at.server.url });
    const shown: string[] = [];
    let declines = true;
    let changed = 0;
    const mcp = await connectMcp(home.env, [], {
      revision,
      capabilities: { elicitation: { url: {} } },
      listChanged: { tools: { autoRefresh: false, onChanged: () => void changed++ } },
      prepare: (client) =>
        client.setRequestHandler("elicitation/create", async ({ params }) => {
          const { url, message } = params as { url: string; message: string };
          shown.push(url);
          if (declines) return { action: "decline" };
          const code = new URL(url).searchParams.get("user_code") as string;
          expect(message).toContain(code);
          await enterCode(openJar(at.server.url), code, user);
          await at.server.sql`update auth."deviceCode" set "lastPolledAt" = null`;
          return { action: "accept" };
        }),
    });
    await expect(mcp.call("whoami")).rejects.toThrow("the sign-in was declined");
    declines = false;
    expect(await mcp.call("whoami")).toMatchObject({ id: user.id, credential: { via: "jwt" } });
    expect(shown[0]).toContain(`${at.server.url}/device?user_code=`);
    expect(await kept(home, at.server.url)).toMatchObject({ name: "grace" });
    if (revision === "2025") await until("the client hears of the tools", () => changed > 0);
  });
});

test("a client that reads no more, though its line to us stays open, has gone", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const mcp = start(process.execPath, [ME, "mcp"], home.env, null);
  mcp.child.stdout?.destroy();
  const clientInfo = { name: "tests", version: "1" };
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
  mcp.child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params })}\n`);
  expect((await mcp.finished).code).toBe(0);
});
