import { tools } from "@gatehouse/mcp";
import { Client, type ClientOptions, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { afterAll } from "vitest";
import type { Workplace } from "./agents.ts";
import { type Home, ME, makeHome } from "./run.ts";

/** What MCP clients of today and of yesterday speak. */
export const revisions = { "2026-07-28": { mode: { pin: "2026-07-28" } }, "2025": { mode: "legacy" } } as const;

export interface McpOptions extends ClientOptions {
  revision?: keyof typeof revisions;
  /** Prepares the client before it connects: handlers. */
  prepare?: (client: Client) => void;
}

const open = new Set<Client>();
afterAll(() => Promise.all([...open].map((client) => client.close())));

/** A real MCP client, over stdio, with the real command line: `me mcp`. */
export async function connectMcp(env: Record<string, string>, args: readonly string[] = [], options: McpOptions = {}) {
  const { revision = "2026-07-28", prepare, ...rest } = options;
  const client = new Client({ name: "tests", version: "1" }, { versionNegotiation: revisions[revision], ...rest });
  prepare?.(client);
  const transport = new StdioClientTransport({ command: process.execPath, args: [ME, "mcp", ...args], env, stderr: "pipe" });
  let stderr = "";
  transport.stderr?.on("data", (text) => {
    stderr += text;
  });
  await client.connect(transport).catch((cause: unknown) => {
    throw new Error(`me mcp did not answer; it said:\n${stderr}`, { cause });
  });
  open.add(client);
  return {
    client,
    pid: transport.pid as number,
    stderr: () => stderr,
    /** Calls a tool. @returns its structured answer; an error's text is thrown */
    // biome-ignore lint/suspicious/noExplicitAny: tests reach into answers of every tool
    async call(name: string, input: Record<string, unknown> = {}, how: Parameters<Client["callTool"]>[1] = {}): Promise<any> {
      const { isError, content, structuredContent } = await client.callTool({ name, arguments: input }, how);
      if (isError) throw new Error(content.map((part) => ("text" in part ? part.text : "")).join("\n"));
      return structuredContent;
    },
    close: () => {
      open.delete(client);
      return client.close();
    },
  };
}

/** The same client, of today, at the server's own door: `/mcp`. */
export async function connectHttp(address: URL, credential: string): Promise<Client> {
  const client = new Client({ name: "tests", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const headers = { authorization: `Bearer ${credential}` };
  await client.connect(new StreamableHTTPClientTransport(address, { requestInit: { headers } }));
  open.add(client);
  return client;
}

/** A home on another machine, with a personal access token of the workplace's person, or one with a ceiling. */
export async function homeWithKey(at: Workplace, ceiling?: readonly string[]): Promise<Home> {
  const { key } = await at.must("apiKey.create", { name: `ide-${crypto.randomUUID()}`, ceiling }, null);
  return makeHome({ ME_SERVER: at.server.url, ME_SPACE: at.slug, ME_API_KEY: key });
}

/** Input with which a tool can be called, in a chat in which one message was answered. */
export function inputFor(name: string, { session, group }: { session: string; group: string }): Record<string, unknown> {
  const all: Record<string, unknown> = { chatId: session, session, task: "echo", message: "hello", turn: 1, group, name: "ada" };
  const { params } = tools.find((tool) => tool.name === name) as (typeof tools)[number];
  const required = Object.entries(params.shape).filter(([, schema]) => !schema.safeParse(undefined).success);
  return ["check_access", "explain_access"].includes(name)
    ? { permission: "read:tasks:echo" }
    : Object.fromEntries(required.map(([param]) => [param, all[param]]));
}
