import { echo } from "@gatehouse/agent/echo";
import { createGatehouseMcp } from "@gatehouse/mcp";
import { Client, InMemoryTransport } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeHolding } from "./agent-holding.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { connectHttp } from "./mcp.ts";
import { until } from "./run.ts";

let at: Workplace;
const held = makeHolding();
beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([echo, held.agent]);
});
afterAll(() => at.close());

/** What becomes of a call on its way: `pass` takes it to the server. */
type Line = (method: string, pass: () => Promise<Response>) => Promise<Response>;

/** A client of the tools, as whoever a key of the workplace's person is, over a line that a test steps into. */
async function connect(line: Line = (_method, pass) => pass()) {
  const { id, key } = await at.must("apiKey.create", { name: `line-${crypto.randomUUID()}` }, null);
  const onLine = (input: string | URL | Request, init?: RequestInit) =>
    line(init?.method === "POST" ? JSON.parse(String(init.body)).method : "stream", () => fetch(input, init));
  const [near, far] = InMemoryTransport.createLinkedPair();
  const target = { server: at.server.url, credential: key as string, space: at.slug, fetch: onLine as typeof fetch };
  await createGatehouseMcp({ target }).connect(far);
  const client = new Client({ name: "tests", version: "1" });
  await client.connect(near);
  const call = async (name: string, args: Record<string, unknown>, signal?: AbortSignal) => {
    const { isError, content, structuredContent, _meta } = await client.callTool({ name, arguments: args }, signal && { signal });
    const text = content.map((part) => ("text" in part ? part.text : "")).join("\n");
    return { isError: isError === true, text, code: (_meta?.["gatehouse/error"] as { code?: string })?.code, is: structuredContent ?? {} };
  };
  return { call, keyId: id as string };
}

/** A chat of its own for a test. */
async function chatWith(task: string): Promise<{ chatId: string; session: string }> {
  const chatId = `chat-${crypto.randomUUID()}`;
  const { session } = await at.must("session.create", { task, externalId: chatId });
  return { chatId, session: session.id };
}
const said = async (session: string) => (await at.events(session)).filter(({ kind }) => kind === "message").length;
const away = (): never => {
  throw new TypeError("the line is cut");
};

test.each([
  ["BAD_ANSWER", () => new Response("<h1>Welcome</h1>")],
  [
    "INTERNAL_ERROR",
    () =>
      Response.json({ jsonrpc: "2.0", id: 1, error: { code: -32603, message: "The server failed.", data: { code: "INTERNAL_ERROR" } } }),
  ],
])("after %s nobody knows whether the message was kept: it is told by which name it counts once", async (code, answered) => {
  let lost = 0;
  const { call } = await connect(async (method, pass) => {
    const answer = await pass();
    return method === "session.send" && lost++ === 0 ? answered() : answer;
  });
  const { chatId, session } = await chatWith("echo");
  const first = await call("send_agent_message", { chatId, message: "once" });
  expect(first).toMatchObject({ isError: true, code });
  const inputId = /"inputId": "([^"]+)"/.exec(first.text)?.[1];
  expect(await call("send_agent_message", { chatId, message: "once", inputId })).toMatchObject({ is: { text: "once", turn: 1 } });
  expect(await said(session)).toBe(1);
});

test("access that ends while an answer comes hides neither the turn, nor what there is of the answer, nor the chat", async () => {
  const { call, keyId } = await connect();
  const answer = call("start_agent_chat", { task: "holding", message: "hold" });
  const chat = await until("the chat is there", async () => (await at.must("session.list", { task: "holding", limit: 1 })).sessions[0]);
  await until("half of it has come", async () => (await at.events(chat.id)).some(({ kind }) => kind === "chunks"));
  await at.must("apiKey.delete", { id: keyId }, null);
  const { isError, code, text } = await answer;
  expect({ isError, code }).toEqual({ isError: true, code: "UNAUTHENTICATED" });
  expect(text).toContain(`kept, as turn 1. Next: wait_agent_message {"chatId":"${chat.externalId}","turn":1}`);
  expect(text).toContain("Until then it said: half");
  expect(text).toContain(`The chat is ${chat.externalId}.`);
  held.gateOf(chat.id, 1).happen();
  const other = await connect();
  expect(await other.call("wait_agent_message", { chatId: chat.externalId, turn: 1 })).toMatchObject({ is: { text: "half, whole" } });
});

