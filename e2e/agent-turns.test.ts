import { chatAgent } from "@gatehouse/agent";
import { echo } from "@gatehouse/agent/echo";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { chunksOf, makeWorkplace, type Workplace } from "./agents.ts";
import { moment } from "./moment.ts";

let at: Workplace;
beforeAll(async () => {
  at = await makeWorkplace();
});
afterAll(() => at.close());

test("echo answers two messages in one run, with the chunks of the AI SDK", async () => {
  await at.serve([echo]);
  const first = await at.start("echo", "Hello there,  world 🌍!");
  expect(await at.answered(first)).toEqual({ outcome: "complete", run: first.run, text: "Hello there,  world 🌍!" });
  const second = await at.say(first.session, "again");
  expect(second.run).toBe(first.run);
  expect(await at.answered(second)).toEqual({ outcome: "complete", run: first.run, text: "again" });
  expect(chunksOf(await at.events(first.session), 2)).toEqual([
    { type: "start", messageId: "answer-2" },
    { type: "text-start", id: "text" },
    { type: "text-delta", id: "text", delta: "again" },
    { type: "text-end", id: "text" },
    { type: "finish" },
  ]);
  expect((await at.must("task.get", { task: "echo" })).online).toBe(true);
});

test("after the idle window a new run goes on, and knows what was said", async () => {
  const counts = chatAgent({
    id: "counts",
    idleTimeoutSeconds: 0,
    run: ({ messages, uiMessages }) => `${messages.map(({ role }) => role).join(" ")}: ${uiMessages.length}`,
  });
  await at.serve([counts]);
  const first = await at.start("counts", "one");
  expect((await at.answered(first)).text).toBe("user: 1");
  const second = await at.say(first.session, "two");
  expect((await at.answered(second)).text).toBe("user assistant user: 3");
  const third = await at.say(first.session, "three");
  expect((await at.answered(third)).text).toBe("user assistant user assistant user: 5");
  const runs = (await at.must("run.list", { session: first.session })).runs as { number: number; endReason: string }[];
  expect(runs.length).toBeGreaterThan(1);
  expect(runs[0]?.endReason).toBe("idle");
});

test("messages that come during a turn wait for theirs, and are answered in their order", async () => {
  const open = moment();
  const slow = chatAgent({
    id: "slow",
    async run({ turn, messages }) {
      if (turn === 1) await open.happened;
      return `${turn} after ${messages.length}`;
    },
  });
  await at.serve([slow]);
  const first = await at.start("slow", "one");
  const later = [await at.say(first.session, "two"), await at.say(first.session, "three")];
  open.happen();
  expect((await at.answered(first)).text).toBe("1 after 1");
  for (const [i, said] of later.entries()) expect((await at.answered(said)).text).toBe(`${i + 2} after ${2 * i + 3}`);
});

test("a stop aborts the signal within a moment, and keeps what was said; what ignores the signal is not waited for", async () => {
  const aborted = moment<number>();
  let said = moment();
  const talker = chatAgent({
    id: "talker",
    async *run({ signal, turn, uiMessages }) {
      if (turn === 3) {
        yield { type: "start" };
        yield { type: "text-start", id: "1" };
        yield { type: "text-delta", id: "1", delta: JSON.stringify(uiMessages.map(({ parts }) => parts)) };
        return;
      }
      signal.addEventListener("abort", () => aborted.happen(performance.now()));
      yield { type: "text-start", id: "1" };
      yield { type: "text-delta", id: "1", delta: "so far" };
      said.happen();
      await new Promise(() => {});
    },
  });
  await at.serve([talker]);
  const talk = await at.start("talker", "go");
  await said.happened;
  const askedAt = performance.now();
  expect(await at.must("session.stop", { session: talk.session })).toEqual({ turn: 1 });
  expect((await aborted.happened) - askedAt).toBeLessThan(2000);
  expect(await at.answered(talk)).toEqual({ outcome: "stopped", run: talk.run, text: "so far" });
  // The run goes on, the next turn can be stopped too, and what people saw was said.
  said = moment();
  const second = await at.say(talk.session, "go on");
  await said.happened;
  await at.must("session.stop", { session: talk.session });
  expect(await at.answered(second)).toMatchObject({ outcome: "stopped", run: talk.run });
  const third = await at.say(talk.session, "what did you say?");
  expect((await at.answered(third)).text).toMatch(/go.*so far.*go on.*so far.*what did you say/);
});

