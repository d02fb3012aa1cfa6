import { request } from "node:http";
import { createMCPClient } from "@ai-sdk/mcp";
import { chatAgent } from "@gatehouse/agent";
import { openDatabase } from "@gatehouse/server";
import type { Client } from "@modelcontextprotocol/client";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as OldTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { streamText } from "ai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { expectClean } from "./clean.ts";
import { makeCredentials } from "./credentials.ts";
import { connectHttp, connectMcp, homeWithKey } from "./mcp.ts";
import { startModel } from "./model.ts";
import { moment } from "./moment.ts";
import { until } from "./run.ts";
import { textOf } from "./said.ts";

let place: Workplace;
let pat: string;
let address: URL;
let model: Awaited<ReturnType<typeof startModel>>;
const stuck = moment();
beforeAll(async () => {
  place = await makeWorkplace();
  pat = (await place.must("apiKey.create", { name: "mcp" }, null)).key;
  address = new URL(`${place.server.url}/mcp?space=${place.slug}`);
  model = await startModel();
  await place.serve([
    chatAgent({
      id: "model",
      run: ({ messages, signal }) => streamText({ model: model.provider(), messages, abortSignal: signal }),
    }),
    chatAgent({
      id: "echo",
      async *run({ uiMessages, signal }) {
        const said = textOf(uiMessages.at(-1));
        yield { type: "text-start", id: "1" };
        yield { type: "text-delta", id: "1", delta: said };
        if (said === "hang") {
          stuck.happen();
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        }
        yield { type: "text-end", id: "1" };
      },
    }),
  ]);
});
afterAll(async () => {
  await place.close();
  model.close();
});
const words = (text: string) => text.split(/(?<= )/).map((content) => ({ content }));

const connect = (at = address) => connectHttp(at, pat);
async function connectOld() {
  const client = new OldClient({ name: "old", version: "1" });
  // biome-ignore lint/suspicious/noExplicitAny: its types are not exact about what may be left out
  await client.connect(new OldTransport(address, { requestInit: { headers: { authorization: `Bearer ${pat}` } } }) as any);
  return client;
}
const LIST = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "whoami", arguments: {} } };
const MODERN = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const WHOAMI = { ...LIST, params: { ...LIST.params, _meta: MODERN } };
const STANDARD = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
  "mcp-protocol-version": "2026-07-28",
  "mcp-method": "tools/call",
  "mcp-name": "whoami",
};
async function post(headers: Record<string, string>, body: unknown = WHOAMI) {
  place.server.settle();
  const answered = await fetch(address, { method: "POST", headers: { ...STANDARD, ...headers }, body: JSON.stringify(body) });
  const text = await answered.text();
  expectClean(text);
  return { status: answered.status, headers: answered.headers, text };
}

