import { echo } from "@gatehouse/agent/echo";
import { createChatTransport } from "@gatehouse/client/chat";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { type Relay, startRelay } from "./relay.ts";
import { type Home, makeHome, me, meJson } from "./run.ts";

const BASE = "/tools/gatehouse";

let at: Workplace;
let relay: Relay;
let home: Home;
let address: string;
beforeAll(async () => {
  at = await makeWorkplace();
  relay = await startRelay();
  // The proxy before the server strips the base path; other paths of its host are not the server's.
  relay.before = async (request) => {
    if (!request.path.startsWith(`${BASE}/`)) return false;
    request.path = request.path.slice(BASE.length);
    return true;
  };
  relay.target = at.server.url;
  address = relay.url + BASE;
  home = await makeHome({ ...at.env, ME_SERVER: `${address}/` });
  await at.serve([echo], { server: `${address}/` });
});
afterAll(async () => {
  await relay.close();
  await at.close();
});

test("a server beneath a path is called there by every command, by its workers, and as a stream", async () => {
  expect(await meJson(home, ["whoami"])).toMatchObject({ name: "bot" });
  for (const command of [["doctor"], ["mcp", "doctor"], ["task", "list"]])
    expect(await me(home, command), command.join(" ")).toMatchObject({ code: 0 });
  const { stdout } = await me(home, ["chat", "echo", "--message", "hello", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({ text: "hello" });
});

test("a login there is kept under the whole address, and ends there", async () => {
  const fresh = await makeHome();
  const args = ["login", "--server", address, "--email", at.ada.email];
  expect(await me(fresh, args, { stdin: at.ada.password })).toMatchObject({ code: 0, stdout: `Signed in to ${address} as ada.\n` });
  expect(await meJson(fresh, ["whoami"])).toMatchObject({ id: at.ada.id });
  expect((await me(fresh, ["whoami", "--server", relay.url])).code).toBe(exitCodes["not signed in"]);
  expect((await me(fresh, ["logout"])).stdout).toBe(`Signed out of ${address}.\n`);
});

test("a sign-in that goes by the server's own address says which that is", async () => {
  const { code, stderr } = await me(await makeHome(), ["login", "--device", "--server", address]);
  expect([code, stderr]).toEqual([exitCodes.usage, expect.stringContaining(`goes by the address ${at.server.url}.`)]);
});

test("useChat talks beneath the path", async () => {
  const { session, token } = await at.must("session.create", { task: "echo", message: "from before" });
  const chat = createChatTransport({ server: address, credential: token, session: session.id });
  expect((await chat.messages()).at(0)).toMatchObject({ role: "user" });
});

test.each([
  ["http://ada:secret@127.0.0.1:7070", "must not hold a user name or password"],
  ["http://secret@127.0.0.1:7070/base", "must not hold a user name or password"],
  ["http://127.0.0.1:7070?key=secret", "must end before ? and #"],
  ["http://127.0.0.1:7070/base/?", "must end before ? and #"],
  ["http://127.0.0.1:7070/#secret", "must end before ? and #"],
  ["ftp://secret.example", "must begin with http:// or https://"],
  ["secret", "must begin with http:// or https://"],
])("an address of a server is taken whole or refused: %s", async (wrong, says) => {
  for (const [args, env] of [
    [["whoami", "--server", wrong], {}],
    [["whoami"], { ME_SERVER: wrong }],
    [["mcp"], { ME_SERVER: wrong }],
    [["login", "--email", "a@example.com"], { ME_SERVER: wrong }],
  ] as const) {
    const { code, stdout, stderr } = await me(home, args, { env });
    expect([code, stdout, stderr]).toEqual([exitCodes.usage, "", expect.stringContaining(says)]);
    expect(stderr).not.toContain("secret");
  }
  await expect(at.serve([echo], { server: wrong })).rejects.toThrow(says);
});