test("closing a session aborts what is being answered, and ends its run", async () => {
  const begun = moment();
  const aborted = moment();
  const endless = chatAgent({
    id: "endless",
    async run({ signal }) {
      signal.addEventListener("abort", () => aborted.happen());
      begun.happen();
      await aborted.happened;
      return "too late";
    },
    onTurnEnd: () => {
      throw new Error("a turn that was lost has no end here");
    },
  });
  await at.serve([endless]);
  const talk = await at.start("endless", "go");
  await begun.happened;
  await at.must("session.close", { session: talk.session });
  await aborted.happened;
  expect(await at.answered(talk)).toMatchObject({ outcome: "stopped", text: "" });
  expect((await at.must("run.get", { run: talk.run })).endReason).toBe("closed");
  expect(at.logged.filter((line) => line.includes(talk.session))).toEqual([]);
});

test("what an agent throws ends the turn, is logged, and told to nobody unless the agent says how; the run goes on", async () => {
  const fails = chatAgent({
    id: "fails",
    async *run({ turn }) {
      yield { type: "text-start", id: "1" };
      if (turn === 1) throw new Error("the password is hunter2");
      if (turn === 2) yield { type: "error", errorText: "Out of order today." };
      yield { type: "text-delta", id: "1", delta: "well" };
    },
  });
  const explains = chatAgent({
    id: "explains",
    run: () => {
      throw new RangeError("boom");
    },
    onError: (error, { session }) => `Sorry: ${(error as Error).name} in ${session.externalId}.`,
  });
  await at.serve([fails, explains]);
  const first = await at.start("fails", "go");
  expect(await at.answered(first)).toMatchObject({ outcome: "errored", error: "The agent failed to answer.", run: first.run });
  expect(at.logged.join("\n")).toContain("the password is hunter2");
  const second = await at.say(first.session, "go");
  expect(await at.answered(second)).toMatchObject({ outcome: "errored", error: "Out of order today.", run: first.run });
  const third = await at.say(first.session, "go");
  expect(await at.answered(third)).toEqual({ outcome: "complete", run: first.run, text: "well" });
  const told = await at.start("explains", "go", { externalId: "case-7" });
  expect(await at.answered(told)).toMatchObject({ outcome: "errored", error: "Sorry: RangeError in case-7." });
});

test("hooks come in their order: once a run, and around each turn", async () => {
  const order: string[] = [];
  const done = [moment(), moment(), moment()];
  const hooked = chatAgent({
    id: "hooked",
    onStart: ({ run }) => void order.push(`start ${run.number}`),
    onTurnStart: ({ turn }) => void order.push(`turn ${turn}`),
    run({ turn }) {
      order.push("run");
      if (turn === 2) throw new Error("no");
      return "yes";
    },
    onAction({ name, data }) {
      order.push(`${name} ${JSON.stringify(data)}`);
      return undefined;
    },
    onTurnEnd({ turn }, { outcome, answer, error }) {
      order.push(
        `end ${turn} ${outcome} ${answer?.parts.map((part) => (part.type === "text" ? part.text : "")).join("")} ${error ?? ""}`.trim(),
      );
      done[turn - 1]?.happen();
    },
  });
  await at.serve([hooked]);
  const talk = await at.start("hooked", "one");
  await at.say(talk.session, "two");
  await at.must("session.send", { session: talk.session, action: { name: "refund", data: { cents: 5 } } });
  for (const { happened } of done) await happened;
  expect(order).toEqual([
    "start 1",
    "turn 1",
    "run",
    "end 1 complete yes",
    "turn 2",
    "run",
    "end 2 errored undefined Error: no",
    "turn 3",
    'refund {"cents":5}',
    "end 3 complete undefined",
  ]);
  const unknown = await at.start("echo", "hi");
  const { turn } = await at.must("session.send", { session: unknown.session, action: { name: "dance" } });
  expect(await at.answered({ session: unknown.session, turn })).toMatchObject({
    outcome: "errored",
    error: 'This agent knows no action "dance".',
  });
});