describe("a chat", () => {
  test.each([
    ["this revision", () => connect()],
    ["the one before", async () => (await connectOld()) as unknown as Client],
  ])("by a client of %s: both turns in one run, and closed", async (_name, open) => {
    const client = await open();
    // biome-ignore lint/suspicious/noExplicitAny: tests reach into results
    const call = async (name: string, args: object): Promise<any> => {
      const { isError, structuredContent, content } = await client.callTool({ name, arguments: args as Record<string, unknown> });
      expect(isError, JSON.stringify(content)).toBeFalsy();
      return structuredContent;
    };
    const { chatId } = await call("start_agent_chat", { task: "echo" });
    const first = await call("send_agent_message", { chatId, message: "pong" });
    const second = await call("send_agent_message", { chatId, message: "echo" });
    expect([first, second]).toMatchObject([
      { status: "complete", text: "pong", turn: 1 },
      { status: "complete", text: "echo", turn: 2 },
    ]);
    expect(second.run).toEqual(first.run);
    expect(await call("close_agent_chat", { chatId })).toMatchObject({ status: "closed", run: first.run });
    await client.close();
  });

  test("by the client of the AI SDK, over HTTP", async () => {
    const headers = { Authorization: `Bearer ${pat}` };
    const client = await createMCPClient({ transport: { type: "http", url: address.href, headers } });
    const tools = await client.tools();
    // biome-ignore lint/suspicious/noExplicitAny: tests reach into results
    const call = async (name: string, args: object): Promise<any> => {
      const answer = (await tools[name]?.execute?.(args, { toolCallId: name, messages: [] } as never)) as { structuredContent: unknown };
      return answer.structuredContent;
    };
    const { chatId } = await call("start_agent_chat", { task: "echo" });
    const first = await call("send_agent_message", { chatId, message: "pong" });
    const second = await call("send_agent_message", { chatId, message: "echo" });
    expect([first, second]).toMatchObject([{ text: "pong" }, { text: "echo", run: first.run }]);
    expect(await call("close_agent_chat", { chatId })).toMatchObject({ status: "closed" });
    await client.close();
  });

  test.each([
    ["HTTP", () => connect()],
    ["stdin and stdout", async () => (await connectMcp((await homeWithKey(place)).env)).client],
  ])("with a model that streams, over %s: the answer is shown as it grows", async (_name, open) => {
    model.reply = ({ messages }) => ({ deltas: words(`You said ${String(messages.at(-1)?.content)}.`), end: "stop" });
    const client = await open();
    const chat = { chatId: `chat-${crypto.randomUUID()}` };
    await client.callTool({ name: "start_agent_chat", arguments: { task: "model", ...chat } });
    const runs: unknown[] = [];
    for (const message of ["pong", "echo"]) {
      let shown = "";
      const onprogress = ({ message }: { message?: string }) => {
        shown += message;
      };
      const answer = await client.callTool({ name: "send_agent_message", arguments: { message, ...chat } }, { onprogress });
      expect(answer.isError, JSON.stringify(answer)).toBeFalsy();
      const { text, run } = answer.structuredContent as { text: string; run: object };
      expect([text, shown]).toEqual([`You said ${message}.`, `You said ${message}.`]);
      runs.push(run);
    }
    expect(runs[1]).toEqual(runs[0]);
    await client.callTool({ name: "close_agent_chat", arguments: chat });
    await client.close();
  });

  test("a chatId that can be none is told what it may be", async () => {
    const client = await connect();
    for (const [name, params] of [
      ["read_session", { session: crypto.randomUUID() }],
      ["start_agent_chat", { task: "echo", chatId: crypto.randomUUID() }],
    ] as const) {
      const { isError, content } = await client.callTool({ name, arguments: params });
      expect([isError, JSON.stringify(content)]).toEqual([true, expect.stringMatching(/must not look like an id/)]);
    }
    await client.close();
  });

  test("a client that cancels, as by hanging up, stops the turn that it asked for", async () => {
    const client = await connect();
    const { structuredContent } = await client.callTool({ name: "start_agent_chat", arguments: { task: "echo", chatId: "to-hang" } });
    expect(structuredContent).toMatchObject({ chatId: "to-hang" });
    const stop = new AbortController();
    const asked = client.callTool(
      { name: "send_agent_message", arguments: { chatId: "to-hang", message: "hang" } },
      { signal: stop.signal },
    );
    await stuck.happened;
    stop.abort();
    await expect(asked).rejects.toThrow();
    expect(await place.answered({ session: "to-hang", turn: 1 })).toMatchObject({ outcome: "stopped" });
    await client.close();
  });

  test("a client of the revision before can't cancel: the turn goes on until stop_agent_message stops it", async () => {
    const client = await connectOld();
    const chat = { chatId: "not-cancelled" };
    await client.callTool({ name: "start_agent_chat", arguments: { task: "echo", ...chat } });
    const stop = new AbortController();
    const said = { name: "send_agent_message", arguments: { message: "hang", ...chat } };
    const asked = client.callTool(said, undefined, { signal: stop.signal });
    asked.catch(() => {});
    await until("half of it has come", async () => (await place.events(chat.chatId)).some(({ kind }) => kind === "chunks"));
    stop.abort();
    await expect(asked).rejects.toThrow();
    // What was sent after the cancel is answered after it.
    const stopped = await client.callTool({ name: "stop_agent_message", arguments: { turn: 2, ...chat } });
    expect(stopped.structuredContent).toEqual({ turn: null, ...chat });
    expect((await place.events(chat.chatId)).filter(({ kind }) => ["stop", "turn-end"].includes(kind))).toEqual([]);
    await client.callTool({ name: "stop_agent_message", arguments: chat });
    expect(await place.answered({ session: chat.chatId, turn: 1 })).toMatchObject({ outcome: "stopped" });
    await client.close();
  });

  test("a client that names no space is told where it is named", async () => {
    const client = await connect(new URL("/mcp", address));
    const { isError, content } = await client.callTool({ name: "list_agents" });
    expect([isError, JSON.stringify(content)]).toEqual([true, expect.stringMatching(/list_spaces.*\/mcp\?space=<slug>/)]);
    expect((await client.callTool({ name: "list_spaces" })).structuredContent).toMatchObject({ spaces: [{ slug: place.slug }] });
    await client.close();
  });
});

