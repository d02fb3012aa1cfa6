import { chatAgent } from "@gatehouse/agent";
import { createStartSession } from "@gatehouse/client";
import { createChatTransport } from "@gatehouse/client/chat";
import {
  isStepCount,
  isToolUIPart,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
  streamText,
  tool,
} from "ai";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { TestChat } from "./chat.ts";
import { startModel } from "./model.ts";
import { until } from "./run.ts";

let at: Workplace;
let model: Awaited<ReturnType<typeof startModel>>;
/** What a web server has. */
let startSession: ReturnType<typeof createStartSession>;
/** Cities that were erased, by the tool that asks before it does. */
const erased: string[] = [];

/** Runs on the page. */
const locate = tool({ description: "where the person is", inputSchema: z.object({ precise: z.boolean() }), outputSchema: z.any() });
/** Runs at the agent, once the person said yes. */
const erase = tool({
  description: "erases a city",
  inputSchema: z.object({ city: z.string() }),
  needsApproval: true,
  execute: async ({ city }) => {
    erased.push(city);
    return `${city} is gone`;
  },
});

beforeAll(async () => {
  model = await startModel();
  at = await makeWorkplace();
  const { key } = await at.must("apiKey.create", { name: "web" }, null);
  startSession = createStartSession({ server: at.server.url, credential: key, space: at.slug });
  await at.serve([
    chatAgent({
      id: "branches",
      run: ({ messages, signal }) =>
        streamText({
          model: model.provider(),
          messages,
          tools: { locate, erase },
          stopWhen: isStepCount(3),
          abortSignal: signal,
          maxRetries: 0,
          onError: () => {},
        }),
    }),
  ]);
});
afterAll(async () => {
  await at.close();
  model.close();
});

let answers = 0;
/** The model tells what it was told, and how often it answered before. */
beforeEach(() => {
  model.reply = ({ messages }) => ({
    deltas: [{ role: "assistant", content: `${++answers}: ${messages.map(({ content }) => content).join(" | ")}` }],
    end: "stop",
  });
  answers = 0;
});

/** The model calls a tool, and then tells what came of it. */
const callsTool = (name: string, input: object) => {
  model.reply = ({ messages }) => {
    const result = messages.findLast(({ role }) => role === "tool");
    if (result && messages.at(-1) === result) return { deltas: [{ role: "assistant", content: `Told: ${result.content}` }], end: "stop" };
    const call = { index: 0, id: `call_${messages.length}`, type: "function", function: { name, arguments: JSON.stringify(input) } };
    return { deltas: [{ role: "assistant", content: "Let me see. ", tool_calls: [call] }], end: "tool_calls" };
  };
};

/** Starts a session, as a browser gets it. @returns what its tabs need */
async function begin(sendAutomaticallyWhen?: ConstructorParameters<typeof TestChat>[2]) {
  const { session, token } = await startSession({ task: "branches" });
  const transport = () => createChatTransport({ server: at.server.url, session, credential: token });
  const load = async () => {
    const made = transport();
    return new TestChat(made, await made.messages(), sendAutomaticallyWhen);
  };
  const inputs = async () => (await at.events(session)).filter(({ kind }) => kind === "message" || kind === "results");
  return { session, token, chat: new TestChat(transport(), [], sendAutomaticallyWhen), load, inputs };
}

const toolOf = (chat: TestChat) => chat.messages.at(-1)?.parts.findLast(isToolUIPart);
const asked = () => model.asked.at(-1)?.messages.map(({ role, content }) => `${role}: ${content ?? ""}`);
const settled = (chat: TestChat, state: string) =>
  until(
    () => `the tool is ${state}; it is ${toolOf(chat)?.state}, the chat ${chat.status}, and met ${chat.errors}`,
    () => toolOf(chat)?.state === state && chat.status === "ready",
  );

