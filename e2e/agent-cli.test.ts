import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { type Home, ME, makeHome, me, meJson, start, startUp, until } from "./run.ts";

let at: Workplace;
beforeAll(async () => {
  at = await makeWorkplace();
});
afterAll(() => at.close());

/** A folder of somebody who writes agents: what they import is installed there. */
async function makeFolder(home: Home): Promise<string> {
  await mkdir(join(home.folder, "agents", "node_modules", "@gatehouse"), { recursive: true });
  await symlink(join(import.meta.dirname, "..", "packages", "agent"), join(home.folder, "agents", "node_modules", "@gatehouse", "agent"));
  return join(home.folder, "agents");
}

const says = (text: string) => `
  import { chatAgent } from "@gatehouse/agent";
  import { text } from "./text.ts";
  export const helper = chatAgent({ id: "helper", run: ({ uiMessages }) => text + " " + uiMessages.length + ${JSON.stringify(text)} });
`;

test("me agent run serves what a file exports, and again when it or what it imports changes, or is mended", async () => {
  const home = await makeHome(at.env);
  const folder = await makeFolder(home);
  const file = join(folder, "agents.ts");
  await writeFile(join(folder, "text.ts"), 'export const text = "one";');
  await writeFile(file, says("!"));
  const running = start(process.execPath, [ME, "agent", "run", file], home.env, null);
  const said = (text: string, times = 1) =>
    until(
      () => `it says ${text}; it said:\n${running.stderr()}`,
      () => running.stderr().split(text).length > times,
    );
  await said("Serving helper");
  const talk = await at.start("helper", "hello");
  expect((await at.answered(talk)).text).toBe("one 1!");
  expect(running.stderr()).toMatch(new RegExp(`helper ${talk.session}: turn 1 complete after \\d+ ms`));

  await writeFile(join(folder, "text.ts"), 'export const text = "two";');
  await said("Serving helper", 2);
  expect(running.stderr()).toContain("text.ts has changed.");
  expect((await at.answered(await at.say(talk.session, "and?"))).text).toBe("two 3!");

  await writeFile(file, "this is no program");
  await said("Waiting for a change");
  const waiting = await at.say(talk.session, "are you there?");
  await writeFile(file, says("?"));
  expect((await at.answered(waiting)).text).toBe("two 5?");

  running.child.kill("SIGINT");
  expect(await running.finished).toMatchObject({ code: 0, stdout: "" });
  const { runs } = await at.must("run.list", { session: talk.session });
  expect(runs).toMatchObject([{ endReason: "upgrade" }, { endReason: "upgrade" }, { endReason: "handover" }]);
});

test("me agent run tells what is wrong: no file, no agent in it, a task that may not be served, nobody signed in", async () => {
  const home = await makeHome(at.env);
  const folder = await makeFolder(home);
  const file = join(folder, "agents.ts");
  const run = (env: Record<string, string> = {}) => me(home, ["agent", "run", file, "--no-watch"], { env });
  expect(await run()).toMatchObject({ code: exitCodes.usage, stderr: `Error: There is no file ${file}.\n` });
  await writeFile(file, "export const nothing = 5;");
  const none = await run();
  expect(none.code).toBe(exitCodes.error);
  expect(none.stderr).toContain("agents.ts exports no agent.");
  await writeFile(join(folder, "text.ts"), 'export const text = "";');
  await writeFile(file, says(""));
  const { key } = await at.must("apiKey.create", { name: "reader", ceiling: ["read"] }, null);
  const refused = await run({ ME_API_KEY: key });
  expect(refused.code).toBe(exitCodes.error);
  expect(refused.stderr).toMatch(/^Error: This needs admin:tasks; the ceiling of this key leaves it out\./);
  expect((await run({ ME_API_KEY: "" })).code).toBe(exitCodes["not signed in"]);
});

test.each([
  ["an error of syntax", "const a = ;", /agents\.ts can't be loaded:[\s\S]*Unexpected ;[\s\S]*agents\.ts:1:11/],
  ["several", "const a = 1;; this is no program", /Expected ";" but found "is"[\s\S]*agents\.ts:1:20[\s\S]*agents\.ts:1:26/],
  ["one in what it imports", 'import { text } from "./text.ts";\nexport const a = text;', /Unexpected ;[\s\S]*text\.ts:1:21/],
  ["an error as it runs", '\n  throw new Error("boom");', /boom[\s\S]*agents\.ts:2:13/],
  ["a thrown nothing", "throw null;", /agents\.ts can't be loaded:\nnull\n/],
])("me agent run tells of a file that can't be loaded what is wrong, and where: %s", async (_what, code, told) => {
  const home = await makeHome(at.env);
  const folder = await makeFolder(home);
  await writeFile(join(folder, "text.ts"), "export const text = ;");
  await writeFile(join(folder, "agents.ts"), code);
  const { code: ended, stderr } = await me(home, ["agent", "run", join(folder, "agents.ts"), "--no-watch"]);
  expect(ended).toBe(exitCodes.error);
  expect(stderr).toMatch(told);
});

test("on the embedded database echo answers at once; there is one of it, with one key, which ends with the server", async () => {
  const home = await makeHome();
  let server = await startUp(home);
  const mine = (await me(home, ["apikey", "create", "--self", "--name", "test"])).stdout.trim();
  const slug = (await meJson(home, ["space", "list"])).spaces[0].slug as string;
  /** Says something to echo, on the server as it runs now. */
  const answerTo = async (text: string) => {
    const space = createSpaceClient({ server: server.url, credential: mine, space: slug });
    const { session } = await space.session.create({ task: "echo", message: text });
    return until("echo has answered", async () => {
      const { events } = await space.session.events({ session: session.id });
      if (!events.some(({ kind }) => kind === "turn-end")) return undefined;
      const chunks = events.flatMap(({ kind, data }) => (kind === "chunks" ? (data as { delta?: string }[]) : []));
      return chunks.map(({ delta = "" }) => delta).join("");
    });
  };
  const keysOfEcho = async () =>
    (await meJson(home, ["apikey", "list"])).keys.filter((key: { principal: { name: string } }) => key.principal.name === "echo");
  const agents = async () => (await createUserClient({ server: server.url, credential: mine }).agent.list()).agents.map(({ name }) => name);

  expect(await answerTo("hello, you")).toBe("hello, you");
  const [first] = await keysOfEcho();
  expect(first.ceiling).toEqual(["admin:tasks:echo"]);
  await server.stop("SIGKILL");

  server = await startUp(home);
  expect(await answerTo("still there?")).toBe("still there?");
  const [second, ...more] = await keysOfEcho();
  expect([more, await agents()]).toEqual([[], ["echo"]]);
  expect(second.id).not.toBe(first.id);
  expect((await server.stop()).stderr.split("\n").filter((line) => /echo|error/i.test(line))).toEqual([]);

  server = await startUp(home);
  await answerTo("and now?");
  expect((await me(home, ["agent", "delete", "echo", "--yes"])).code).toBe(0);
  await server.stop();

  server = await startUp(home);
  const { code } = await server.stop();
  expect(code).toBe(0);
  server = await startUp(home);
  expect(await agents()).toEqual([]);
  await server.stop();
});