describe("who comes in", () => {
  test("every credential for programs, as who it is; all else is the same 401, which says where to sign in", async () => {
    const ada = await place.server.user("Credentials");
    const { credentials } = await makeCredentials(place.server, ada);
    const refused = new Set<string>();
    const admitted: string[] = [];
    for (const [name, { headers, actor }] of Object.entries(credentials)) {
      const answer = await post(headers);
      const opens = actor !== undefined && !["session", "secret_key", "browser_token"].includes(actor.credential.via);
      // A web origin is refused before anything that comes with it.
      const foreign = headers.origin !== undefined && headers.origin !== place.server.url;
      expect(answer.status, name).toBe(foreign ? 403 : opens ? 200 : 401);
      if (foreign) continue;
      if (opens) {
        admitted.push(name);
        expect(answer.text, name).toContain(actor.principal.id);
        continue;
      }
      const came = /^bearer +\S/i.test(headers.authorization ?? "");
      const wrong = ', error="invalid_token", error_description="The token is wrong, expired or revoked"';
      expect(answer.headers.get("www-authenticate"), name).toBe(
        `Bearer resource_metadata="${place.server.url}/.well-known/oauth-protected-resource/mcp", scope="write:tasks"${came ? wrong : ""}`,
      );
      refused.add(answer.text.replace(/"requestId":"[^"]+"/, ""));
    }
    expect([...refused]).toHaveLength(1);
    expect(admitted).toEqual(expect.arrayContaining(["PAT", "agent key", "token of secret key"]));
  });

  test("nobody by a name or from a web origin that is not the server's", async () => {
    const ask = (headers: Record<string, string>) =>
      new Promise<number>((resolve, reject) => {
        const sent = request(
          address,
          { method: "POST", headers: { ...STANDARD, authorization: `Bearer ${pat}`, ...headers } },
          (answer) => {
            answer.resume();
            resolve(answer.statusCode ?? 0);
          },
        );
        sent.on("error", reject).end(JSON.stringify(WHOAMI));
      });
    const { port } = address;
    expect(await ask({})).toBe(200);
    for (const host of [`localhost:${port}`, `LocalHost:${port}`, `[::1]:${port}`]) expect(await ask({ host }), host).toBe(200);
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example"]) expect(await ask({ host }), host).toBe(403);
    expect(await ask({ origin: place.server.url })).toBe(200);
    for (const origin of ["https://evil.example", "null", `http://localhost:1`]) expect(await ask({ origin }), origin).toBe(403);
    // Before who asks: a page must not learn whether a credential is good.
    expect(await ask({ origin: "https://evil.example", authorization: "Bearer nonsense" })).toBe(403);
  });

  test("a web page that may call can read what it is challenged with, and when to come again", async () => {
    const answer = await fetch(address, {
      method: "POST",
      headers: { ...STANDARD, origin: place.server.url },
      body: JSON.stringify(WHOAMI),
    });
    expect([answer.status, answer.headers.has("www-authenticate")]).toEqual([401, true]);
    const exposed = answer.headers.get("access-control-expose-headers")?.split(/, */);
    expect(exposed).toEqual(expect.arrayContaining(["www-authenticate", "retry-after", "x-request-id"]));
  });

  test("a body that can't be read is refused after the credential, and never a fault", async () => {
    const key = { authorization: `Bearer ${pat}` };
    const send = (body: string, headers: Record<string, string> = {}) =>
      fetch(address, { method: "POST", headers: { ...STANDARD, ...key, ...headers }, body });
    const deep = "[".repeat(100_000);
    for (const body of ["", "{", "[]", "null", "1", '"text"', '{"jsonrpc":"2.0"}', "\xff", deep]) {
      const answer = await send(body);
      expect(answer.status, body.slice(0, 20)).toBe(body === deep ? 413 : 400);
      expectClean(await answer.text());
      expect((await send(body, { authorization: "Bearer nonsense" })).status).toBe(401);
    }
    expect((await send("{}", { "content-type": "text/plain" })).status).toBe(415);
    expect((await send(" ".repeat(5_000_000))).status).toBe(413);
    for (const method of ["GET", "DELETE"]) expect((await fetch(address, { method, headers: key })).status, method).toBe(405);
  });
});

test("a server that stops answers who waits, and cancels nothing", async () => {
  const own = await makeWorkplace();
  const key = (await own.must("apiKey.create", { name: "mcp" }, null)).key;
  const begun = moment();
  const slow = chatAgent({
    id: "slow",
    async *run({ signal }) {
      begun.happen();
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    },
  });
  await own.serve([slow]);
  const { session } = await own.must("session.create", { task: "slow", externalId: "waited-for" });
  const asked = fetch(`${own.server.url}/mcp?space=${own.slug}`, {
    method: "POST",
    headers: { ...STANDARD, authorization: `Bearer ${key}`, "mcp-name": "send_agent_message" },
    body: JSON.stringify({
      ...WHOAMI,
      params: { name: "send_agent_message", arguments: { chatId: "waited-for", message: "take your time" }, _meta: MODERN },
    }),
  });
  await begun.happened;
  await own.close();
  expect(await (await asked).text()).toContain("running");
  const sql = openDatabase(own.server.databaseUrl);
  expect(await sql`select from session_events where session_id = ${session.id} and kind = 'stop'`).toHaveLength(0);
  await sql.end();
});
