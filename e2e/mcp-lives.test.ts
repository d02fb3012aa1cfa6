import { join } from "node:path";
import type { SessionEvent } from "@gatehouse/protocol";
import { beforeAll, expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { connectHttp, connectMcp } from "./mcp.ts";
import { moment } from "./moment.ts";
import { startRelay } from "./relay.ts";
import { type Home, ME, makeHome, me, meJson, type Running, type RunningServer, start, startUp, until } from "./run.ts";

const PERSON = { email: "ada@example.com", name: "Ada", password: "correct horse battery" };
let settings: Record<string, string>;
let server: RunningServer;
let machine: Home;
/** Where the person is signed in, and what workers run with. */
let home: Home;
let workers: Record<string, string>;
let slug: string;
let pat: string;

const up = async (port: string) => startUp(machine, { ...settings, PORT: port });
/** Starts a worker, which answers `remote`; those before it are killed. */
async function hire(name: string): Promise<Running> {
  hired?.child.kill("SIGKILL");
  await hired?.finished;
  hired = start(process.execPath, [join(import.meta.dirname, "worker.ts"), name], workers, null);
  await until(`${name} serves`, () => hired?.stderr().includes("Serving remote"));
  return hired;
}
let hired: Running | undefined;
const log = async (chatId: string): Promise<SessionEvent[]> => (await meJson(home, ["session", "events", chatId])).events;
const begun = (chatId: string, turn: number) =>
  until("the turn has begun to be answered", async () =>
    (await log(chatId)).some((event) => event.kind === "chunks" && event.turn === turn),
  );
/** What was said, and how often it was answered, turn by turn. */
const tally = async (chatId: string) => {
  const events = await log(chatId);
  const turns = (wanted: string) => events.filter(({ kind }) => kind === wanted).map(({ turn }) => turn);
  return { asked: turns("message"), ended: turns("turn-end") };
};
const restart = async () => {
  const { port } = new URL(server.url);
  await server.stop("SIGKILL");
  server = await up(port);
};

beforeAll(async () => {
  const databaseUrl = await makeDatabase();
  settings = { ...onDatabase(databaseUrl), LEASE_SECONDS: "10" };
  machine = await makeHome();
  server = await up("0");
  home = await makeHome({ ME_SERVER: server.url });
  const must = async (args: string[], env: Record<string, string> = {}) => {
    const { code, stdout, stderr } = await me(home, args, { env, stdin: PERSON.password });
    if (code !== 0) throw new Error(`me ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout.trim();
  };
  await must(["user", "create", "--email", PERSON.email, "--name", PERSON.name], onDatabase(databaseUrl));
  await must(["login", "--email", PERSON.email]);
  slug = JSON.parse(await must(["space", "create", "Acme", "--json"])).slug;
  pat = await must(["apikey", "create", "--self", "--name", "mcp"]);
  await must(["agent", "create", "bot"]);
  await must(["agent", "add", "bot"]);
  await must(["access", "grant", "bot", "admin:tasks"]);
  workers = { ...home.env, ME_API_KEY: await must(["apikey", "create", "--agent", "bot", "--name", "worker"]) };
});

test("server and MCP server are killed and started again between two messages: the chat is the same", async () => {
  await hire("one");
  const first = await connectMcp(home.env);
  const { chatId, run, text } = await first.call("start_agent_chat", { task: "remote", message: "hello" });
  expect(text).toBe("one begins. one ends after 1.");
  await restart();
  const again = await first.call("send_agent_message", { chatId, message: "are you there?" });
  expect(again).toMatchObject({ status: "complete", run, text: "one begins. one ends after 3." });
  process.kill(first.pid, "SIGKILL");
  const second = await connectMcp(home.env);
  expect(await second.call("start_agent_chat", { task: "remote", chatId })).toMatchObject({ chatId, existing: true, run });
  expect(await second.call("send_agent_message", { chatId, message: "still?" })).toMatchObject({
    run,
    text: "one begins. one ends after 5.",
  });
  expect(await tally(chatId)).toEqual({ asked: [1, 2, 3], ended: [1, 2, 3] });
});

test("the server is killed while an answer comes: the call goes on where it was", async () => {
  const worker = await hire("one");
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "remote" });
  const answer = mcp.call("send_agent_message", { chatId, message: "wait" });
  answer.catch(() => {});
  await begun(chatId, 1);
  await restart();
  worker.child.stdin?.write("go on\n");
  expect(await answer).toMatchObject({ status: "complete", turn: 1, text: "one begins. one ends after 1." });
  expect(await tally(chatId)).toEqual({ asked: [1], ended: [1] });
});

test("the server is away when something is said: it is kept once, when it is back", async () => {
  await hire("one");
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "remote", message: "hello" });
  const { port } = new URL(server.url);
  await server.stop("SIGKILL");
  const answer = mcp.call("send_agent_message", { chatId, message: "hello again" });
  answer.catch(() => {});
  server = await up(port);
  expect(await answer).toMatchObject({ status: "complete", turn: 2, text: "one begins. one ends after 3." });
  expect(await tally(chatId)).toEqual({ asked: [1, 2], ended: [1, 2] });
});

test("over HTTP, the server is killed between two messages, and while an answer comes: said again by its name, it counts once", async () => {
  const worker = await hire("one");
  const client = await connectHttp(new URL(`/mcp?space=${slug}`, server.url), pat);
  const chat = { chatId: "over-http" };
  const first = await client.callTool({ name: "start_agent_chat", arguments: { task: "remote", message: "hello", ...chat } });
  await restart();
  const second = await client.callTool({ name: "send_agent_message", arguments: { message: "are you there?", ...chat } });
  expect(second.structuredContent).toMatchObject({ status: "complete", text: "one begins. one ends after 3." });
  expect((second.structuredContent as { run: object }).run).toEqual((first.structuredContent as { run: object }).run);

  const said = { name: "send_agent_message", arguments: { message: "wait", inputId: "third", ...chat } };
  const cut = client.callTool(said);
  cut.catch(() => {});
  await begun(chat.chatId, 3);
  await restart();
  await expect(cut).rejects.toThrow();
  const again = client.callTool(said);
  worker.child.stdin?.write("go on\n");
  expect((await again).structuredContent).toMatchObject({ status: "complete", turn: 3, text: "one begins. one ends after 5." });
  expect(await tally(chat.chatId)).toEqual({ asked: [1, 2, 3], ended: [1, 2, 3] });
  await client.close();
});

test("the worker is killed while it answers: the answer is that of the next one, and nothing of the first", async () => {
  await hire("one");
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "remote" });
  const answer = mcp.call("send_agent_message", { chatId, message: "wait" });
  answer.catch(() => {});
  await begun(chatId, 1);
  await hire("two");
  expect(await answer).toMatchObject({ status: "complete", turn: 1, text: "two begins. two ends after 1." });
  expect(await tally(chatId)).toEqual({ asked: [1], ended: [1] });
});

test("the MCP server is killed while an answer comes: said again by its name, the message counts once", async () => {
  const worker = await hire("one");
  const mcp = await connectMcp(home.env);
  const { chatId } = await mcp.call("start_agent_chat", { task: "remote" });
  const said = { chatId, message: "wait", inputId: "one" };
  mcp.call("send_agent_message", said).catch(() => {});
  await begun(chatId, 1);
  process.kill(mcp.pid, "SIGKILL");
  const other = await connectMcp(home.env);
  const answer = other.call("send_agent_message", said);
  worker.child.stdin?.write("go on\n");
  expect(await answer).toMatchObject({ status: "complete", turn: 1, text: "one begins. one ends after 1." });
  expect(await tally(chatId)).toEqual({ asked: [1], ended: [1] });
});

test.each(["before", "after"] as const)(
  "the client is killed while it says something, %s the server has it: it counts once",
  async (when) => {
    await hire("one");
    const relay = await startRelay();
    relay.target = server.url;
    const [held, letGo, over] = [moment(), moment(), moment()];
    relay[when] = async ({ body }) => {
      if (!body.includes("session.send")) return true;
      held.happen();
      await letGo.happened;
      return true;
    };
    const { after } = relay;
    relay.after = async (passed) => {
      const goes = await after(passed);
      if (passed.body.includes("session.send")) over.happen();
      return goes;
    };
    const env = { ...home.env, ME_SERVER: relay.url, ME_SPACE: slug, ME_API_KEY: pat };
    const other = await connectMcp(home.env);
    const { chatId } = await other.call("start_agent_chat", { task: "remote" });
    const said = { chatId, message: "hello", inputId: "one" };
    const client = start(process.execPath, [join(import.meta.dirname, "mcp-speaker.ts"), ME, chatId, said.message, said.inputId], env);
    await held.happened;
    client.child.kill("SIGKILL");
    await client.finished;

    const answer = { status: "complete", turn: 1, text: "one begins. one ends after 1." };
    const waited = other.call("wait_agent_message", { chatId, turn: 1 });
    if (when === "after") expect(await waited).toMatchObject(answer);
    else await expect(waited).rejects.toThrow("This chat has no turn 1.");
    expect(await other.call("send_agent_message", said)).toMatchObject(answer);
    letGo.happen();
    await over.happened;
    expect(await other.call("wait_agent_message", { chatId, turn: 1 })).toMatchObject(answer);
    expect(await tally(chatId)).toEqual({ asked: [1], ended: [1] });
    await relay.close();
  },
);
