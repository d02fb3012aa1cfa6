import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse as parseToml } from "smol-toml";
import { afterAll, beforeAll, expect, test } from "vitest";
import packageJson from "../package.json" with { type: "json" };
import { mcpClients } from "../packages/cli/src/mcp/clients.ts";
import { runtimeArgs } from "../packages/cli/src/runtime.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { makeHostileFolder } from "./hostile-folder.ts";
import { type Home, ME, makeHome, meJson, type Running, signedIn, start, until } from "./run.ts";

let at: Workplace;
let home: Home;
let hostile: Awaited<ReturnType<typeof makeHostileFolder>>;
beforeAll(async () => {
  at = await makeWorkplace();
  home = await makeHome(at.env);
  hostile = await makeHostileFolder(home);
});
afterAll(async () => {
  hostile.close();
  await at.close();
});

const inFolder = (command: string, args: readonly string[], env: Record<string, string> = {}, stdin: string | null = "") =>
  start(command, args, { ...hostile.env, ...env }, stdin, hostile.folder);

test("the traps of the folder work: Bun alone falls into each", async () => {
  await inFolder(process.execPath, [ME, "whoami"], { ME_SERVER: "", ME_API_KEY: "" }).finished;
  expect((await hostile.taken()).join("\n")).toContain("code ran in");
  const flags = { env: "--no-env-file", bunfig: "--config=/dev/null", tsconfig: "--tsconfig-override=/dev/null" };
  for (const flag of ["bunfig", "tsconfig"] as const) {
    const others = Object.entries(flags).flatMap(([name, arg]) => (name === flag ? [] : [arg]));
    await inFolder(process.execPath, [...others, ME, "--version"]).finished;
    expect(await hostile.taken(), flag).toContainEqual(expect.stringContaining("code ran in"));
  }
  const { ME_SERVER: _, ...unset } = hostile.env;
  await start(process.execPath, [flags.bunfig, flags.tsconfig, ME, "whoami"], unset, "", hostile.folder).finished;
  expect(await hostile.taken()).toEqual([`POST /api/v1/user/rpc Bearer ${home.env.ME_API_KEY}`]);
});

/** Ways to start `me` from a shell. */
const ways = { "its file": () => ME, "a link on PATH": () => hostile.me, "its name": () => "me" };
const commands = [["--version"], ["whoami"], ["doctor"], ["mcp", "doctor"], ["completions", "bash"], ["task", "list"]];

test.each(Object.keys(ways) as (keyof typeof ways)[])("nothing of the current folder configures me, started by %s", async (way) => {
  for (const command of commands) {
    const { code, stderr, stdout } = await inFolder(ways[way](), command).finished;
    expect(code, `${command}: ${stdout}${stderr}`).toBe(0);
    expect(await hostile.taken(), command.join(" ")).toEqual([]);
  }
  const { stdout } = await start(ways[way](), ["whoami"], hostile.env, "", hostile.beneath).finished;
  expect(stdout).toContain(at.server.url);
  expect(await hostile.taken()).toEqual([]);
});

test.each(Object.keys(mcpClients))("%s starts me mcp in a folder that configures nothing of it", async (client) => {
  const { file } = await meJson(home, ["mcp", "install", client]);
  const { format, servers } = mcpClients[client] as (typeof mcpClients)[string];
  const launchIn = (text: string) => ((format === "toml" ? parseToml(text) : JSON.parse(text)) as Entries)[servers]?.gatehouse as Launch;
  const { command, args } = launchIn(await readFile(file, "utf8"));
  const printed = await inFolder("me", ["mcp", "install", client, "--print"]).finished;
  expect(launchIn(printed.stdout)).toMatchObject({ command, args });
  const running = inFolder(command, args, {}, null);
  expect(await calling(running, "whoami")).toContain("bot");
  running.child.stdin?.end();
  await running.finished;
  expect(await hostile.taken()).toEqual([]);
});
type Launch = { command: string; args: string[] };
type Entries = Record<string, Record<string, Launch>>;

