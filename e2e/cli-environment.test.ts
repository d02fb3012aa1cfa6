import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { runtimeArgs } from "../packages/cli/src/runtime.ts";
import { onDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { startReceiver } from "./receiver.ts";
import { type Home, ME, makeHome, me, signedIn, start } from "./run.ts";
import { atTerminal } from "./terminal.ts";

let server: TestServer;
let home: Home;
let user: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
});
afterAll(() => server.close());

const ESCAPE = "\u001b[";
/** Commands that show something in color, each by another piece of code. */
const colored = [["whoami"], ["doctor"], ["space", "list"]];

/** Variables of the environment, and whether there are colors then: in a pipe, and at a terminal. */
const conventions: [env: Record<string, string>, piped: boolean, atTerminal: boolean][] = [
  [{}, false, true],
  [{ CI: "true" }, false, false],
  [{ NO_COLOR: "1" }, false, false],
  [{ NO_COLOR: "" }, false, true],
  [{ TERM: "dumb" }, false, false],
  [{ FORCE_COLOR: "" }, false, true],
  [{ FORCE_COLOR: "", CI: "true" }, false, false],
  [{ FORCE_COLOR: "0" }, false, false],
  [{ FORCE_COLOR: "false" }, false, false],
  [{ FORCE_COLOR: "1" }, true, true],
  [{ FORCE_COLOR: "2" }, true, true],
  [{ FORCE_COLOR: "3" }, true, true],
  [{ FORCE_COLOR: "true" }, true, true],
  [{ FORCE_COLOR: "1", CI: "true" }, true, true],
  [{ FORCE_COLOR: "0", CI: "true" }, false, false],
];

test.each(conventions)("with %j there are colors in a pipe: %j, and at a terminal: %j", async (env, piped, shown) => {
  await me(home, ["space", "create", "Acme"]);
  for (const command of colored) {
    const { stdout, stderr } = await me(home, command, { env });
    expect([stdout.includes(ESCAPE), stderr.includes(ESCAPE)], command.join(" ")).toEqual([piped, false]);
  }
  const { raw } = await atTerminal(home, ["whoami"], env).over();
  expect(raw.includes(ESCAPE)).toBe(shown);
});

test.each([
  ["me", {}],
  ["mine", { OTEL_SERVICE_NAME: "mine" }],
  ["by attribute", { OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test, service.name=by%20attribute" }],
  ["first", { OTEL_SERVICE_NAME: "first", OTEL_RESOURCE_ATTRIBUTES: "service.name=second" }],
  ["me", { OTEL_SERVICE_NAME: "", OTEL_RESOURCE_ATTRIBUTES: "my.service.name=other,service.namespace=x" }],
  ...["service.name=y,bad", "service.name=a=b", "service.name=%zz", "service.name"].map((unread): [string, NodeJS.ProcessEnv] => [
    "me",
    { OTEL_RESOURCE_ATTRIBUTES: unread },
  ]),
  ["me", { OTEL_SERVICE_NAME: "  " }],
  ["second", { OTEL_SERVICE_NAME: "  ", OTEL_RESOURCE_ATTRIBUTES: "service.name=second" }],
])("the traces of me appear as %s with %j", async (service, env) => {
  const receiver = await startReceiver();
  const { code } = await me(home, ["whoami"], { env: { ...receiver.env, ...env } as Record<string, string> });
  expect(code).toBe(0);
  expect([...new Set(receiver.spans().map((span) => span.service))]).toEqual([service]);
  receiver.close();
});

/** An empty current folder, in which nothing must ever be written. */
async function makeProject(at: Home): Promise<string> {
  await mkdir(join(at.folder, "project"));
  return join(at.folder, "project");
}

test("a relative XDG_CONFIG_HOME counts as not set: a login goes into the home folder, not into the project", async () => {
  const fresh = await makeHome({ XDG_CONFIG_HOME: "config", CODEX_HOME: "codex" });
  const project = await makeProject(fresh);
  const run = (...args: string[]) => start(process.execPath, [ME, ...args], fresh.env, user.password, project).finished;
  expect(await run("login", "--server", server.url, "--email", user.email)).toMatchObject({ code: 0 });
  for (const client of ["codex", "vscode"]) expect(await run("mcp", "install", client)).toMatchObject({ code: 0 });
  expect(await readdir(project)).toEqual([]);
  expect(existsSync(join(fresh.folder, ".config", "gatehouse", "credentials.json"))).toBe(true);
});

test.each([{ XDG_CACHE_HOME: "ca" }, { XDG_CACHE_HOME: "", HOME: "here" }])(
  "nothing is cached in the project with %j",
  async (relative) => {
    const fresh = await makeHome({ ME_API_KEY: home.env.ME_API_KEY as string, ME_SERVER: server.url });
    const project = await makeProject(fresh);
    const { BUN_RUNTIME_TRANSPILER_CACHE_PATH: _, ...env } = {
      ...fresh.env,
      XDG_CONFIG_HOME: fresh.folder,
      ...relative,
    } as NodeJS.ProcessEnv;
    for (const args of [["--version"], ["whoami"], ["mcp", "doctor"], ["login", "--timeout", "1"]]) {
      const { code, stderr } = await start(process.execPath, [...runtimeArgs, ME, ...args], env as Record<string, string>, "", project)
        .finished;
      expect(code, `${args}: ${stderr}`).not.toBeNull();
      expect(await readdir(project), args.join(" ")).toEqual([]);
    }
  },
);

test("a relative XDG_DATA_HOME counts as not set for the server and its operator's commands", async () => {
  const fresh = await makeHome({ XDG_DATA_HOME: "share" });
  const project = await makeProject(fresh);
  const args = [ME, "user", "create", "--email", "ben@example.com", "--name", "Ben"];
  const { code, stderr } = await start(process.execPath, args, fresh.env, "a password of ben's own", project).finished;
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  expect(await readdir(project)).toEqual([]);
  expect(existsSync(join(fresh.folder, ".local", "share", "gatehouse"))).toBe(true);
});

test("a relative HOME is refused before anything is written, unless nothing is kept in it", async () => {
  const fresh = await makeHome({ HOME: "here" });
  const project = await makeProject(fresh);
  const { XDG_CONFIG_HOME: _config, XDG_DATA_HOME: _data, ...bare } = fresh.env as Record<string, string>;
  const run = (env: Record<string, string>, ...args: string[]) =>
    start(process.execPath, [ME, ...args], env, user.password, project).finished;
  const login = await run(bare, "login", "--server", server.url, "--email", user.email);
  expect([login.code, login.stderr]).toEqual([exitCodes.usage, "Error: HOME must be an absolute path: it is where me keeps things.\n"]);
  const migrate = await run({ ...bare, XDG_CONFIG_HOME: fresh.folder }, "migrate");
  expect([migrate.code, migrate.stderr]).toEqual([exitCodes.error, expect.stringContaining("HOME: must be an absolute path")]);
  const elsewhere = {
    ...bare,
    XDG_CONFIG_HOME: fresh.folder,
    GATEHOUSE_DATA: join(fresh.folder, "data"),
    ...onDatabase(server.databaseUrl),
  };
  expect(await run(elsewhere, "migrate")).toMatchObject({ code: 0 });
  expect(await readdir(project)).toEqual([]);
});