test("a message that is edited goes on from there: the page, a page that is loaded later and the model know the new branch alone", async () => {
  const { chat, load, inputs, session } = await begin();
  for (const text of ["one", "two", "three"]) await chat.sendMessage({ text });
  const second = chat.messages[2]?.id as string;
  await chat.sendMessage({ text: "deux", messageId: second });
  expect(chat.errors).toEqual([]);
  expect(asked()).toEqual(["user: one", "assistant: 1: one", "user: deux"]);
  const shown = ["user: one", "assistant: 1: one", "user: deux", "assistant: 4: one | 1: one | deux"];
  expect(chat.shown()).toEqual(shown);
  const again = await load();
  expect(again.messages).toEqual(chat.messages);
  // What comes next goes on with that, from any page.
  await again.sendMessage({ text: "trois" });
  expect(asked()).toEqual(["user: one", "assistant: 1: one", "user: deux", "assistant: 4: one | 1: one | deux", "user: trois"]);
  // And an edited message can be edited again, as can the first of all.
  await again.sendMessage({ text: "dos", messageId: second });
  expect(asked()).toEqual(["user: one", "assistant: 1: one", "user: dos"]);
  await again.sendMessage({ text: "uno", messageId: again.messages[0]?.id as string });
  expect(asked()).toEqual(["user: uno"]);
  expect((await load()).messages).toEqual(again.messages);
  // The log keeps all that was said.
  const log = await inputs();
  expect(log.map(({ data }) => (data as { parts: { text: string }[] }).parts[0]?.text)).toEqual([
    "one",
    "two",
    "three",
    "deux",
    "trois",
    "dos",
    "uno",
  ]);
  expect(log.map(({ data }) => (data as { follows?: number }).follows)).toEqual([undefined, undefined, undefined, 1, undefined, 1, 0]);
  expect((await at.must("session.get", { session })).lastSeq).toBeGreaterThan(20);
});

test("the answer to any message is asked for anew, and takes the place of what was said from there on", async () => {
  const { chat, load } = await begin();
  for (const text of ["one", "two"]) await chat.sendMessage({ text });
  await chat.regenerate();
  expect(chat.shown()).toEqual(["user: one", "assistant: 1: one", "user: two", "assistant: 3: one | 1: one | two"]);
  expect((await load()).messages).toEqual(chat.messages);
  await chat.regenerate({ messageId: chat.messages[1]?.id as string });
  expect(chat.shown()).toEqual(["user: one", "assistant: 4: one"]);
  expect(asked()).toEqual(["user: one"]);
  expect((await load()).messages).toEqual(chat.messages);
});

test("a tool of the page: what came of it goes to the model, which goes on in the same message, also once the page was loaded again", async () => {
  callsTool("locate", { precise: true });
  const { chat, load, inputs } = await begin({ sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls });
  await chat.sendMessage({ text: "where am I?" });
  const { toolCallId } = toolOf(chat) as { toolCallId: string };
  expect(toolOf(chat)).toMatchObject({ state: "input-available", input: { precise: true } });

  const later = await load();
  expect(later.messages).toEqual(chat.messages);
  await later.addToolOutput({ tool: "locate" as never, toolCallId, output: "in Rome" as never });
  await settled(later, "output-available");
  expect(later.errors).toEqual([]);
  expect(later.shown()).toEqual(["user: where am I?", "assistant: Let me see. Told: in Rome"]);
  expect(asked()).toEqual(["user: where am I?", "assistant: Let me see. ", "tool: in Rome"]);
  expect((await load()).messages).toEqual(later.messages);
  expect((await inputs()).map(({ kind }) => kind)).toEqual(["message", "results"]);

  // The first tab answers what is answered already: that changes nothing.
  await chat.addToolOutput({ tool: "locate" as never, toolCallId, output: "in Paris" as never });
  await until("it is refused", () => chat.errors.length > 0);
  expect(chat.errors[0]?.message).toMatch(/waits for no result/);
  expect((await load()).messages).toEqual(later.messages);
  await later.sendMessage({ text: "thanks" });
  expect(asked()?.slice(0, 5)).toEqual([
    "user: where am I?",
    "assistant: Let me see. ",
    "tool: in Rome",
    "assistant: Told: in Rome",
    "user: thanks",
  ]);
});

