import { chatAgent } from "@gatehouse/agent";
import { echo } from "@gatehouse/agent/echo";
import { createGatehouseMcp } from "@gatehouse/mcp";
import { Client, InMemoryTransport } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeHolding } from "./agent-holding.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { startFlaky } from "./flaky.ts";
import { connectMcp, homeWithKey, revisions } from "./mcp.ts";
import { type Home, until } from "./run.ts";

let at: Workplace;
let home: Home;
const { agent: holding, gateOf } = makeHolding();
const silent = chatAgent({
  id: "silent",
  async *run({ session, turn, signal }) {
    await Promise.race([gateOf(session.id, turn).happened, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
    yield { type: "text-start", id: "1" };
    yield { type: "text-delta", id: "1", delta: "at last" };
    yield { type: "text-end", id: "1" };
  },
});
const failing = chatAgent({
  id: "failing",
  run: () => {
    throw new Error("no");
  },
  onError: () => "the model is out",
});

beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([echo, holding, silent, failing]);
  home = await homeWithKey(at);
});
afterAll(() => at.close());

describe.each(Object.keys(revisions) as (keyof typeof revisions)[])("revision %s", (revision) => {
  test("start, two messages, close: one run answers both, and whoever names the chat again finds it there", async () => {
    const mcp = await connectMcp(home.env, [], { revision });
    const { chatId, existing } = await mcp.call("start_agent_chat", { task: "echo" });
    expect(existing).toBe(false);
    const pong = await mcp.call("send_agent_message", { chatId, message: "pong" });
    const again = await mcp.call("send_agent_message", { chatId, message: "echo" });
    expect([pong, again]).toMatchObject([
      { text: "pong", status: "complete", turn: 1 },
      { text: "echo", status: "complete", turn: 2 },
    ]);
    expect(again.run).toEqual(pong.run);
    expect(await mcp.call("start_agent_chat", { task: "echo", chatId })).toEqual({ chatId, existing: true, run: pong.run });
    expect(await mcp.call("close_agent_chat", { chatId })).toEqual({ chatId, status: "closed", run: pong.run });
    await expect(mcp.call("send_agent_message", { chatId, message: "more" })).rejects.toThrow(/closed[\s\S]*start_agent_chat/);
    const { chats } = await mcp.call("list_agent_chats", { task: "echo", status: "closed" });
    expect(chats).toContainEqual(expect.objectContaining({ chatId, task: "echo", status: "closed" }));
  });

  test("progress shows the answer as it grows, and cancelling stops that turn, and no other", async () => {
    const mcp = await connectMcp(home.env, [], { revision });
    const { chatId } = await mcp.call("start_agent_chat", { task: "holding", message: "go" });
    const { id: session } = await at.must("session.get", { session: chatId });
    const said: string[] = [];
    const stop = new AbortController();
    const held = mcp.call(
      "send_agent_message",
      { chatId, message: "hold" },
      { onprogress: ({ message }) => said.push(message ?? ""), signal: stop.signal },
    );
    held.catch(() => {});
    await until("the first half has come", () => said.includes("half"));
    const queued = await at.say(session, "hold");
    stop.abort("the person pressed a key");
    await expect(held).rejects.toThrow();
    expect(await at.answered({ session, turn: 2 })).toMatchObject({ outcome: "stopped" });
    gateOf(session, queued.turn).happen();
    expect(await at.answered(queued)).toMatchObject({ outcome: "complete", text: "half, whole" });
  });

  test("a turn that is cancelled while it waits for its turn is stopped when it begins", async () => {
    const mcp = await connectMcp(home.env, [], { revision });
    const { chatId } = await mcp.call("start_agent_chat", { task: "holding", message: "go" });
    const { id: session } = await at.must("session.get", { session: chatId });
    const first = await at.say(session, "hold");
    const stop = new AbortController();
    const held = mcp.call("send_agent_message", { chatId, message: "hold" }, { signal: stop.signal });
    held.catch(() => {});
    await until("it is kept", async () => (await at.events(session)).some(({ kind, turn }) => kind === "message" && turn === 3));
    stop.abort();
    gateOf(session, first.turn).happen();
    expect(await at.answered(first)).toMatchObject({ outcome: "complete" });
    expect(await at.answered({ session, turn: 3 })).toMatchObject({ outcome: "stopped" });
  });
});

test("an answer is that to its own message, never the end of an earlier one", async () => {
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "holding", message: "go" });
  const { id: session } = await at.must("session.get", { session: chatId });
  const first = await at.say(session, "hold");
  await until("it has begun", async () => (await at.events(session)).some(({ kind, turn }) => kind === "chunks" && turn === first.turn));
  const second = mcp.call("send_agent_message", { chatId, message: "go" });
  await until("it is kept", async () => (await at.events(session)).some(({ kind, turn }) => kind === "message" && turn === 3));
  gateOf(session, first.turn).happen();
  expect(await second).toMatchObject({ turn: 3, status: "complete", text: "half, whole" });
});

