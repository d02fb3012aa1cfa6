import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { likened, runSteps, type Step, stepsOf } from "./markdown.ts";
import { makeHome, start, until } from "./run.ts";

const ROOT = join(import.meta.dirname, "..");
const DEFAULT_PORT = 7070;

/** The default port, word for word; another one only where something else listens on it. */
function usablePort(port = DEFAULT_PORT): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().once("error", () => resolve(usablePort(port + 1)));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(port)));
  });
}

/** TypeScript runs where the workspace resolves its import, as the agent of the steps before. */
const inShell = (step: Step): Step =>
  step.language === "ts" ? { ...step, code: `(cd e2e && ME_API_KEY=$KEY '${process.execPath}' -e '${step.code}')` } : step;

test("the quick start and the first conversation work as they are written, and print what they say", async () => {
  const port = await usablePort();
  const readme = (await readFile(join(ROOT, "README.md"), "utf8")).replaceAll(String(DEFAULT_PORT), String(port));
  const [quickStart = ""] = /^## Quick start$[\s\S]*?(?=^## Where to go)/m.exec(readme) ?? [];
  const [startCommand, ...steps] = stepsOf(quickStart).map(inShell);
  const home = await makeHome({
    PORT: String(port),
    npm_config_cache: process.env.npm_config_cache ?? join(process.env.HOME ?? "/root", ".npm"),
  });
  const env = { ...home.env, XDG_CONFIG_HOME: "", XDG_DATA_HOME: "" };

  // A group of its own, as a terminal gives it: Ctrl-C goes to all of it.
  const server = start("setsid", ["bash", "-c", startCommand?.code.trim() ?? ""], env);
  await until(
    () => `the server is ready, which said:\n${server.stderr()}`,
    () => server.stderr().includes("Ready:"),
  );
  const ran = await runSteps(steps, { cwd: ROOT, env });
  for (const [i, { code, exit, output }] of ran.entries()) {
    const refused = code.includes("another-bot");
    expect(exit, `${code}\n${output}`).toBe(refused ? exitCodes.forbidden : exitCodes.ok);
    const shown = steps[i]?.shown;
    if (shown !== undefined) expect(likened(output)).toBe(likened(shown));
  }
  const overHttp = ran.find(({ code }) => code.includes("curl"))?.output ?? "";
  expect(JSON.parse(overHttp)).toMatchObject({ jsonrpc: "2.0", id: 1, result: { kind: "a", name: "support-bot", email: null } });

  const started = JSON.parse(ran.find(({ code }) => code.includes("/api/v1/sessions"))?.output ?? "");
  expect(started).toMatchObject({ existing: false, run: null, session: { task: "echo", externalId: "first-talk", status: "open" } });
  const [both, later] = ran.filter(({ code }) => code.includes("session send")).map(({ output }) => output);
  const answers = JSON.parse(`[${both?.replace("}\n{", "},{")}]`);
  expect(answers).toMatchObject([{ text: "pong" }, { text: "echo" }]);
  expect(answers[0].run.id, "one run answers both").toBe(answers[1].run.id);
  const [third, log] = later?.split(/(?<=^\}\n)/m) ?? [];
  expect(JSON.parse(third ?? "")).toMatchObject({
    text: "still there?",
    turn: 3,
    run: { id: expect.not.stringMatching(answers[0].run.id) },
  });
  for (const said of ["pong", "echo", "still there?"]) expect(log).toContain(said);

  const editor = ran.find(({ code }) => code.includes("mcp install"))?.output ?? "";
  expect(editor).toMatch(/"command": [\s\S]*"mcp",[\s\S]*^ok +tools: \d+ tools/m);

  process.kill(-(server.child.pid as number), "SIGINT");
  await server.finished;
});
