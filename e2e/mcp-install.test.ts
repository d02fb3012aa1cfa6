import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { parse as parseToml } from "smol-toml";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { mcpClients } from "../packages/cli/src/mcp/clients.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { homeWithKey } from "./mcp.ts";
import { makeHome, me, meJson } from "./run.ts";

let at: Workplace;
beforeAll(async () => {
  at = await makeWorkplace();
});
afterAll(() => at.close());

/** What a client reads of its configuration. */
const entryIn = (client: string, text: string) => {
  const { format, servers } = mcpClients[client] as (typeof mcpClients)[string];
  const read = (format === "toml" ? parseToml(text) : JSON.parse(text)) as Record<
    string,
    Record<string, { command: string; args: string[] }>
  >;
  return read[servers]?.gatehouse;
};

test.each(Object.keys(mcpClients))("%s is set up once, with what starts me mcp, and no secret", async (client) => {
  const home = await homeWithKey(at);
  const made = await meJson(home, ["mcp", "install", client, "--space", at.slug, "--read-only"]);
  expect(made).toMatchObject({ changed: true, backup: null });
  const text = await readFile(made.file, "utf8");
  expect((await stat(made.file)).mode & 0o777).toBe(0o600);
  expect(text).not.toContain(home.env.ME_API_KEY as string);
  const entry = entryIn(client, text);
  expect(entry?.args.slice(-6)).toEqual(["mcp", "--server", at.server.url, "--space", at.slug, "--read-only"]);

  const again = await meJson(home, ["mcp", "install", client, "--space", at.slug, "--read-only"]);
  expect(again).toMatchObject({ changed: false, backup: null });
  expect(await readFile(made.file, "utf8")).toBe(text);
  const printed = await me(home, ["mcp", "install", client, "--space", at.slug, "--read-only", "--print"]);
  expect(printed.stdout).toBe(text);

  const started = new Client({ name: "tests", version: "1" });
  await started.connect(
    new StdioClientTransport({ command: entry?.command ?? "", args: entry?.args ?? [], env: home.env, stderr: "ignore" }),
  );
  expect((await started.listTools()).tools.map(({ name }) => name)).toContain("whoami");
  await started.close();
});

/** What else may stand in a configuration, in the form of each client. */
const others = {
  json: '{\n\t// mine\n\t"theme": "dark",\n\t"mcpServers": {\n\t\t"other": { "command": "other", "env": { "A": "1" } },\n\t},\n\t"servers": {}\n}\n',
  toml: '# mine\nmodel = "gpt" # the best\n\n[mcp_servers.gatehouse]\ncommand = "old"\nargs = []\n\n[mcp_servers.gatehouse.env]\nA = "1"\n\n[mcp_servers.other] # theirs\ncommand = "other"\n\n[[rules]]\nname = "[mcp_servers]"\n',
} as const;

test.each(Object.keys(mcpClients))("all else in the configuration of %s stays, with its mode, and as it was beside it", async (client) => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const { file } = await meJson(home, ["mcp", "install", client, "--print"]);
  const before = others[(mcpClients[client] as (typeof mcpClients)[string]).format];
  await mkdir(dirname(file), { recursive: true });
  await mkdir(join(home.folder, "dotfiles"));
  const real = join(home.folder, "dotfiles", "mine");
  await writeFile(real, before, { mode: 0o640 });
  await symlink(real, file);

  const made = await meJson(home, ["mcp", "install", client]);
  expect(made).toMatchObject({ file: real, changed: true, backup: `${real}.bak` });
  expect(await readFile(made.backup, "utf8")).toBe(before);
  expect((await stat(real)).mode & 0o777).toBe(0o640);
  const after = await readFile(file, "utf8");
  const kept = before.split("\n").filter((line) => /mine|dark|gpt|rules|theirs|name/.test(line));
  expect(after.split("\n")).toEqual(expect.arrayContaining(kept));
  expect(after.replace(/\s/g, "")).toMatch(/"other":\{"command":"other","env":\{"A":"1"\}|command="other"/);
  expect(after.match(/gatehouse/g)?.length).toBe(1);
  expect((await readdir(dirname(real))).sort()).toEqual(["mine", "mine.bak"]);
  expect(await meJson(home, ["mcp", "install", client])).toMatchObject({ changed: false });
});

test("a file that can't be read stays as it is", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  for (const [client, text] of Object.entries({ cursor: "{ broken", codex: "[broken", claude: "[]" })) {
    const { file } = await meJson(home, ["mcp", "install", client, "--print"]);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    const { code, stderr } = await me(home, ["mcp", "install", client]);
    expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("Nothing was changed")]);
    expect(await readFile(file, "utf8")).toBe(text);
  }
  // A table that is written in one line can't be replaced by lines.
  const { file } = await meJson(home, ["mcp", "install", "codex", "--print"]);
  await writeFile(file, 'mcp_servers = { gatehouse = { command = "old" } }\n');
  expect((await me(home, ["mcp", "install", "codex"])).code).toBe(exitCodes.error);
});

test("an unknown client is named with those there are; a folder's own configuration is written there", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const { code, stderr } = await me(home, ["mcp", "install", "emacs"]);
  expect([code, stderr]).toEqual([exitCodes.usage, expect.stringContaining(Object.keys(mcpClients).join(", "))]);
  expect((await me(home, ["mcp", "install", "claude-desktop", "--project"])).code).toBe(exitCodes.usage);
  const { file } = await meJson(home, ["mcp", "install", "vscode", "--project", "--print"]);
  expect(file).toBe(join(process.cwd(), ".vscode", "mcp.json"));
});

test("me mcp doctor finds what a client would meet", async () => {
  const good = await homeWithKey(at);
  const { ok, findings } = await meJson(good, ["mcp", "doctor", "--read-only"]);
  expect(ok).toBe(true);
  expect(Object.fromEntries(findings.map(({ check, says }: { check: string; says: string }) => [check, says]))).toMatchObject({
    credential: "ada, by a token that may read",
    space: `Acme (${at.slug})`,
    tools: expect.stringMatching(/^\d+ tools; first answer \d+ ms after it was started$/),
  });
  const nobody = await makeHome({ ME_SERVER: at.server.url });
  expect((await me(nobody, ["mcp", "doctor"])).code).toBe(exitCodes["not signed in"]);
  const gone = await makeHome({ ME_SERVER: "http://127.0.0.1:9" });
  const away = await me(gone, ["mcp", "doctor"]);
  expect([away.code, away.stdout]).toEqual([exitCodes.unreachable, expect.stringContaining("FAIL server")]);
});
