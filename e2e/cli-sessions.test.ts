import { chatAgent } from "@gatehouse/agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { type Home, ME, makeHome, me, meJson, start, until } from "./run.ts";
import { textOf } from "./said.ts";
import { atTerminal } from "./terminal.ts";

const CTRL_C = "\u0003";
const TIMEOUT = 120_000;

let at: Workplace;
let home: Home;
/** An agent that answers in words of its own, as the message asks. */
const helper = chatAgent({
  id: "helper",
  async *run({ uiMessages, signal }) {
    const said = textOf(uiMessages.at(-1));
    if (said === "fail") throw new Error("a secret of the agent");
    yield { type: "text-start", id: "1" };
    for (const delta of [`${uiMessages.length}: `, said, "\n\tand\u001b[31m more"]) yield { type: "text-delta", id: "1", delta };
    if (said === "wait") await new Promise((resolve) => signal.addEventListener("abort", resolve));
    yield { type: "text-end", id: "1" };
  },
});

beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([helper]);
  const { key } = await at.must("apiKey.create", { name: "cli" }, null);
  home = await makeHome({ ME_SERVER: at.server.url, ME_SPACE: at.slug, ME_API_KEY: key });
});
afterAll(() => at.close());

test("tasks are listed and shown, and whether somebody serves them", { timeout: TIMEOUT }, async () => {
  await until("the task is there", async () => (await meJson(home, ["task", "list"])).tasks.length === 1);
  expect((await meJson(home, ["task", "list"])).tasks).toMatchObject([{ path: "helper", online: true }]);
  expect((await me(home, ["task", "list"])).stdout).toMatch(/^Task +Worker +What it does\nhelper +online/);
  expect((await me(home, ["task", "get", "helper"])).stdout).toMatch(/^Task: +helper\n[\s\S]*Idle window: +30 s/);
  expect((await me(home, ["task", "get", "nobody"])).code).toBe(exitCodes["not found"]);
});

test("a session is made, found, read, stopped and closed", { timeout: TIMEOUT }, async () => {
  const more = ["--external-id", "order-1", "--metadata", '{"plan":"pro"}', "--tag", "a", "--tag", "b", "--idle", "1m"];
  const made = await meJson(home, ["session", "create", "helper", ...more]);
  expect(made).toMatchObject({
    existing: false,
    run: null,
    session: { externalId: "order-1", metadata: { plan: "pro" }, tags: ["a", "b"], idleTimeoutSeconds: 60, status: "open" },
  });
  expect(await meJson(home, ["session", "create", "helper", ...more])).toMatchObject({ existing: true, session: { id: made.session.id } });
  const { sessions } = await meJson(home, ["session", "list", "--tag", "b", "--status", "open", "--task", "helper"]);
  expect(sessions).toMatchObject([{ id: made.session.id }]);
  expect((await me(home, ["session", "list", "--tag", "c"])).stdout).toBe("No conversations. Start one: me chat TASK\n");
  expect((await me(home, ["session", "get", "order-1"])).stdout).toContain('Metadata:    {"plan":"pro"}');

  const sent = await meJson(home, ["session", "send", "order-1", "hello", "--input-id", "one"]);
  expect(sent).toMatchObject({ inputId: "one", turn: 1, duplicate: false });
  expect(await meJson(home, ["session", "send", "order-1", "hello", "--input-id", "one"])).toMatchObject({ turn: 1, duplicate: true });
  await at.answered({ session: made.session.id, turn: 1 });
  const { events } = await meJson(home, ["session", "events", "order-1", "--after", "1"]);
  expect(events.map(({ seq }: { seq: number }) => seq)).toEqual(events.map((_: unknown, i: number) => i + 2));
  const shown = await me(home, ["session", "events", "order-1"]);
  expect(shown.stdout).toMatch(/^1 +\S+ \S+ +message +1 +hello$/m);
  expect(shown.stdout).not.toContain("\u001b[31m");

  expect((await me(home, ["session", "stop", "order-1"])).stdout).toBe("There was nothing to stop.\n");
  const following = start(process.execPath, [ME, "session", "events", "order-1", "--follow", "--json"], home.env, null);
  await until("it follows", () => following.stdout().includes('"turn-end"'));
  expect((await me(home, ["session", "close", "order-1"])).stdout).toBe(`Session ${made.session.id} is closed.\n`);
  const followed = await following.finished;
  expect(followed.code).toBe(0);
  const kinds = followed.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).kind);
  expect([kinds[0], kinds.at(-1)]).toEqual(["message", "close"]);
  expect(await me(home, ["session", "send", "order-1", "more", "--json"])).toMatchObject({
    code: exitCodes.conflict,
    stderr: expect.stringContaining('"SESSION_CLOSED"'),
  });
});