test("a tool of the page that failed tells the model so", async () => {
  callsTool("locate", { precise: false });
  const { chat, load } = await begin({ sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls });
  await chat.sendMessage({ text: "where am I?" });
  const { toolCallId } = toolOf(chat) as { toolCallId: string };
  await chat.addToolOutput({ tool: "locate" as never, toolCallId, state: "output-error", errorText: "no permission" });
  await settled(chat, "output-error");
  expect(chat.shown().at(-1)).toBe("assistant: Let me see. Told: no permission");
  expect((await load()).messages).toEqual(chat.messages);
});

test.each([
  [true, ["Rome"], "output-available", "Told: Rome is gone"],
  [false, [], "output-denied", "Told:"],
] as const)("a tool that asks first, and is told %s", async (approved, gone, state, told) => {
  erased.length = 0;
  callsTool("erase", { city: "Rome" });
  const { chat, load } = await begin({ sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses });
  await chat.sendMessage({ text: "erase it" });
  const part = toolOf(chat) as { state: string; approval: { id: string } };
  expect(part).toMatchObject({ state: "approval-requested" });
  expect(erased).toEqual([]);
  expect((await load()).messages).toEqual(chat.messages);
  await chat.addToolApprovalResponse({ id: part.approval.id, approved, reason: "I say so" });
  await settled(chat, state);
  expect(chat.errors).toEqual([]);
  expect(erased).toEqual(gone);
  expect(chat.shown().at(-1)).toContain(`Let me see. ${told}`);
  expect((await load()).messages).toEqual(chat.messages);
});

test("a page that is loaded while the agent goes on shows all of the message, and the rest as it comes", async () => {
  let go = () => {};
  const waiting = new Promise<void>((resolve) => {
    go = resolve;
  });
  callsTool("locate", { precise: true });
  const calls = model.reply;
  model.reply = (request) => {
    if (request.messages.at(-1)?.role !== "tool") return calls(request);
    const deltas = async function* () {
      yield { role: "assistant", content: "Half " };
      await waiting;
      yield { content: "whole" };
    };
    return { deltas: deltas(), end: "stop" };
  };
  const { chat, load } = await begin({ sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls });
  await chat.sendMessage({ text: "where am I?" });
  const { toolCallId } = toolOf(chat) as { toolCallId: string };
  await chat.addToolOutput({ tool: "locate" as never, toolCallId, output: "in Rome" as never });
  await until(
    () => `half is said; ${chat.shown()}`,
    () => chat.shown().at(-1) === "assistant: Let me see. Half ",
  );
  const later = await load();
  expect(later.shown().at(-1)).toBe("assistant: Let me see. Half ");
  const resumed = later.resumeStream();
  await until(
    () => `it goes on; ${later.status}`,
    () => later.status === "streaming",
  );
  go();
  await resumed;
  expect(later.shown()).toEqual(["user: where am I?", "assistant: Let me see. Half whole"]);
  await until("the first has all, too", () => chat.status === "ready");
  expect(later.messages).toEqual(chat.messages);
});

test("results that nobody waits for, and a turn that is not there, are refused", async () => {
  const { session, token, chat } = await begin();
  await chat.sendMessage({ text: "one" });
  const send = (params: object) => at.server.call(token, "session.send", { session, ...params }, at.slug);
  const result = { type: "tool-output-available", toolCallId: "call_9", output: 1 };
  const { result: sent } = await send({ results: [result] });
  expect(await at.answered({ session, turn: sent.turn })).toMatchObject({
    outcome: "errored",
    error: "No tool waits for these results any more.",
  });
  for (const [params, message] of [
    [{ message: "x", follows: 9 }, /follows must be a turn of this session/],
    [{ message: "x", follows: -1 }, /follows/],
    [{ action: { name: "x" }, follows: 0 }, /an action follows/],
    [{ message: "x", results: [result] }, /results/],
    [{ results: [{ ...result, toolName: "more" }] }, /results/],
    [{}, /say a message/],
  ] as const) {
    const { error } = await send(params);
    expect([error?.data.code, error?.message], JSON.stringify(params)).toEqual(["INVALID_PARAMS", expect.stringMatching(message)]);
  }
  // A message can't say by itself what it follows.
  const forged = await send({ message: { role: "user", parts: [{ type: "text", text: "two" }], follows: 0 } });
  await at.answered({ session, turn: forged.result.turn });
  expect(asked()?.at(0)).toBe("user: one");
});
