import { once } from "node:events";
import { lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { parse as parseToml } from "smol-toml";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Finding } from "../packages/cli/src/doctor.ts";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { mcpClients } from "../packages/cli/src/mcp/clients.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { homeWithKey } from "./mcp.ts";
import { type Home, ME, makeHome, me, meJson, signedIn, start } from "./run.ts";

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
  expect(entryIn(client, after.replace(/^\s*\/\/.*$/gm, "").replace(/,(\s*})/g, "$1"))).toMatchObject({
    args: expect.arrayContaining(["mcp"]),
  });
  expect((await readdir(dirname(real))).sort()).toEqual(["mine", "mine.bak"]);
  expect(await meJson(home, ["mcp", "install", client])).toMatchObject({ changed: false });
});

/** A home whose configuration of a client is this, to the byte. */
async function configured(client: string, contents: string | Uint8Array) {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const { file } = await meJson(home, ["mcp", "install", client, "--print"]);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, contents);
  return { home, file };
}

test("what an entry says besides stays, with its comments; one that is reached at an address is replaced", async () => {
  const json = `{
  "mcpServers": {
    "gatehouse": { "command": "old", "env": { "A": "1" }, /* mine */ "disabled": true }
  }
}
`;
  const cursor = await configured("cursor", json);
  await meJson(cursor.home, ["mcp", "install", "cursor"]);
  const edited = await readFile(cursor.file, "utf8");
  const { command = "", args = [] } = entryIn("cursor", edited.replace("/* mine */", "")) ?? {};
  expect(edited).toContain("/* mine */");
  expect(JSON.parse(edited.replace("/* mine */", ""))).toEqual({
    mcpServers: { gatehouse: { command, args, env: { A: "1" }, disabled: true } },
  });
  const remote = await configured("cursor", '{ "mcpServers": { "gatehouse": { "url": "http://127.0.0.1/mcp", "headers": {} } } }');
  await meJson(remote.home, ["mcp", "install", "cursor"]);
  expect(entryIn("cursor", await readFile(remote.file, "utf8"))).toEqual({ command, args });

  for (const eol of ["\n", "\r\n"]) {
    const toml = (ours: string[]) =>
      [
        "# top",
        '[mcp_servers."gatehouse"] # ours',
        ...ours,
        "startup_timeout_sec = 20",
        "",
        "[mcp_servers.gatehouse.tools.x]",
        "enabled = false",
        "# of the next",
        "[model]",
        'name = """',
        "[mcp_servers.gatehouse]",
        '"""',
        "",
      ].join(eol);
    const codex = await configured("codex", toml(["args = [", '  "a", # b', "]", 'command = "old"']));
    expect(await meJson(codex.home, ["mcp", "install", "codex"])).toMatchObject({ changed: true });
    const lines = [`command = ${JSON.stringify(command)}`, `args = [${args.map((arg) => JSON.stringify(arg)).join(", ")}]`];
    expect(await readFile(codex.file, "utf8")).toBe(toml(lines));
    expect(await meJson(codex.home, ["mcp", "install", "codex"])).toMatchObject({ changed: false });
  }
});

const unfit: [client: string, what: string, contents: string | Uint8Array][] = [
  ["cursor", "broken", "{ broken"],
  ["codex", "broken", "[broken"],
  ["claude", "a list", "[]"],
  ["cursor", "null", "null"],
  ["cursor", "null for its servers", '{ "mcpServers": null }'],
  ["claude", "a list for its servers", '{ "mcpServers": [] }'],
  ["vscode", "a text for its servers", '{ "servers": "x" }'],
  ["cursor", "an entry twice", '{ "mcpServers": { "gatehouse": { "command": "a" }, "gatehouse": { "command": "b" } } }'],
  ["cursor", "its servers twice", '{ "mcpServers": {}, "mcpServers": {} }'],
  ["cursor", "not UTF-8", Buffer.from('{ "name": "Zo\u00eb" }', "latin1")],
  ["codex", "not UTF-8", Buffer.from('name = "Zo\u00eb"\n', "latin1")],
  // Written in one line, it can't be changed by statements.
  ["codex", "a table in one line", 'mcp_servers = { gatehouse = { command = "old" } }\n'],
  ["codex", "a text for its servers", 'mcp_servers = "x"\n'],
];