test("a silent agent is reported as still running, and its answer can be waited for", async () => {
  const mcp = await connectMcp(home.env, ["--wait", "1s"]);
  const started = await mcp.call("start_agent_chat", { task: "silent", chatId: "a-silent-one", message: "hello" });
  expect(started).toMatchObject({ chatId: "a-silent-one", status: "running", text: "", turn: 1, run: { id: expect.any(String) } });
  const { chatId, turn } = started;
  expect(started.next).toBe('wait_agent_message {"chatId":"a-silent-one","turn":1}');
  expect(await mcp.call("wait_agent_message", { chatId, turn })).toMatchObject({ status: "running", text: "", next: started.next });
  await expect(mcp.call("wait_agent_message", { chatId, turn: 2 })).rejects.toThrow("This chat has no turn 2.");
  const { id } = await at.must("session.get", { session: chatId });
  const waiting = mcp.call("wait_agent_message", { chatId, turn });
  gateOf(id, turn).happen();
  expect(await waiting).toMatchObject({ status: "complete", text: "at last" });
  expect(await mcp.call("wait_agent_message", { chatId, turn })).toMatchObject({ status: "complete", text: "at last" });
});

test("an agent that fails is an error with its reason; one that is stopped, too", async () => {
  const mcp = await connectMcp(home.env);
  await expect(mcp.call("start_agent_chat", { task: "failing", message: "go" })).rejects.toThrow(
    /The agent failed to answer turn 1\.\nThe chat is mcp-[\w-]+\.\nData follows.*\nIt said why: the model is out\nend of data/,
  );
  const { chatId } = await mcp.call("start_agent_chat", { task: "holding", message: "go" });
  const { id: session } = await at.must("session.get", { session: chatId });
  const held = mcp.call("send_agent_message", { chatId, message: "hold" });
  held.catch(() => {});
  await until("it has begun", async () => (await at.events(session)).some(({ kind, turn }) => kind === "turn-start" && turn === 2));
  expect(await mcp.call("stop_agent_message", { chatId })).toEqual({ chatId, turn: 2 });
  await expect(held).rejects.toThrow("Turn 2 was stopped before it was answered.");
});

test("a client that has gone stops nothing: another one finds the answer", async () => {
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "holding", message: "go" });
  const { id: session } = await at.must("session.get", { session: chatId });
  mcp.call("send_agent_message", { chatId, message: "hold" }).catch(() => {});
  await until("it has begun", async () => (await at.events(session)).some(({ kind, turn }) => kind === "turn-start" && turn === 2));
  await mcp.close();
  const other = await connectMcp(home.env);
  const waiting = other.call("wait_agent_message", { chatId, turn: 2 });
  gateOf(session, 2).happen();
  expect(await waiting).toMatchObject({ status: "complete", text: "half, whole" });
});

test("where hanging up is the one way to cancel, it stops the turn", async () => {
  const [near, far] = InMemoryTransport.createLinkedPair();
  const credential = home.env.ME_API_KEY as string;
  await createGatehouseMcp({ target: { server: at.server.url, credential, space: at.slug }, hangUpCancels: true }).connect(far);
  const client = new Client({ name: "tests", version: "1" });
  await client.connect(near);
  const talk = await at.start("holding", "go", { externalId: "hung-up" });
  client.callTool({ name: "send_agent_message", arguments: { chatId: "hung-up", message: "hold" } }).catch(() => {});
  await until("it has begun", async () => (await at.events(talk.session)).some(({ kind, turn }) => kind === "turn-start" && turn === 2));
  await client.close();
  expect(await at.answered({ session: talk.session, turn: 2 })).toMatchObject({ outcome: "stopped" });
});

test("the same message by the same name counts once; what a tool does not take is said", async () => {
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "echo" });
  const one = await mcp.call("send_agent_message", { chatId, message: "once", inputId: "one" });
  expect(await mcp.call("send_agent_message", { chatId, message: "once", inputId: "one" })).toEqual(one);
  await expect(mcp.call("send_agent_message", { chatId, message: "x", colour: "red" })).rejects.toThrow(/colour/);
  await expect(
    mcp.call("start_agent_chat", { task: "holding", chatId: (await at.must("session.get", { session: chatId })).id }),
  ).rejects.toThrow("That is a conversation with echo.");
});

test.each([
  ["a line that breaks", undefined],
  ["the page of a proxy, 502", 502],
  ["the page of a proxy, 504", 504],
])("answers that are lost to %s double nothing, and lose nothing", async (_what, status) => {
  const flaky = await startFlaky(at.server.url, ["session.create", "session.send", "session.close"], status);
  const mcp = await connectMcp({ ...home.env, ME_SERVER: flaky.url });
  const { chatId } = await mcp.call("start_agent_chat", { task: "echo" });
  for (const message of ["one", "two", "three"])
    expect(await mcp.call("send_agent_message", { chatId, message })).toMatchObject({ status: "complete", text: message });
  expect(await mcp.call("close_agent_chat", { chatId })).toMatchObject({ status: "closed" });
  for (const method of ["session.create", "session.send", "session.close"]) expect(flaky.lost.get(method)).toBeGreaterThan(0);
  const { id } = await at.must("session.get", { session: chatId });
  expect((await at.events(id)).filter(({ kind }) => kind === "message").length).toBe(3);
  flaky.close();
});
