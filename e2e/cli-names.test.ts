import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { word } from "../packages/cli/src/output.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, me, meJson, signedIn } from "./run.ts";

/** Clears a screen in two ways, writes a title, and turns text around: what the API refuses, but a database may hold. */
const EVIL = "evil\u001b[2J\u009b2J\u001b]0;title\u0007\r\n\u202egnp";
/** All that steers a terminal, but the newlines that end lines. */
const STEERING = /[^\P{Cc}\n]|\p{Bidi_Control}/u;

let server: TestServer;
let home: Home;
let user: TestUser;
let ids: { agent: string; key: string; slug: string };
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
  const { id: agent } = await meJson(home, ["agent", "create", "a"]);
  const { id: key } = await meJson(home, ["apikey", "create", "--agent", "a", "--name", "k"]);
  const { slug } = await meJson(home, ["space", "create", "s"]);
  await meJson(home, ["space", "create", "s"]);
  ids = { agent, key, slug };
  await server.sql`update principals set name = ${EVIL} where id in (${agent}, ${user.id})`;
  await server.sql`update auth."user" set name = ${EVIL} where id = ${user.id}`;
  await server.sql`update api_keys set name = ${EVIL}`;
  await server.sql`update spaces set name = ${EVIL}`;
});
afterAll(() => server.close());

const commands: [string, () => string[], string?][] = [
  ["whoami", () => ["whoami"]],
  ["agent list", () => ["agent", "list"]],
  ["agent get", () => ["agent", "get", ids.agent]],
  ["agent delete", () => ["agent", "delete", ids.agent]],
  ["apikey list", () => ["apikey", "list"]],
  ["apikey get", () => ["apikey", "get", ids.key]],
  ["apikey revoke", () => ["apikey", "revoke", ids.key]],
  ["space list", () => ["space", "list"]],
  ["space use", () => ["space", "use", ids.slug]],
  ["space delete", () => ["space", "delete", ids.slug]],
  ["doctor", () => ["doctor"]],
];

test.each(commands)("me %s shows an evil name, but not what steers a terminal", async (_what, args) => {
  for (const more of [[], ["--json"]]) {
    const { stdout, stderr } = await me(home, [...args(), ...more]);
    expect(stdout + stderr).toContain("evil");
    expect(stdout + stderr).not.toMatch(STEERING);
  }
});

test("me login greets an evil name alike", async () => {
  const { stdout } = await me(home, ["login", "--server", server.url, "--email", user.email], { stdin: user.password });
  expect(stdout).toContain("evil");
  expect(stdout).not.toMatch(STEERING);
});

test("a conversation shows what others said in it, keys of JSON as well, but not what steers a terminal", async () => {
  const said = { task: "t", externalId: "o1", metadata: { [EVIL]: "x" }, message: "hello" };
  const action = { name: "n", data: { [EVIL]: [{ [EVIL]: 1 }] } };
  expect((await server.call(user.session, "session.create", said, ids.slug)).error).toBeUndefined();
  expect((await server.call(user.session, "session.send", { session: "o1", action }, ids.slug)).error).toBeUndefined();
  for (const what of ["get", "events"])
    for (const more of [[], ["--json"]]) {
      const { stdout, stderr } = await me(home, ["session", what, "o1", ...more], { env: { ME_SPACE: ids.slug } });
      expect(stdout).toContain("evil");
      expect(stdout + stderr).not.toMatch(STEERING);
    }
});

test("--json still holds the name itself", async () => {
  expect((await meJson(home, ["agent", "get", ids.agent])).name).toBe(EVIL);
});

test("a name finds its thing, however it is composed", async () => {
  const { home } = await signedIn(server, "Eve");
  const [composed, decomposed] = ["Caf\u00e9", "CAFE\u0301"];
  await meJson(home, ["space", "create", composed]);
  await me(home, ["space", "use", decomposed]);
  const { id } = await meJson(home, ["agent", "create", composed]);
  expect((await meJson(home, ["agent", "get", decomposed])).id).toBe(id);
  const key = await meJson(home, ["apikey", "create", "--self", "--name", composed]);
  expect((await meJson(home, ["apikey", "get", decomposed])).id).toBe(key.id);
  const group = await meJson(home, ["group", "create", composed]);
  expect((await meJson(home, ["group", "rename", decomposed, "Tea"])).id).toBe(group.id);
});

test("a command that is shown to be copied does nothing else in a shell, whatever others named their things", async () => {
  const run = async (shown: string, args: string[]) => {
    const command = shown.slice(shown.indexOf(": me ") + 2).trim();
    const { stdout } = await promisify(execFile)("/bin/sh", ["-c", `me() { printf '%s\\n' "$@"; }; ${command}`]);
    expect(stdout.trim().split("\n")).toEqual(args);
  };
  const { slug } = await meJson(home, ["space", "create", "t"]);
  const name = "helper $(echo pwned) 'x' `echo pwned`";
  const created = await me(home, ["agent", "create", name]);
  const [, id = ""] = /\(([0-9a-f-]{36})\)/.exec(created.stdout) ?? [];
  await run(created.stdout, ["apikey", "create", "--agent", id, "--name", "KEY-NAME"]);
  const added = await me(home, ["agent", "add", id], { env: { ME_SPACE: slug } });
  await run(added.stdout, ["access", "grant", id, "PERMISSION"]);
  for (const text of [name, "it's", "~root", "=ls", "a;b", "$HOME", "order-42", "http://127.0.0.1:7070/a"])
    await run(`: me chat --session ${word(text)}`, ["chat", "--session", text]);
});