test("send --wait prints the whole answer; with --json the text, the turn and the run, and nothing else", {
  timeout: TIMEOUT,
}, async () => {
  const { session } = await meJson(home, ["session", "create", "helper"]);
  const first = await me(home, ["session", "send", session.id, "ping", "--wait"]);
  expect(first).toEqual({ code: 0, stdout: "1: ping\n\tand\ufffd[31m more\n", stderr: "" });
  const second = await me(home, ["session", "send", session.id, "pong", "--wait", "--json"]);
  expect(second.stdout).not.toContain("\u001b");
  const { runs } = await at.must("run.list", { session: session.id });
  expect(JSON.parse(second.stdout)).toEqual({ text: "3: pong\n\tand\u001b[31m more", turn: 2, run: { id: runs[0].id } });
});

test("one run answers while there is something to answer; after the idle window a new one does, which knows what was said", {
  timeout: TIMEOUT,
}, async () => {
  const { session } = await meJson(home, ["session", "create", "helper", "--idle", "1s"]);
  // In one go, so that the window does not end between them.
  const [first, second] = [await at.say(session.id, "one"), await at.say(session.id, "two")];
  expect([await at.answered(first), await at.answered(second)]).toMatchObject([{ run: first.run }, { run: first.run }]);
  await until("the run has ended", async () => (await at.must("run.get", { run: first.run })).endReason === "idle");
  const third = await meJson(home, ["session", "send", session.id, "three", "--wait"]);
  expect(third).toMatchObject({ turn: 3, text: expect.stringMatching(/^5: three/) });
  expect(third.run.id).not.toBe(first.run);
  expect((await at.must("run.list", { session: session.id })).runs).toMatchObject([
    { number: 1, reason: "initial" },
    { number: 2, reason: "continuation", id: third.run.id },
  ]);
});

test("an answer that fails, one that is stopped, and one that does not come are told apart", { timeout: TIMEOUT }, async () => {
  const { session } = await meJson(home, ["session", "create", "helper"]);
  const send = (text: string) => start(process.execPath, [ME, "session", "send", session.id, text, "--wait"], home.env);
  expect(await send("fail").finished).toEqual({
    code: exitCodes.error,
    stdout: "",
    stderr: "Error: The agent failed to answer turn 1: The agent failed to answer.\n",
  });
  const stopped = send("wait");
  await until("it answers", () => stopped.stdout().includes("wait"));
  await me(home, ["session", "stop", session.id]);
  expect(await stopped.finished).toMatchObject({ code: exitCodes.error, stderr: "Error: Turn 2 was stopped before it was answered.\n" });

  const silent = await meJson(home, ["session", "create", "nobody-serves-it"]);
  const waited = await me(home, ["session", "send", silent.session.id, "hello", "--wait", "--timeout", "1s", "--json"]);
  expect(waited).toMatchObject({ code: exitCodes["still running"], stdout: "" });
  const { error } = JSON.parse(waited.stderr);
  expect(error.code).toBe("STILL_RUNNING");
  expect(error.message).toContain("still waits for a worker");
  expect(error.message).toContain(`me session events ${silent.session.id} --after 1 --follow`);
  expect(error.message).toContain(`me session stop ${silent.session.id} --turn 1`);

  const slow = await me(home, ["chat", "helper", "--message", "wait", "--timeout", "5s", "--json"]);
  expect(slow.code).toBe(exitCodes["still running"]);
  const { message } = JSON.parse(slow.stderr).error;
  expect(message).toContain("still being answered");
  const [, way = ""] = /Give it up: me (.*)/.exec(message) ?? [];
  expect(await me(home, way.split(" "))).toMatchObject({ code: 0, stdout: "Stopping turn 1.\n" });
  const [, , talk = ""] = way.split(" ");
  expect(await at.answered({ session: talk, turn: 1 })).toMatchObject({ outcome: "stopped" });
  expect((await me(home, way.split(" "))).stdout).toBe("There was nothing to stop.\n");
});

test("that no worker serves a task is said where somebody would wait for one, if they may know it", { timeout: TIMEOUT }, async () => {
  const never = /^No worker ever offered the task typo: .*me task list.*me agent run FILE$/m;
  const made = await me(home, ["session", "create", "typo", "--external-id", "typo-1"]);
  expect(made).toMatchObject({ code: 0, stderr: expect.stringMatching(never) });
  const asked = ["session send typo-1 hello --wait --timeout 1s", "chat typo --message hello --timeout 1s"];
  for (const typed of asked) expect((await me(home, typed.split(" "))).stderr).toMatch(never);
  const terminal = atTerminal(home, ["chat", "typo"]);
  await terminal.answer(/No worker ever offered the task typo[\s\S]*> /, "/quit\r");
  await terminal.over();

  await at.must("task.register", { task: "gone" });
  expect((await me(home, ["session", "create", "gone"])).stderr).not.toContain("No worker");
  await at.server.sql`update tasks set seen_at = now() - interval '2 minutes' where path = 'gone'`;
  expect((await me(home, ["session", "create", "gone"])).stderr).toMatch(/^No worker of gone is online, last seen 2/m);

  // Who may not read the task is told nothing of it, nor is a script, which reads errors there.
  const { key } = await at.must("apiKey.create", { name: "sessions", ceiling: ["write:sessions"] }, null);
  const blind = await me(home, ["session", "create", "typo"], { env: { ME_API_KEY: key } });
  expect(blind).toMatchObject({ code: 0, stderr: expect.not.stringContaining("No worker") });
  expect(await me(home, ["session", "create", "typo", "--json"])).toMatchObject({ code: 0, stderr: "" });
});

