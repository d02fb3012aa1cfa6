import { chatAgent } from "@gatehouse/agent";
import { createStartSession, type Target } from "@gatehouse/client";
import { createChatTransport, messagesOf } from "@gatehouse/client/chat";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { TestChat } from "./chat.ts";
import { startCutter } from "./cutter.ts";
import { moment } from "./moment.ts";
import { until } from "./run.ts";
import { textOf } from "./said.ts";

let at: Workplace;
/** What a web server has. */
let startSession: ReturnType<typeof createStartSession>;
/** Lets an agent go on that was told to wait, by the word it was told. */
const gates = new Map<string, { happened: Promise<void>; happen: () => void }>();
const gate = (word: string) => {
  const made = gates.get(word) ?? moment<void>();
  gates.set(word, made);
  return made;
};

/** Says the words of a message back; `wait:NAME` waits, `fail` fails, `die:NAME` is lost at the first attempt. */
const parrot = chatAgent({
  id: "parrot",
  onError: (error) => `Sorry: ${(error as Error).message}`,
  async *run({ uiMessages, attempt, signal }) {
    yield { type: "start" };
    yield { type: "text-start", id: "1" };
    if (attempt > 1) yield { type: "text-delta", id: "1", delta: "Again: " };
    for (const word of textOf(uiMessages.at(-1)).split(" ")) {
      yield { type: "text-delta", id: "1", delta: `${word} ` };
      if (word === "fail") throw new Error("it failed");
      if (word.startsWith("wait:") && attempt === 1)
        await Promise.race([gate(word).happened, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
    }
    yield { type: "text-end", id: "1" };
    yield { type: "finish" };
  },
});

beforeAll(async () => {
  at = await makeWorkplace();
  const { key } = await at.must("apiKey.create", { name: "web" }, null);
  startSession = createStartSession({ server: at.server.url, credential: key, space: at.slug });
  await at.serve([parrot]);
});
afterAll(() => at.close());

/** Starts a session, as a browser gets it. @returns what its tabs need */
async function begin(more: Partial<Target> = {}, task = "parrot") {
  const { session, token } = await startSession({ task });
  const transport = () => createChatTransport({ server: at.server.url, session, credential: token, ...more });
  const reload = async () => {
    const made = transport();
    return new TestChat(made, await made.messages());
  };
  const log = () => at.events(session);
  return { session, transport, chat: new TestChat(transport()), reload, log };
}

const says = (chat: TestChat, text: string) =>
  until(
    () => `it says ${text}; it says ${chat.shown()}, is ${chat.status}, and met ${chat.errors}`,
    () => chat.shown().at(-1) === text,
  );

test("what is sent is answered, in the same words that a page shows when it is loaded again", async () => {
  const { chat, reload, session } = await begin();
  await chat.sendMessage({ text: "hello there" });
  await chat.sendMessage({ text: "and 🌍" });
  expect(chat.shown()).toEqual(["user: hello there", "assistant: hello there ", "user: and 🌍", "assistant: and 🌍 "]);
  expect([chat.status, chat.errors]).toEqual(["ready", []]);
  const again = await reload();
  expect(again.messages).toEqual(chat.messages);
  expect(await messagesOf(await at.events(session))).toEqual(chat.messages);
  await again.resumeStream();
  expect([again.status, again.messages]).toEqual(["ready", chat.messages]);
});

test("an answer comes as it is said; a page that is loaded again goes on with it, and so does a second tab", async () => {
  const { chat, reload, transport } = await begin();
  const sent = chat.sendMessage({ text: "one wait:reload two" });
  await says(chat, "assistant: one wait:reload ");
  const asked = transport();
  for (const messages of await Promise.all([asked.messages(), asked.messages()])) expect(messages).toEqual(chat.messages);
  expect(chat.status).toBe("streaming");
  const tabs = await Promise.all([reload(), reload()]);
  expect(tabs[0]?.shown()).toEqual(["user: one wait:reload two", "assistant: one wait:reload "]);
  // As React does it in its strict mode: begun, stopped, and begun again.
  tabs[0]?.resumeStream();
  tabs[0]?.stop();
  const resumed = [tabs[0]?.resumeStream(), tabs[1]?.resumeStream()];
  for (const tab of tabs) await until("it goes on", () => tab.status === "streaming");
  // Resumed while it is resumed: no stop either.
  resumed.push(tabs[1]?.resumeStream());
  gate("wait:reload").happen();
  await Promise.all([sent, ...resumed]);
  for (const each of [chat, ...tabs])
    expect([each.shown(), each.status, each.errors]).toEqual([
      ["user: one wait:reload two", "assistant: one wait:reload two "],
      "ready",
      [],
    ]);
});

test("an answer that is over by the time it is resumed is told whole; what waits behind it follows", async () => {
  const { chat, transport, reload } = await begin();
  const sent = chat.sendMessage({ text: "one wait:over two" });
  await says(chat, "assistant: one wait:over ");
  const other = new TestChat(transport());
  const queued = other.sendMessage({ text: "three" });
  const tab = await until("both are there", async () => {
    const loaded = await reload();
    return loaded.messages.length === 3 ? loaded : undefined;
  });
  gate("wait:over").happen();
  await Promise.all([sent, queued]);
  await tab.resumeStream();
  expect(tab.shown()).toEqual(["user: one wait:over two", "assistant: one wait:over two ", "user: three", "assistant: three "]);
  expect(other.shown()).toEqual(["user: three", "assistant: three "]);
  // Told once, it is not told again.
  await tab.resumeStream();
  expect(tab.messages).toHaveLength(4);
});

test("stop stops the turn, and what was said stays; another tab is told that it ended", async () => {
  const { chat, reload, log } = await begin();
  const sent = chat.sendMessage({ text: "one wait:never two" });
  await says(chat, "assistant: one wait:never ");
  const tab = await reload();
  const resumed = tab.resumeStream();
  await chat.stop();
  await Promise.all([sent, resumed]);
  await until("it is stopped", async () => (await log()).some(({ kind }) => kind === "turn-end"));
  expect((await log()).findLast(({ kind }) => kind === "turn-end")?.data).toEqual({ outcome: "stopped" });
  for (const each of [chat, tab, await reload()])
    expect([each.shown(), each.status, each.errors]).toEqual([["user: one wait:never two", "assistant: one wait:never "], "ready", []]);
  // A resumed answer can be stopped too.
  const second = chat.sendMessage({ text: "wait:never" });
  await says(chat, "assistant: wait:never ");
  const third = await reload();
  third.resumeStream();
  await until("it goes on", () => third.status === "streaming");
  await third.stop();
  await second;
  expect(chat.status).toBe("ready");
});

test("stop reaches a turn that still waits for its time, and no other", async () => {
  const { chat, transport, log } = await begin();
  const first = chat.sendMessage({ text: "one wait:first two" });
  await says(chat, "assistant: one wait:first ");
  const other = new TestChat(transport());
  const second = other.sendMessage({ text: "wait:second" });
  await until("it waits", async () => (await log()).filter(({ kind }) => kind === "message").length === 2);
  await other.stop();
  const ends = async () => (await log()).filter(({ kind }) => kind === "turn-end");
  await until("it is over, before its time", async () => (await ends()).length === 1);
  gate("wait:first").happen();
  await Promise.all([first, second]);
  expect(chat.shown().at(-1)).toBe("assistant: one wait:first two ");
  await until("both are over", async () => (await ends()).length === 2);
  expect((await ends()).map(({ turn, data }) => [turn, data])).toEqual([
    [2, { outcome: "stopped" }],
    [1, { outcome: "complete" }],
  ]);
});

test("two tabs that send at once have each its own answer, and both show all when they are loaded again", async () => {
  const { chat, transport, reload } = await begin();
  const other = new TestChat(transport());
  await Promise.all([chat.sendMessage({ text: "mine" }), other.sendMessage({ text: "yours" })]);
  expect(chat.shown()).toEqual(["user: mine", "assistant: mine "]);
  expect(other.shown()).toEqual(["user: yours", "assistant: yours "]);
  expect((await reload()).shown().sort()).toEqual(["assistant: mine ", "assistant: yours ", "user: mine", "user: yours"]);
});

test("what goes wrong is the chat's error, in the words for people; asked once more, it is answered anew", async () => {
  const { chat, reload, log } = await begin();
  await chat.sendMessage({ text: "please fail now" });
  expect([chat.status, chat.error?.message]).toEqual(["error", "Sorry: it failed"]);
  expect((await reload()).shown()).toEqual(["user: please fail now", "assistant: please fail "]);
  await chat.regenerate();
  await chat.regenerate();
  expect(chat.error?.message).toBe("Sorry: it failed");
  expect((await log()).filter(({ kind }) => kind === "message")).toHaveLength(3);
});

test("a message whose acknowledgement was lost counts once, and its answer is told", async () => {
  let lose = 5;
  const flaky: typeof fetch = Object.assign(async (input: string | URL | Request, init?: RequestInit) => {
    const answer = await fetch(input, init);
    if (!String(init?.body).includes("session.send") || lose-- <= 0) return answer;
    throw new TypeError("the line broke");
  }, fetch);
  const { chat, log } = await begin({ fetch: flaky });
  await chat.sendMessage({ text: "once" });
  expect([chat.status, chat.error?.message]).toMatchObject(["error", expect.stringContaining("does not answer")]);
  await chat.regenerate();
  expect([chat.shown(), chat.status]).toEqual([["user: once", "assistant: once "], "ready"]);
  expect((await log()).filter(({ kind }) => kind === "message")).toHaveLength(1);
});

test("lines that break in the middle of an answer are no matter", async () => {
  const line = await startCutter(at.server.url);
  onTestFinished(() => line.close());
  const { chat } = await begin({ server: line.url });
  const sent = chat.sendMessage({ text: "one wait:cut two" });
  await says(chat, "assistant: one wait:cut ");
  line.cut();
  gate("wait:cut").happen();
  await sent;
  expect([chat.shown(), chat.errors]).toEqual([["user: one wait:cut two", "assistant: one wait:cut two "], []]);
});

test("a worker that is lost: what it said gives way to what the next one says, in the same message", async () => {
  const leaver = chatAgent({ ...parrot, id: "leaver" });
  const serving = await at.serve([leaver]);
  const { chat, reload } = await begin({}, "leaver");
  const sent = chat.sendMessage({ text: "one wait:lost two" });
  await says(chat, "assistant: one wait:lost ");
  const tab = await reload();
  const resumed = tab.resumeStream();
  await until("it goes on", () => tab.status === "streaming");
  await serving.stop({ graceSeconds: 0 });
  await at.serve([leaver]);
  await Promise.all([sent, resumed]);
  for (const each of [chat, tab, await reload()])
    expect([each.shown(), each.status]).toEqual([["user: one wait:lost two", "assistant: Again: one wait:lost two "], "ready"]);
  expect(tab.messages).toEqual(chat.messages);
});

test("a token that has ended is asked for once more", async () => {
  const begun = await startSession({ task: "parrot", externalId: "support-7" });
  const refused: (string | undefined)[] = [];
  let token = "me_token_that_ended";
  const transport = createChatTransport({
    server: at.server.url,
    session: begun.session,
    credential: async (no) => {
      refused.push(no);
      if (no !== undefined) token = (await startSession({ task: "parrot", externalId: "support-7" })).token;
      return token;
    },
  });
  const chat = new TestChat(transport);
  await chat.sendMessage({ text: "hi" });
  expect(chat.shown()).toEqual(["user: hi", "assistant: hi "]);
  expect(refused.filter((no) => no !== undefined)).toEqual(["me_token_that_ended"]);
  expect(begun.session).toBe((await at.must("session.get", { session: "support-7" })).id);
});

test("a session that is closed takes no more, and a token of one session opens no other", async () => {
  const { chat, session } = await begin();
  const other = await begin();
  const sent = chat.sendMessage({ text: "wait:closed" });
  await says(chat, "assistant: wait:closed ");
  await at.must("session.close", { session });
  await sent;
  expect([chat.status, chat.errors]).toEqual(["ready", []]);
  await chat.sendMessage({ text: "still there?" });
  expect(chat.error).toMatchObject({ name: "GatehouseError", code: "SESSION_CLOSED" });
  const { token } = await startSession({ task: "parrot" });
  await expect(createChatTransport({ server: at.server.url, session: other.session, credential: token }).messages()).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
});
