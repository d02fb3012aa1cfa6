import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSpaceClient } from "@gatehouse/client";
import { expect, test } from "vitest";
import { runSteps, stepsOf } from "./markdown.ts";
import { ME, makeHome, me, meJson, type Running, start, startUp, until } from "./run.ts";

const ROOT = join(import.meta.dirname, "..");

test("docs/agents.md: what it shows can be typed, saved and run", async () => {
  const home = await makeHome();
  const server = await startUp(home);
  const folder = join(home.folder, "mine");
  await mkdir(join(folder, "node_modules", "@gatehouse"), { recursive: true });
  await symlink(join(ROOT, "packages", "agent"), join(folder, "node_modules", "@gatehouse", "agent"));
  await symlink(join(import.meta.dirname, "node_modules", "ai"), join(folder, "node_modules", "ai"));

  const steps = stepsOf(await readFile(join(ROOT, "docs", "agents.md"), "utf8"));
  const files = steps.flatMap(({ language, code }) => (language === "ts" ? [{ name: /^\/\/ (\S+)$/m.exec(code)?.[1] ?? "", code }] : []));
  for (const { name, code } of files) await writeFile(join(folder, name), code);
  const typed = steps.filter(({ language }) => language === "sh");
  const stays = typed.filter(({ code }) => code.startsWith("me agent run"));
  expect(stays).toHaveLength(1);
  const setUp = [...typed.filter((step) => !stays.includes(step)), { language: "sh", code: "echo $ME_API_KEY", shown: undefined }];
  const prelude = `me() { '${process.execPath}' '${ME}' "$@"; }`;
  const env = { ...home.env, ME_SERVER: server.url };
  const ran = await runSteps(setUp, { cwd: folder, env, prelude });
  for (const { code, exit, output } of ran) expect(exit, `${code}\n${output}`).toBe(0);
  const key = ran.at(-1)?.output.trim() ?? "";

  const slug = (await meJson(home, ["space", "list"])).spaces[0].slug as string;
  const mine = (await me(home, ["apikey", "create", "--self", "--name", "talk"])).stdout.trim();
  const space = createSpaceClient({ server: server.url, credential: mine, space: slug });
  const { session } = await space.session.create({ task: "support" });
  const talk = async (worker: Running) => {
    const { turn } = await space.session.send({ session: session.id, message: "hello" });
    return until(
      () => `turn ${turn} is answered by a worker which said:\n${worker.stderr()}`,
      async () => {
        const { events } = await space.session.events({ session: session.id });
        return JSON.stringify(events.find((event) => event.turn === turn && event.kind === "chunks")?.data);
      },
    );
  };
  /** Lets a worker answer once, and leave. */
  async function tried(command: string, expected: string): Promise<void> {
    const worker = start(
      "bash",
      ["-c", `${prelude.replace("{ ", "{ exec ")}\ncd '${folder}'\n${command}`],
      { ...env, ME_API_KEY: key },
      null,
    );
    expect(await talk(worker)).toContain(expected);
    worker.child.kill("SIGTERM");
    await worker.finished;
  }
  await tried(stays[0]?.code ?? "", "This is message 1.");
  await tried(`exec '${process.execPath}' worker.ts`, "This is message 3.");
  await tried(`exec '${process.execPath}' own-signals.ts`, "This is message 5.");
  // With a model it can't be run here: that it loads, and is an agent, can be told.
  const loaded = start(
    process.execPath,
    ["-e", `console.log((await import(${JSON.stringify(join(folder, "with-a-model.ts"))})).writer.id)`],
    home.env,
  );
  expect(await loaded.finished).toMatchObject({ code: 0, stdout: "support/writer\n" });
  await server.stop();
});