test.each([
  "session create helper --metadata []",
  "session create helper --idle soon",
  "session events x --after first",
  "session send x y --wait --timeout 1",
  "session stop x --turn last",
  "chat",
  "chat helper",
])("me %s: what is typed wrong is a usage error", { timeout: TIMEOUT }, async (typed) => {
  expect(await me(home, typed.split(" "))).toMatchObject({
    code: exitCodes.usage,
    stdout: "",
    stderr: expect.stringMatching(/^Error: .+\n$/),
  });
});

test("me chat --message asks once, and goes on where it was", { timeout: TIMEOUT }, async () => {
  const first = await me(home, ["chat", "helper", "--message", "one"]);
  expect(first).toMatchObject({ code: 0, stdout: "1: one\n\tand\ufffd[31m more\n" });
  const [, id = ""] = /--session (\S+)/.exec(first.stderr) ?? [];
  expect(await meJson(home, ["chat", "--session", id, "--message", "two"])).toMatchObject({
    session: { id },
    turn: 2,
    text: "3: two\n\tand\u001b[31m more",
  });
  expect((await me(home, ["chat", "other", "--session", id, "--message", "three"])).code).toBe(exitCodes.usage);
});

test("Ctrl-C during the answer to --message stops the turn", { timeout: TIMEOUT }, async () => {
  const asking = start(process.execPath, [ME, "chat", "helper", "--message", "wait"], home.env);
  await until("it answers", () => asking.stdout().includes("wait"));
  asking.child.kill("SIGINT");
  expect(await asking.finished).toMatchObject({ code: exitCodes.error, stderr: expect.stringContaining("Turn 1 was stopped") });
});

test("Ctrl-C gives up one's own question alone, which waits behind somebody else's", { timeout: TIMEOUT }, async () => {
  const other = await at.start("helper", "wait");
  const asking = start(process.execPath, [ME, "chat", "--session", other.session, "--message", "mine"], home.env);
  await until("it is asked", async () => (await at.events(other.session)).some(({ kind, turn }) => kind === "message" && turn === 2));
  asking.child.kill("SIGINT");
  expect(await asking.finished).toMatchObject({ code: exitCodes.error, stderr: expect.stringContaining("Turn 2 was stopped") });
  expect((await at.events(other.session)).filter(({ kind, turn }) => kind === "stop" && turn === 1)).toEqual([]);
  await at.must("session.stop", { session: other.session });
  expect(await at.answered(other)).toMatchObject({ outcome: "stopped" });
});

test("what is pasted into me chat is said in its order, and /close does not overtake it", { timeout: TIMEOUT }, async () => {
  const { session } = await at.must("session.create", { task: "helper" });
  const terminal = atTerminal(home, ["chat", "--session", session.id]);
  const typed = Array.from({ length: 12 }, (_, i) => `line ${i + 1}`);
  await terminal.answer("> ", [...typed, "/close", ""].join("\r"));
  expect(await terminal.over()).toMatchObject({ code: 0, shown: expect.stringContaining("The conversation is over.") });
  const log = await at.events(session.id);
  const said = log.filter(({ kind }) => kind === "message").map(({ data }) => textOf(data as Parameters<typeof textOf>[0]));
  expect([said, log.at(-1)?.kind]).toEqual([typed, "close"]);
});

test("me chat at a terminal: answers as they come, /stop, Ctrl-C that stops and then leaves, and the same again", {
  timeout: TIMEOUT,
}, async () => {
  const terminal = atTerminal(home, ["chat", "helper"]);
  await terminal.answer("> ", "hello\r");
  await terminal.answer(/1: hello[\s\S]*> /, "/what\r");
  await terminal.answer(/There are \/stop, \/close, \/quit\.[\s\S]*> /, "wait\r");
  await terminal.answer("3: wait", "/stop\r");
  await terminal.answer(/Turn 2 was stopped[\s\S]*> /, "wait\r");
  await terminal.answer("5: wait", CTRL_C);
  await terminal.answer(/Stopping\. Ctrl-C once more leaves\.[\s\S]*Turn 3 was stopped[\s\S]*> /, CTRL_C);
  const { code, shown, raw } = await terminal.over();
  expect(code).toBe(0);
  expect(raw).not.toContain("\u001b[31m");
  const [, id = ""] = /Go on: me chat --session (\S+)/.exec(shown) ?? [];

  const again = atTerminal(home, ["chat", "--session", id]);
  await again.answer(/> hello[\s\S]*1: hello[\s\S]*Turn 3 was stopped[^>]*> /, "/close\r");
  const over = await again.over();
  expect(over).toMatchObject({ code: 0, shown: expect.stringContaining("The conversation is over.") });
  expect((await meJson(home, ["session", "get", id])).status).toBe("closed");
});
