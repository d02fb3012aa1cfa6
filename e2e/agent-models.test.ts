import { chatAgent } from "@gatehouse/agent";
import { isStepCount, streamText, tool } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { chunksOf, makeWorkplace, type Workplace } from "./agents.ts";
import { startModel } from "./model.ts";
import { moment } from "./moment.ts";
import { until } from "./run.ts";

let at: Workplace;
let model: Awaited<ReturnType<typeof startModel>>;

const weather = tool({
  description: "the weather",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, celsius: 21 }),
});

beforeAll(async () => {
  model = await startModel();
  at = await makeWorkplace();
  const support = chatAgent({
    id: "support",
    run: ({ messages, signal }) =>
      streamText({
        model: model.provider(),
        messages,
        tools: { weather },
        stopWhen: isStepCount(3),
        abortSignal: signal,
        maxRetries: 0,
        onError: () => {},
      }),
  });
  await at.serve([support]);
});
afterAll(async () => {
  await at.close();
  model.close();
});

test("streamText: the model's text, with what was said before", async () => {
  model.reply = ({ messages }) => ({
    deltas: [{ role: "assistant", content: "You said " }, { content: `${messages.length} things.` }],
    end: "stop",
  });
  const first = await at.start("support", "hello");
  expect(await at.answered(first)).toEqual({ outcome: "complete", run: first.run, text: "You said 1 things." });
  expect((await at.answered(await at.say(first.session, "and now?"))).text).toBe("You said 3 things.");
  expect(model.asked.at(-1)?.messages).toMatchObject([
    { role: "user", content: "hello" },
    { role: "assistant", content: "You said 1 things." },
    { role: "user", content: "and now?" },
  ]);
  const chunks = chunksOf(await at.events(first.session), 2);
  expect(chunks[0]).toMatchObject({ type: "start", messageId: "answer-2" });
  expect(chunks.at(-1)).toMatchObject({ type: "finish", finishReason: "stop" });
});

test("streamText: a tool is called, its result goes to the model, and stays in what was said", async () => {
  model.reply = ({ messages }) => {
    const result = messages.find(({ role }) => role === "tool");
    if (result) return { deltas: [{ role: "assistant", content: `It is ${result.content}` }], end: "stop" };
    const call = { index: 0, id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":' } };
    return {
      deltas: [{ role: "assistant", tool_calls: [call] }, { tool_calls: [{ index: 0, function: { arguments: '"Rome"}' } }] }],
      end: "tool_calls",
    };
  };
  const talk = await at.start("support", "weather?");
  expect((await at.answered(talk)).text).toBe('It is {"city":"Rome","celsius":21}');
  expect(chunksOf(await at.events(talk.session), 1)).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ type: "tool-input-available", toolName: "weather", input: { city: "Rome" } }),
      expect.objectContaining({ type: "tool-output-available", output: { city: "Rome", celsius: 21 } }),
    ]),
  );
  await at.answered(await at.say(talk.session, "thanks"));
  expect(model.asked.at(-1)?.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant", "user"]);
});

test("streamText: a stop ends the model's call", async () => {
  model.gone = moment();
  model.reply = () => ({ deltas: [{ role: "assistant", content: "Let me think" }] });
  const talk = await at.start("support", "hm?");
  await until("it has begun", async () => chunksOf(await at.events(talk.session), 1).some(({ type }) => type === "text-delta"));
  await at.must("session.stop", { session: talk.session });
  await model.gone.happened;
  expect(await at.answered(talk)).toEqual({ outcome: "stopped", run: talk.run, text: "Let me think" });
});

test("streamText: what the model's API complains of is logged, and not told", async () => {
  model.reply = () => ({ status: 401 });
  const talk = await at.start("support", "hello");
  expect(await at.answered(talk)).toMatchObject({ outcome: "errored", error: "The agent failed to answer." });
  expect(at.logged.join("\n")).toContain("sk-123 is wrong");
  expect(JSON.stringify(await at.events(talk.session))).not.toContain("sk-123");
});
