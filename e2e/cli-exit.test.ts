import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Home, makeHome, me, meJson, signedIn } from "./run.ts";

let server: TestServer;
let home: Home;
let agentKey: string;
beforeAll(async () => {
  server = await startTestServer();
  ({ home } = await signedIn(server, "Ada"));
  await meJson(home, ["agent", "create", "bot"]);
  agentKey = (await meJson(home, ["apikey", "create", "--agent", "bot", "--name", "laptop"])).key;
});
afterAll(() => server.close());

const asAgent = () => ({ ME_API_KEY: agentKey });
const nowhere = () => ({ ME_SERVER: "http://127.0.0.1:1", ...asAgent() });
const signedOut = async () => ({ ...(await makeHome()).env, ME_SERVER: server.url });

type Ending = [code: number, when: string, args: string[], error: string, env?: () => object | Promise<object>];
const endings: Ending[] = [
  [1, "something here is broken", ["whoami"], "ERROR", () => ({ XDG_CONFIG_HOME: "/dev/null" })],
  [2, "the command is wrong", ["apikey", "create", "--name", "x"], "USAGE"],
  [2, "the server finds a value wrong", ["agent", "create", " "], "INVALID_PARAMS"],
  [2, "a variable is wrong", ["whoami"], "USAGE", () => ({ ME_SERVER: "nonsense" })],
  [3, "nobody is signed in", ["whoami"], "NOT_SIGNED_IN", signedOut],
  [3, "the key is no key", ["whoami"], "UNAUTHENTICATED", () => ({ ME_API_KEY: "me_pat_x" })],
  [4, "it is forbidden", ["agent", "list"], "FORBIDDEN", asAgent],
  [5, "it is not there", ["agent", "get", "nobody"], "NOT_FOUND"],
  [5, "the server knows no such space", ["space", "rename", "nowhere", "x"], "NOT_FOUND"],
  [6, "it is taken", ["agent", "create", "BOT"], "CONFLICT"],
  [7, "no server answers", ["whoami"], "UNREACHABLE", nowhere],
  [7, "no server answers what writes", ["agent", "create", "x"], "UNREACHABLE", nowhere],
];

test("0 when it is done: the result on stdout, and nothing else said", async () => {
  const { code, stdout, stderr } = await me(home, ["whoami"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("Ada");
});

test.each(endings)("%i when %s, told on stderr alone", async (code, _when, args, error, env) => {
  const extra = { env: (await env?.()) as Record<string, string> | undefined };
  const forPeople = await me(home, args, extra);
  expect({ code: forPeople.code, stdout: forPeople.stdout }).toEqual({ code, stdout: "" });
  expect(forPeople.stderr).toMatch(/^Error: .+\n$/);
  const forScripts = await me(home, [...args, "--json"], extra);
  expect({ code: forScripts.code, stdout: forScripts.stdout }).toEqual({ code, stdout: "" });
  expect(JSON.parse(forScripts.stderr).error).toMatchObject({ code: error, message: forPeople.stderr.slice("Error: ".length, -1) });
});
