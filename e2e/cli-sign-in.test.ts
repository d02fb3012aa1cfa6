import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, makeHome, me, meJson, signedIn } from "./run.ts";

let server: TestServer;
let other: TestServer;
let home: Home;
let user: TestUser;
beforeAll(async () => {
  [server, other] = await Promise.all([startTestServer(), startTestServer()]);
  ({ home, user } = await signedIn(server, "Ada"));
});
afterAll(() => Promise.all([server.close(), other.close()]));

const storeOf = ({ env }: Home) => join(String(env.XDG_CONFIG_HOME), "gatehouse", "credentials.json");
const kept = async (of: Home) => JSON.parse(await readFile(storeOf(of), "utf8"));
const mode = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
const login = (at: Home, to: TestServer, as: TestUser, password = as.password) =>
  me(at, ["login", "--server", to.url, "--email", as.email], { stdin: `${password}\n` });

test("signing in keeps a session, in a file that only its owner reads", async () => {
  const fresh = await makeHome();
  const { code, stdout, stderr } = await login(fresh, server, user);
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `Signed in to ${server.url} as Ada.\n`, stderr: "" });
  expect([await mode(storeOf(fresh)), await mode(dirname(storeOf(fresh)))]).toEqual(["600", "700"]);
  const { current, servers } = await kept(fresh);
  expect(current).toBe(server.url);
  expect((await server.call(servers[server.url].token, "whoami")).result.email).toBe(user.email);
});

test("a wrong password signs nobody in, and is repeated nowhere", async () => {
  const fresh = await makeHome();
  const { code, stdout, stderr } = await login(fresh, server, user, "not the right password");
  expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
  expect(stderr).toContain("The e-mail address or the password is wrong.");
  expect(stderr).not.toContain("not the right password");
  await expect(kept(fresh)).rejects.toThrow("ENOENT");
});

test("without terminal and without password there is nothing to sign in with", async () => {
  expect(await me(home, ["login", "--email", user.email])).toMatchObject({ code: 2, stdout: "" });
  const { code, stderr } = await me(home, ["login"], { stdin: user.password });
  expect(code).toBe(2);
  expect(stderr).toContain("--email ADDRESS");
});

test("signing out ends the session on the server, and forgets it here", async () => {
  const fresh = await makeHome();
  await login(fresh, server, user);
  const { token } = (await kept(fresh)).servers[server.url];
  expect((await me(fresh, ["logout"])).stdout).toBe(`Signed out of ${server.url}.\n`);
  expect(await readFile(storeOf(fresh), "utf8")).not.toContain(token);
  expect((await server.call(token, "whoami")).status).toBe(401);
  expect((await me(fresh, ["logout"])).code).toBe(3);
});

test("two who sign in at once are both kept", async () => {
  const fresh = await makeHome();
  const elsewhere = await other.user("Ada");
  const both = await Promise.all([login(fresh, server, user), login(fresh, other, elsewhere)]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(Object.keys((await kept(fresh)).servers).sort()).toEqual([server.url, other.url].sort());
});

test("a session is sent to its own server, and never to another", async () => {
  const seen: IncomingHttpHeaders[] = [];
  const stranger = createServer((request, response) => {
    seen.push(request.headers);
    response.writeHead(200).end("{}");
  }).listen(0, "127.0.0.1");
  const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`;
  try {
    for (const args of [["whoami"], ["agent", "list"], ["logout"]]) {
      expect((await me(home, [...args, "--server", url])).code).toBe(3);
      expect((await me(home, args, { env: { ME_SERVER: url } })).code).toBe(3);
    }
    await me(home, ["doctor", "--server", url]);
    expect(seen.length).toBeGreaterThan(0);
    for (const headers of seen) expect(headers.authorization ?? headers.cookie).toBeUndefined();
  } finally {
    stranger.close();
  }
  expect((await meJson(home, ["whoami"])).id).toBe(user.id);
});

test("ME_API_KEY goes before the session, and ME_SERVER before the server signed in to", async () => {
  await meJson(home, ["agent", "create", "bot"]);
  const { key } = await meJson(home, ["apikey", "create", "--agent", "bot", "--name", "k"]);
  const env = { ME_API_KEY: key };
  expect((await meJson(home, ["whoami"], { env })).name).toBe("bot");
  const fresh = await makeHome();
  expect((await meJson(fresh, ["whoami"], { env: { ...env, ME_SERVER: server.url } })).name).toBe("bot");
  expect((await meJson(fresh, ["whoami", "--server", server.url], { env: { ...env, ME_SERVER: other.url } })).name).toBe("bot");
  expect(await me(fresh, ["whoami"], { env: { ...env, ME_SERVER: other.url } })).toMatchObject({ code: 3, stdout: "" });
  const { stderr } = await me(fresh, ["login", "--server", server.url, "--email", user.email], { env, stdin: user.password });
  expect(stderr).toContain("ME_API_KEY is set");
});

test("a damaged store is said to be, with the way out", async () => {
  const fresh = await makeHome();
  await login(fresh, server, user);
  await writeFile(storeOf(fresh), "{");
  const { code, stderr } = await me(fresh, ["whoami"]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${storeOf(fresh)} is damaged. Remove it`);
});
