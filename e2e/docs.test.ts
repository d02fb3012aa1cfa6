import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { generatedDocs } from "./docs.ts";
import { likened, runSteps, stepsOf } from "./markdown.ts";
import { ME, makeHome, startUp } from "./run.ts";

const ROOT = join(import.meta.dirname, "..");

test("the generated parts of the docs are what the code generates", async () => {
  for (const { file, is, shouldBe } of await generatedDocs()) expect(is, `${file} is out of date: bun run docs`).toBe(shouldBe);
});

test.each(["docs/credentials.md", "docs/spaces.md", "docs/operating.md", "docs/chat.md", "docs/sessions.md", "docs/mcp.md"])(
  "every command of %s works",
  async (file) => {
    const home = await makeHome();
    const server = await startUp(home);
    // The pages take the default port; here it is another.
    const page = (await readFile(join(ROOT, file), "utf8")).replaceAll("http://127.0.0.1:7070", server.url);
    const steps = stepsOf(page).filter(({ language }) => language === "sh");
    expect(steps.length).toBeGreaterThan(0);
    const prelude = `me() { '${process.execPath}' '${ME}' "$@"; }`;
    const ran = await runSteps(steps, { cwd: ROOT, env: { ...home.env, ME_SERVER: server.url }, prelude });
    for (const [i, { code, exit, output }] of ran.entries()) {
      expect(exit, `${code}\n${output}`).toBe(0);
      expect(output).not.toMatch(/^Error/m);
      const shown = steps[i]?.shown;
      if (shown !== undefined) expect(likened(output)).toBe(likened(shown));
    }
    await server.stop();
  },
);
