import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { type Home, ME, makeHome, type Running, start, until } from "./run.ts";

/** How a shell's own commands end when nobody reads what they say. */
const UNREAD = 141;

let at: Workplace;
let home: Home;
beforeAll(async () => {
  at = await makeWorkplace();
  home = await makeHome(at.env);
});
afterAll(() => at.close());

/** Runs `me` with all that it says read by `head -1`. @returns it, with how it ended on stderr, when head has gone */
async function headed(args: readonly string[]): Promise<Running> {
  const command = [process.execPath, ME, ...args].map((arg) => `'${arg}'`).join(" ");
  const line = `{ ${command} 2>&1; echo "ended with $?" >&2; } | { head -1; exec <&-; echo "reads no more" >&2; }`;
  const running = start("sh", ["-c", line], home.env);
  await until("head has gone", () => running.stderr().includes("reads no more"));
  return running;
}

test("what goes on for ever ends with its reader, without a word", async () => {
  const { session } = await at.start("nobody-serves-it", "one");
  const following = await headed(["session", "events", session, "--follow"]);
  await until("it follows", async () => {
    if (following.stderr().includes("ended")) return true;
    await at.say(session, "two");
    return false;
  });
  expect(await following.finished).toEqual({
    code: 0,
    stdout: "Following the conversation. Ctrl-C ends it.\n",
    stderr: `reads no more\nended with ${UNREAD}\n`,
  });
});

test.each(["stdout", "stderr"] as const)("a result or a note that nobody reads on %s is nothing to tell of", async (closed) => {
  const running = start(process.execPath, [ME, "session", "create", "nobody-serves-it"], home.env);
  running.child[closed]?.destroy();
  const { code, stdout, stderr } = await running.finished;
  expect(code).toBe(UNREAD);
  expect(stdout + stderr).not.toMatch(/EPIPE|Error/);
});

test("agents whose words nobody reads any more stop in good order: the answer under way is given", async () => {
  const folder = join(home.folder, "agents", "node_modules", "@gatehouse");
  await mkdir(folder, { recursive: true });
  await symlink(join(import.meta.dirname, "..", "packages", "agent"), join(folder, "agent"));
  const file = join(home.folder, "agents", "agents.ts");
  await writeFile(
    file,
    `import { chatAgent } from "@gatehouse/agent";
     export const helper = chatAgent({ id: "helper", run: () => "here" });`,
  );
  const running = await headed(["agent", "run", file]);
  const talk = await at.start("helper", "hello");
  expect(await at.answered(talk)).toMatchObject({ outcome: "complete", text: "here" });
  expect(await running.finished).toMatchObject({ stderr: "reads no more\nended with 0\n" });
  expect((await at.must("run.list", { session: talk.session })).runs).toMatchObject([{ endReason: "handover" }]);
});