test.each(unfit)("a configuration of %s that is %s stays as it is, and nothing is beside it", async (client, _what, contents) => {
  const { home, file } = await configured(client, contents);
  const there = await readdir(dirname(file));
  const { code, stdout, stderr } = await me(home, ["mcp", "install", client]);
  expect([code, stdout, stderr]).toEqual([
    exitCodes.error,
    "",
    expect.stringMatching(/^Error: \S+ can't be changed as it is: .*--print.*Nothing was changed\.\n$/),
  ]);
  expect(stderr).toContain(file);
  expect(Buffer.compare(await readFile(file), Buffer.from(contents))).toBe(0);
  expect(await readdir(dirname(file))).toEqual(there);
});

test.each(Object.keys(mcpClients))("a configuration of %s that begins with a byte order mark is set up, and still does", async (client) => {
  const { home, file } = await configured(client, mcpClients[client]?.format === "toml" ? '\ufeffa = "b"\n' : '\ufeff{ "a": "b" }\n');
  expect(await meJson(home, ["mcp", "install", client])).toMatchObject({ changed: true });
  const text = await readFile(file, "utf8");
  expect(text).toMatch(/^\ufeff[^\ufeff]*$/);
  expect(entryIn(client, text.slice(1))?.args).toContain("mcp");
  expect(await meJson(home, ["mcp", "install", client])).toMatchObject({ changed: false });
});

test("what a file was is kept by a name of its own each time", async () => {
  const { home, file } = await configured("cursor", '{ "first": true }');
  await writeFile(`${file}.bak`, "mine");
  const kept: string[] = [];
  for (const more of [[], ["--read-only"], ["--space", "other"]]) {
    const { backup } = await meJson(home, ["mcp", "install", "cursor", ...more]);
    kept.push(backup);
  }
  expect(kept).toEqual([`${file}.2.bak`, `${file}.3.bak`, `${file}.4.bak`]);
  expect(await readFile(`${file}.bak`, "utf8")).toBe("mine");
  expect(await readFile(`${file}.2.bak`, "utf8")).toBe('{ "first": true }');
  expect(await readFile(`${file}.3.bak`, "utf8")).not.toContain("--read-only");
});

test("a link to a file that is not there yet stays a link", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const { file } = await meJson(home, ["mcp", "install", "cursor", "--print"]);
  const real = join(home.folder, "dotfiles", "mcp.json");
  await mkdir(dirname(file), { recursive: true });
  await symlink(join("..", "dotfiles", "mcp.json"), file);
  expect(await meJson(home, ["mcp", "install", "cursor"])).toMatchObject({ file: real, changed: true, backup: null });
  expect((await lstat(file)).isSymbolicLink()).toBe(true);
  expect(entryIn("cursor", await readFile(real, "utf8"))).toBeDefined();
});

test("an unknown client is named with those there are; a folder's own configuration is written there", async () => {
  const home = await makeHome({ ME_SERVER: at.server.url });
  const { code, stderr } = await me(home, ["mcp", "install", "emacs"]);
  expect([code, stderr]).toEqual([exitCodes.usage, expect.stringContaining(Object.keys(mcpClients).join(", "))]);
  expect((await me(home, ["mcp", "install", "claude-desktop", "--project"])).code).toBe(exitCodes.usage);
  const { file } = await meJson(home, ["mcp", "install", "vscode", "--project", "--print"]);
  expect(file).toBe(join(process.cwd(), ".vscode", "mcp.json"));
});

test.each(Object.keys(mcpClients).filter((name) => mcpClients[name]?.projectFile))(
  "of an entry that came with a cloned folder nothing stays: %s",
  async (name) => {
    const home = await makeHome({ ME_SERVER: at.server.url });
    const { projectFile = "", servers, format } = mcpClients[name] as (typeof mcpClients)[string];
    const hostile = { command: "x", args: [], cwd: "/tmp", env: { BUN_OPTIONS: "--preload ./evil.ts" } };
    const file = join(home.folder, projectFile);
    await mkdir(dirname(file), { recursive: true });
    const toml = `[${servers}.gatehouse]\ncommand = "x"\nargs = []\ncwd = "/tmp"\nenv = { BUN_OPTIONS = "--preload ./evil.ts" }\n`;
    await writeFile(file, format === "toml" ? toml : JSON.stringify({ [servers]: { gatehouse: hostile } }));
    const { code } = await start(process.execPath, [ME, "mcp", "install", name, "--project"], home.env, "", home.folder).finished;
    const text = await readFile(file, "utf8");
    expect([code, text]).toEqual([exitCodes.ok, expect.not.stringMatching(/evil|BUN_OPTIONS|cwd/)]);
  },
);