test("metadata are typed by a schema, made whole by it, and refused when they are wrong", async () => {
  const typed = chatAgent({
    id: "typed",
    metadata: z.object({ customer: z.string(), plan: z.enum(["free", "paid"]).default("free") }),
    run({ metadata }) {
      const plan: "free" | "paid" = metadata.plan;
      // @ts-expect-error: the schema has no such field
      metadata.nope;
      return `${metadata.customer.toUpperCase()} ${plan}`;
    },
  });
  await at.serve([typed]);
  const good = await at.start("typed", "who?", { metadata: { customer: "c1" } });
  expect((await at.answered(good)).text).toBe("C1 free");
  const bad = await at.start("typed", "who?", { metadata: { customer: 5, plan: "hunter2" } });
  expect(await at.answered(bad)).toMatchObject({
    outcome: "errored",
    error: "The session's metadata is not what this agent takes. The worker's log says why.",
  });
  // A browser may talk in a session, and may not know its metadata.
  expect(at.logged).toContainEqual(expect.stringMatching(/^typed .+: The session's metadata do not fit: see customer, plan\.$/));
});

test("no more turns are answered at once than the agent says; whoever waits between turns is not counted", async () => {
  let now = 0;
  let most = 0;
  const two = moment();
  const narrow = chatAgent({
    id: "narrow",
    concurrency: 2,
    async run({ turn }) {
      most = Math.max(most, ++now);
      if (now === 2) two.happen();
      if (turn === 1) await two.happened;
      now--;
      return "done";
    },
  });
  await at.serve([narrow]);
  const talks = await Promise.all(Array.from({ length: 6 }, (_, i) => at.start("narrow", `${i}`)));
  for (const talk of talks) expect((await at.answered(talk)).outcome).toBe("complete");
  // All six are held, and wait for more: they are answered by the runs they have.
  for (const { session, run } of talks) {
    const more = await at.say(session, "more");
    expect(await at.answered(more)).toMatchObject({ outcome: "complete", run });
  }
  expect(most).toBe(2);
});

test("an agent needs an id that is a path, and serves no task that it may not", async () => {
  expect(() => chatAgent({ id: "/no", run: () => "" })).toThrow(/"\/no" must be segments/);
  await expect(at.serve([])).rejects.toThrow("at least one agent");
  await expect(at.serve([echo, echo])).rejects.toThrow("an id of its own");
  await expect(at.serve([echo], { credential: "me_agent_nope" })).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("a long text and a big answer come through whole", async () => {
  const text = "🌍 word ".repeat(20_000);
  const long = chatAgent({
    id: "long",
    async *run({ turn }) {
      if (turn === 1) yield { type: "text-start", id: "1" };
      for (let i = 0; i < 3000; i++) yield { type: "text-delta", id: "1", delta: `${i} ` };
    },
  });
  const whole = chatAgent({ id: "whole", run: () => text });
  await at.serve([long, whole]);
  expect((await at.answered(await at.start("whole", "go"))).text).toBe(text);
  expect((await at.answered(await at.start("long", "go"))).text).toBe(Array.from({ length: 3000 }, (_, i) => `${i} `).join(""));
});
