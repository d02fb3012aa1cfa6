import { createMCPClient } from "@ai-sdk/mcp";
import { StdioMCPTransport } from "@ai-sdk/mcp/mcp-stdio";
import { echo } from "@gatehouse/agent/echo";
import { tools } from "@gatehouse/mcp";
import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as OldTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { table } from "./grid.ts";
import { connectMcp, homeWithKey } from "./mcp.ts";
import { type Home, ME, makeHome } from "./run.ts";

let at: Workplace;
let home: Home;
let session: string;
let group: string;
beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([echo]);
  home = await homeWithKey(at);
  const talk = await at.start("echo", "hello", { externalId: "matrix" });
  session = talk.session;
  await at.answered(talk);
  group = (await at.must("group.create", { name: "crew" })).id;
});
afterAll(() => at.close());

test("a name is one tool's, and fits every client; nothing that makes or shows a secret is a tool", () => {
  const names = tools.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[a-z_]{1,64}$/);
  const apis: Record<string, Api> = { user: userApi, space: spaceApi };
  for (const { door, method, effect } of tools) {
    const contract = apis[door]?.[method];
    expect(method).not.toMatch(/key|token/i);
    if (effect === "read") expect(contract?.effect, method).toBe("read");
  }
});

/** Params with which a tool can be called. */
const paramsOf = (name: string): Record<string, unknown> => {
  const all: Record<string, unknown> = { chatId: "matrix", session, task: "echo", message: "hello", turn: 1, group, name: "ada" };
  const { params } = tools.find((tool) => tool.name === name) as (typeof tools)[number];
  const required = Object.entries(params.shape).filter(([, schema]) => !schema.safeParse(undefined).success);
  const given = Object.fromEntries(required.map(([param]) => [param, all[param]]));
  return ["check_access", "explain_access"].includes(name) ? { permission: "read:tasks:echo" } : given;
};

test("every tool for every credential and scope: what is listed can be called, and what is not is refused", async () => {
  const bob = await at.server.user("bob");
  await at.server.join(at.slug, at.ada, bob);
  await at.must("access.grant", { principal: bob.id, permission: "write:tasks:echo" });
  const { result } = await at.server.call(bob.session, "apiKey.create", { name: "ide" });
  const bobs = await makeHome({ ...home.env, ME_API_KEY: result.key });
  const limited = await homeWithKey(at, ["read:tasks", "read:audit"]);
  const agent = await makeHome({ ...home.env, ...at.env });
  const callers: Record<string, [Home, ...string[]]> = {
    "admin's key": [home],
    "admin's key, --read-only": [home, "--read-only"],
    "admin's key, --scope write:tasks:echo": [home, "--scope", "write:tasks:echo"],
    "admin's key, --scope read:members": [home, "--scope", "read:members"],
    "admin's key, ceiling read:tasks read:audit": [limited],
    "member's key, granted write:tasks:echo": [bobs],
    "agent's key, granted admin:tasks": [agent],
  };
  const cells = new Map<string, string>();
  for (const [caller, [{ env }, ...args]] of Object.entries(callers)) {
    const mcp = await connectMcp(env, args);
    const { tools: listed } = await mcp.client.listTools();
    const names = new Set(listed.map(({ name }) => name));
    // What closes the chat comes last.
    for (const { name, effect } of [...tools].sort((a, b) => Number(a.effect === "write") - Number(b.effect === "write"))) {
      if (effect === "write" && names.has(name)) continue;
      const { isError, content, _meta } = await mcp.client.callTool({ name, arguments: paramsOf(name) });
      const said = (_meta?.["gatehouse/error"] as { code?: string } | undefined)?.code;
      expect([caller, name, said === "FORBIDDEN", content]).toEqual([caller, name, !names.has(name), expect.anything()]);
      expect([caller, name, isError === true]).toEqual([caller, name, said !== undefined]);
    }
    for (const { name } of tools) cells.set(`${name} ${caller}`, names.has(name) ? "yes" : "");
    await mcp.close();
  }
  const rows = tools.map(({ name }) => [`\`${name}\``, ...Object.keys(callers).map((caller) => cells.get(`${name} ${caller}`) as string)]);
  const text = `# MCP tools, by credential and scope\n\nWhich tools a client is offered. Each was called, too.\n\n${table(["tool", ...Object.keys(callers)], rows)}\n`;
  await expect(text).toMatchFileSnapshot("mcp-matrix.snapshot.md");
});

test("a client of the 1.x SDK talks with an agent", async () => {
  const client = new OldClient({ name: "old", version: "1" });
  await client.connect(new OldTransport({ command: process.execPath, args: [ME, "mcp"], env: home.env, stderr: "ignore" }));
  const names = (await client.listTools()).tools.map(({ name }) => name);
  expect(names).toEqual(tools.map(({ name }) => name));
  const { structuredContent } = await client.callTool({ name: "start_agent_chat", arguments: { task: "echo", message: "pong" } });
  expect(structuredContent).toMatchObject({ status: "complete", text: "pong" });
  await client.close();
});

test("the AI SDK finds the tools, and calls them", async () => {
  const transport = new StdioMCPTransport({ command: process.execPath, args: [ME, "mcp"], env: home.env, stderr: "ignore" });
  const client = await createMCPClient({ transport });
  const found = await client.tools();
  const answer = await found.start_agent_chat?.execute?.({ task: "echo", message: "pong" }, {
    toolCallId: "1",
    messages: [],
    context: {},
  } as never);
  expect(answer).toMatchObject({ structuredContent: { status: "complete", text: "pong" } });
  await client.close();
});
