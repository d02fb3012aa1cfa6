import { fileURLToPath } from "node:url";
import { createMCPClient, type MCPClient } from "@ai-sdk/mcp";
import { StdioMCPTransport } from "@ai-sdk/mcp/mcp-stdio";
import { echo } from "@gatehouse/agent/echo";
import { tools } from "@gatehouse/mcp";
import type { Client } from "@modelcontextprotocol/client";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as OldStdio } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as OldHttp } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { connectHttp, connectMcp, homeWithKey, inputFor } from "./mcp.ts";
import { type Home, ME, start } from "./run.ts";

// The clients that people have, of four makers: each does all that there is to do, at both doors.

let at: Workplace;
let home: Home;
let group: string;
let address: URL;
let headers: { authorization: string };
beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([echo]);
  home = await homeWithKey(at);
  group = (await at.must("group.create", { name: "crew" })).id;
  address = new URL(`/mcp?space=${at.slug}`, at.server.url);
  headers = { authorization: `Bearer ${home.env.ME_API_KEY}` };
});
afterAll(() => at.close());

/** What a client says a tool answered. */
interface Called {
  isError?: boolean;
  structuredContent?: Record<string, unknown>;
}

/** A client, as far as a person at it can go. */
interface Person {
  list(): Promise<string[]>;
  call(name: string, input: Record<string, unknown>): Promise<Called>;
  close(): Promise<unknown>;
  /** Where each call takes a second: it is spared what other tools than those of chats would show again. */
  slow?: boolean;
}

const ofSdk = (client: Client | OldClient): Person => ({
  list: async () => (await client.listTools()).tools.map(({ name }) => name),
  call: async (name, input) => (await client.callTool({ name, arguments: input })) as Called,
  close: () => client.close(),
});

async function ofAiSdk(transport: Parameters<typeof createMCPClient>[0]["transport"]): Promise<Person> {
  const client: MCPClient = await createMCPClient({ transport });
  const found = await client.tools();
  return {
    list: async () => Object.keys(found),
    call: async (name, input) => (await found[name]?.execute?.(input, { toolCallId: "1", messages: [], context: {} } as never)) as Called,
    close: () => client.close(),
  };
}

async function ofOldSdk(transport: OldStdio | OldHttp): Promise<Person> {
  const client = new OldClient({ name: "old", version: "1" });
  // biome-ignore lint/suspicious/noExplicitAny: its types are not exact about what may be left out
  await client.connect(transport as any);
  return ofSdk(client);
}

/** The inspector's command line: a process for each thing that is asked. It looks for its own package.json from where it is. */
function ofInspector(...where: string[]): Person {
  const folder = fileURLToPath(new URL("build/", import.meta.resolve("@modelcontextprotocol/inspector-cli/package.json")));
  const ask = async (...args: string[]) => {
    const command = ["-C", folder, process.execPath, "cli.js", "--cli", ...where, ...args];
    const { code, stdout, stderr } = await start("env", command, home.env).finished;
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  };
  return {
    list: async () => (await ask("--method", "tools/list")).tools.map(({ name }: { name: string }) => name),
    call: (name, input) =>
      ask(
        "--method",
        "tools/call",
        "--tool-name",
        name,
        ...Object.entries(input).flatMap(([key, value]) => ["--tool-arg", `${key}=${value}`]),
      ),
    close: async () => {},
    slow: true,
  };
}

const stdio = () => ({ command: process.execPath, args: [ME, "mcp"], env: home.env, stderr: "ignore" as const });
const clients: Record<string, () => Promise<Person>> = {
  "the SDK 2.x, over stdio": async () => ofSdk((await connectMcp(home.env)).client),
  "the SDK 2.x, over HTTP": async () => ofSdk(await connectHttp(address, home.env.ME_API_KEY as string)),
  "the SDK 1.x, over stdio": () => ofOldSdk(new OldStdio(stdio())),
  "the SDK 1.x, over HTTP": () => ofOldSdk(new OldHttp(address, { requestInit: { headers } })),
  "the AI SDK, over stdio": () => ofAiSdk(new StdioMCPTransport(stdio())),
  "the AI SDK, over HTTP": () => ofAiSdk({ type: "http", url: address.href, headers }),
  "the inspector, over stdio": async () => ofInspector(process.execPath, ME, "mcp"),
  "the inspector, over HTTP": async () =>
    ofInspector(address.href, "--transport", "http", "--header", `Authorization: ${headers.authorization}`),
};

test.each(Object.entries(clients))("%s does all that there is to do", async (_which, connect) => {
  const person = await connect();
  expect(await person.list()).toEqual(tools.map(({ name }) => name));
  const did = async (name: string, input: Record<string, unknown>) => {
    const { isError, structuredContent } = await person.call(name, input);
    expect([name, isError ?? false, structuredContent]).toEqual([name, false, expect.anything()]);
    return structuredContent as Record<string, unknown>;
  };
  const { chatId } = await did("start_agent_chat", { task: "echo" });
  const first = await did("send_agent_message", { chatId, message: "pong" });
  expect(first).toMatchObject({ status: "complete", text: "pong", turn: 1 });
  const second = await did("send_agent_message", { chatId, message: "echo" });
  expect(second).toMatchObject({ status: "complete", text: "echo", turn: 2, run: first.run });
  const session = chatId as string;
  const reads = tools.filter(({ name, effect }) => effect === "read" && !(person.slow && !/agent|whoami|spaces|explain/.test(name)));
  for (const { name } of reads) await did(name, inputFor(name, { session, group }));
  expect(await did("stop_agent_message", { chatId })).toMatchObject({ turn: null });
  expect(await did("close_agent_chat", { chatId })).toMatchObject({ status: "closed", run: first.run });
  await person.close();
});