test("access that ends while an answer comes is told at once over HTTP, too, though too many wrong credentials came from its address", async () => {
  const holding = makeHolding();
  const busy = await makeWorkplace({ FAILED_AUTH_LIMIT: "5" });
  await busy.serve([holding.agent]);
  const { id, key } = await busy.must("apiKey.create", { name: "http" }, null);
  const client = await connectHttp(new URL(`/mcp?space=${busy.slug}`, busy.server.url), key);
  const answer = client.callTool({ name: "start_agent_chat", arguments: { task: "holding", chatId: "held", message: "hold" } });
  const chat = await until("the chat is there", async () => (await busy.must("session.list", { task: "holding" })).sessions[0]);
  await until("half of it has come", async () => (await busy.events(chat.id)).some(({ kind }) => kind === "chunks"));
  const wrong = async () => (await busy.server.call("me_wrong", "whoami")).error?.data.code;
  await until("the address is held up", async () => (await wrong()) === "RATE_LIMITED");
  await busy.must("apiKey.delete", { id }, null);
  const { isError, _meta } = await answer;
  expect([isError, _meta?.["gatehouse/error"]]).toEqual([true, expect.objectContaining({ code: "UNAUTHENTICATED" })]);
  holding.gateOf(chat.id, 1).happen();
  await client.close();
  await busy.close();
});

test("a first message that is refused leaves a chat whose name is told", async () => {
  const { call } = await connect();
  const { isError, code, text } = await call("start_agent_chat", { task: "echo", message: "x".repeat(600_000) });
  expect({ isError, code }).toEqual({ isError: true, code: "INVALID_PARAMS" });
  const chatId = /The chat is (\S+)\./.exec(text)?.[1];
  expect(await call("send_agent_message", { chatId, message: "shorter" })).toMatchObject({ is: { text: "shorter", turn: 1 } });
});

test("a turn of a chat in which nothing was said is refused at once", async () => {
  const { call } = await connect();
  const { chatId } = await chatWith("echo");
  expect(await call("wait_agent_message", { chatId, turn: 1 })).toMatchObject({ isError: true, text: "This chat has no turn 1." });
});

test("a call that is cancelled while the server is away says nothing when it is back", async () => {
  let up = false;
  const tried: string[] = [];
  const reached: string[] = [];
  const { call } = await connect((method, pass) => {
    tried.push(method);
    if (!up) return away();
    reached.push(method);
    return pass();
  });
  const { chatId, session } = await chatWith("echo");
  const stop = new AbortController();
  const asked = call("send_agent_message", { chatId, message: "never mind" }, stop.signal);
  asked.catch(() => {});
  await until("it was tried", () => tried.includes("session.send"));
  stop.abort();
  await expect(asked).rejects.toThrow();
  up = true;
  await until("the server was reached again", () => reached.length > 0);
  expect(reached).toEqual(["session.get"]);
  expect(await said(session)).toBe(0);
});

test("a call that is cancelled when nobody heard that its message was kept stops its turn all the same", async () => {
  let sent = 0;
  const { call } = await connect(async (method, pass) => {
    const answer = await pass();
    if (method !== "session.send") return answer;
    sent++;
    return away();
  });
  const { chatId, session } = await chatWith("holding");
  const stop = new AbortController();
  const asked = call("send_agent_message", { chatId, message: "hold" }, stop.signal);
  asked.catch(() => {});
  await until("it was said", () => sent > 0);
  stop.abort();
  await expect(asked).rejects.toThrow();
  expect(await at.answered({ session, turn: 1 })).toMatchObject({ outcome: "stopped" });
  expect(await said(session)).toBe(1);
});

test("a chat that is over is so by its id as by its name; what is said names tools", async () => {
  const { call } = await connect();
  const { chatId, session } = await chatWith("echo");
  await at.must("session.close", { session });
  for (const named of [chatId, session])
    for (const more of [{}, { message: "more" }])
      expect(await call("start_agent_chat", { task: "echo", chatId: named, ...more })).toEqual({
        isError: true,
        code: "SESSION_CLOSED",
        text: "This chat is closed. Next: start_agent_chat without this chatId.",
        is: {},
      });
});

test("what there is not is told in words that a model can do something with", async () => {
  const { call } = await connect();
  expect(await call("send_agent_message", { chatId: "no-such-chat", message: "hello" })).toMatchObject({
    code: "NOT_FOUND",
    text: "There is no such session in this space. list_agent_chats shows those you may read.",
  });
  for (const name of ["check_access", "explain_access"])
    for (const method of ["whoami", "agent.create"])
      expect(await call(name, { method })).toMatchObject({
        code: "METHOD_NOT_FOUND",
        text: expect.stringMatching(/Ask about one of its own:.* session\.create,/),
      });
});
