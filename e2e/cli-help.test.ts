import { beforeAll, expect, test } from "vitest";
import { type Finished, type Home, makeHome, me, start } from "./run.ts";

/** Every command that does something, with its place in the tree. */
const COMMANDS = [
  "whoami",
  "login",
  "logout",
  "space list",
  "space create",
  "space rename",
  "space delete",
  "space use",
  "space get",
  "space members",
  "space leave",
  "principal list",
  "principal add",
  "principal set-admin",
  "principal remove",
  "principal resolve",
  "group list",
  "group mine",
  "group create",
  "group rename",
  "group delete",
  "group add",
  "group remove",
  "group set-admin",
  "group members",
  "access grant",
  "access revoke",
  "access list",
  "access mine",
  "access check",
  "access explain",
  "invite create",
  "invite list",
  "invite revoke",
  "invite pending",
  "invite accept",
  "invite decline",
  "audit",
  "agent create",
  "agent list",
  "agent get",
  "agent spaces",
  "agent rename",
  "agent delete",
  "agent run",
  "agent add",
  "agent transfer",
  "agent offers",
  "agent accept",
  "agent decline",
  "apikey create",
  "apikey list",
  "apikey get",
  "apikey rotate",
  "apikey revoke",
  "token create",
  "token exchange",
  "token inspect",
  "token revoke",
  "secretkey create",
  "secretkey list",
  "secretkey rotate",
  "secretkey revoke",
  "task list",
  "task get",
  "task delete",
  "session create",
  "session list",
  "session get",
  "session events",
  "session send",
  "session stop",
  "session close",
  "session delete",
  "chat",
  "mcp install",
  "mcp doctor",
  "policy",
  "up",
  "user create",
  "keys rotate",
  "migrate",
  "doctor",
  "completions",
];

let home: Home;
const helps = new Map<string, Finished>();

/** Reads the help of a command and of all beneath it, found by what the help itself lists. */
async function walk(path: string[]): Promise<void> {
  const help = await me(home, [...path, "--help"]);
  helps.set(path.join(" "), help);
  const listed = help.stdout.split("\nCommands:\n")[1]?.split("\n\n")[0] ?? "";
  for (const [, name = ""] of listed.matchAll(/^ {2}(\w\S*)/gm)) if (name !== "help") await walk([...path, name]);
}

beforeAll(async () => {
  home = await makeHome();
  await walk([]);
});

test("the tree holds every command, and no other", () => {
  const leaves = [...helps.keys()].filter((path) => ![...helps.keys()].some((other) => other !== path && other.startsWith(`${path} `)));
  expect(leaves.filter(Boolean)).toEqual(COMMANDS);
});

test.each(COMMANDS)("me %s: its help has an example and --json", (path) => {
  const { code, stdout, stderr } = helps.get(path) as Finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^ {2}--json /m);
  const examples = stdout.split("\nExamples:\n")[1]?.trim().split("\n") ?? [];
  expect(examples.length).toBeGreaterThan(0);
  for (const example of examples) expect(example.trim()).toMatch(new RegExp(`^\\$ (\\w+=\\S+ |eval "\\$\\()?me ${path}\\b`));
});

test.each([
  ["no command", []],
  ["a noun alone", ["agent"]],
  ["an unknown command", ["agnet"]],
  ["an unknown option", ["whoami", "--nope"]],
  ["a missing argument", ["agent", "create"]],
  ["an argument too many", ["whoami", "me"]],
  ["a missing option", ["apikey", "create", "--self"]],
])("%s is a usage error, told on stderr alone", async (_what, args) => {
  const { code, stdout, stderr } = await me(home, args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/--help|Usage/);
});

test("completions are scripts, which ask me what can follow", async () => {
  const script = async (shell: string) => {
    const { code, stdout, stderr } = await me(home, ["completions", shell]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse((await me(home, ["completions", shell, "--json"])).stdout)).toEqual({ shell, script: stdout.slice(0, -1) });
    return stdout;
  };
  const bash = await script("bash");
  expect(await start("bash", ["-n"], home.env, bash).finished).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(bash).toContain("me complete --");
  expect(await script("zsh")).toMatch(/^#compdef me\n/);
  expect(await script("fish")).toContain("complete -c me");
  expect((await me(home, ["completions", "tcsh"])).code).toBe(2);
  expect((await me(home, ["complete", "--", "apikey", "r"])).stdout).toMatch(/^rotate\t.*\nrevoke\t.*\n/);
});