/** Calls a tool of `me mcp`. @returns its answer */
async function calling(running: Running, name: string): Promise<string> {
  const clientInfo = { name: "tests", version: "1" };
  const messages = [
    { id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } },
    { method: "notifications/initialized" },
    { id: 2, method: "tools/call", params: { name, arguments: {} } },
  ];
  for (const message of messages) running.child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  return until(
    () => `${name} is answered; it said: ${running.stderr()}`,
    () => /^.*"id":2.*$/m.exec(running.stdout())?.[0],
  );
}

test("nobody's browser of the current folder is opened by me login", async () => {
  const { stderr } = await inFolder("me", ["login", "--timeout", "1"], { ME_API_KEY: "" }).finished;
  expect(stderr).toContain("Nobody is at a terminal");
  expect(await hostile.taken()).toEqual([]);
});

test("the process that asks the keychain takes nothing from the current folder", async () => {
  const { home: person, user } = await signedIn(at.server, "ben");
  const env = { ...person.env, PATH: hostile.env.PATH as string, ME_KEYCHAIN: "on", ME_SERVER: at.server.url };
  const { code, stderr } = await start("me", ["login", "--email", user.email], env, user.password, hostile.folder).finished;
  expect(code, stderr).toBe(0);
  expect(await hostile.taken()).toEqual([]);
});

/** A folder with an agent that says what its process was given; its tsconfig.json maps what it imports. */
async function makeAgent(): Promise<string> {
  const folder = join(home.folder, "agents");
  await mkdir(join(folder, "node_modules", "@gatehouse"), { recursive: true });
  await mkdir(join(folder, "lib"));
  await symlink(join(import.meta.dirname, "..", "packages", "agent"), join(folder, "node_modules", "@gatehouse", "agent"));
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: { paths: { "lib/*": ["./lib/*"] } } }));
  await writeFile(join(folder, "lib", "says.ts"), 'export const says = () => [process.env.PLANTED, process.cwd()].join(" ");');
  const file = join(folder, "agents.ts");
  const code = `import { chatAgent } from "@gatehouse/agent"; import { says } from "lib/says.ts";
    export const helper = chatAgent({ id: "helper", run: () => says() });`;
  await writeFile(file, code);
  return file;
}

test("me agent run gives an agent its own tsconfig and the current folder, and only the variables that are asked for", async () => {
  const file = await makeAgent();
  const serve = async (...more: string[]) => {
    const running = inFolder("me", ["agent", "run", file, "--no-watch", ...more], {}, null);
    await until(
      () => `it serves; it said:\n${running.stderr()}`,
      () => running.stderr().includes("Serving helper"),
    );
    const { text } = await at.answered(await at.start("helper", "hello"));
    running.child.kill("SIGINT");
    await running.finished;
    return text;
  };
  expect(await serve()).toBe(` ${hostile.folder}`);
  expect(await hostile.taken()).toEqual([]);
  await writeFile(join(home.folder, "own.env"), "PLANTED=asked for\nME_API_KEY=the shell's is used\n");
  expect(await serve("--env-file", join(home.folder, "own.env"))).toBe(`asked for ${hostile.folder}`);
  expect(await hostile.taken()).toEqual([]);
  const { code, stderr } = await inFolder("me", ["agent", "run", file, "--env-file", "missing.env"]).finished;
  expect([code, stderr]).toEqual([2, "Error: --env-file missing.env can't be read (ENOENT).\n"]);
});

test("me up, with the database that comes along, takes nothing from the current folder", async () => {
  const running = inFolder("me", ["up"], { PORT: "0", ME_API_KEY: "" }, null);
  const served = await until(
    () => `me up is ready; it said:\n${running.stderr()}`,
    () => /^Ready: (\S+)$/m.exec(running.stderr())?.[1],
  );
  expect(served).not.toBe(hostile.url);
  running.child.kill("SIGTERM");
  expect((await running.finished).code).toBe(0);
  expect(await hostile.taken()).toEqual([]);
});

test("each program that starts main.ts by Bun gives the same arguments", async () => {
  const args = runtimeArgs.join(" ");
  expect((await readFile(ME, "utf8")).split("\n")[0]).toBe(`#!/usr/bin/env -S bun ${args}`);
  const starting = Object.entries(packageJson.scripts).filter(([, script]) => script.includes("main.ts"));
  expect(starting.map(([name]) => name)).toEqual(["start", "me"]);
  for (const [, script] of starting) expect(script).toContain(`bun ${args} packages/cli/src/main.ts`);
});