const says = async (home: Home, args: string[] = []) => {
  const { code, stdout } = await me(home, ["mcp", "doctor", "--json", ...args]);
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] };
  return { code, ok, found: Object.fromEntries(findings.map(({ check, ok, says }) => [check, `${ok ? "ok" : "FAIL"} ${says}`])) };
};

test("me mcp doctor finds what a client would meet, and says what the client must be given", async () => {
  const good = await homeWithKey(at);
  expect(await says(good, ["--read-only"])).toMatchObject({
    ok: true,
    found: {
      credential: expect.stringMatching(
        /^ok ada, by a token that may read\. That is ME_API_KEY of this shell: the client must be given it/,
      ),
      space: `ok Acme (${at.slug})`,
      tools: expect.stringMatching(/^ok \d+ tools; first answer \d+ ms after it was started$/),
    },
  });
  const { home, user } = await signedIn(at.server, "doris");
  await at.server.join(at.slug, at.ada, user);
  const { ok, found } = await says(home);
  expect([ok, found.credential]).toEqual([true, expect.stringMatching(/^ok doris, (?!.*ME_API_KEY)/)]);
});

test("me mcp doctor counts no tools where none can be called", async () => {
  const nobody = await makeHome({ ME_SERVER: at.server.url });
  expect(await says(nobody)).toMatchObject({
    code: exitCodes["not signed in"],
    ok: false,
    found: { credential: expect.stringMatching(/^FAIL .*me login/), tools: expect.stringMatching(/^FAIL none can be called\. .*me login/) },
  });
  const gone = await makeHome({ ME_SERVER: "http://127.0.0.1:9", ME_API_KEY: (await homeWithKey(at)).env.ME_API_KEY as string });
  expect(await says(gone)).toMatchObject({
    code: exitCodes.unreachable,
    found: { server: expect.stringMatching(/^FAIL/), tools: expect.stringMatching(/^FAIL none can be called/) },
  });
  const other = createServer((_request, response) => void response.end("<html>")).listen(0, "127.0.0.1");
  await once(other, "listening");
  const strange = { ...gone, env: { ...gone.env, ME_SERVER: `http://127.0.0.1:${(other.address() as AddressInfo).port}` } };
  expect((await says(strange)).found.tools).toMatch(/^FAIL none can be called/);
  other.close();
});

test("the space that the shell names is written, as the client may not have it", async () => {
  const home = await homeWithKey(at);
  const { file } = await meJson(home, ["mcp", "install", "cursor"]);
  expect(entryIn("cursor", await readFile(file, "utf8"))?.args.slice(-2)).toEqual(["--space", at.slug]);
});

test.each([
  ["a link to a file that is there", ".mcp.json", "there.json"],
  ["a link to a file that is not there yet", ".mcp.json", "not-there.json"],
  ["a folder that is a link", ".cursor", "."],
  ["a folder that is a link to a folder that is not there", ".cursor", "not-there"],
])("with --project nothing is written outside of the folder, be there %s", async (_what, link, to) => {
  const home = await makeHome({ ME_SERVER: "http://127.0.0.1:1" });
  const [project, elsewhere] = [join(home.folder, "project"), join(home.folder, "elsewhere")];
  await mkdir(project);
  await mkdir(elsewhere);
  await writeFile(join(elsewhere, "there.json"), "{}");
  await symlink(join(elsewhere, to), join(project, link));
  const client = link === ".cursor" ? "cursor" : "claude";
  const { code, stderr } = await start(process.execPath, [ME, "mcp", "install", client, "--project"], home.env, "", project).finished;
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("leads out of this folder")]);
  expect(await readdir(elsewhere)).toEqual(["there.json"]);
  expect(await readFile(join(elsewhere, "there.json"), "utf8")).toBe("{}");
  expect(await readdir(project)).toEqual([link]);
});
