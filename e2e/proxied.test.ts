import { once } from "node:events";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { Issuer } from "./oidc-issuer.ts";
import { type Home, ME, makeHome, me, meJson, start, startUp, until } from "./run.ts";

let at: Workplace;
let proxy: Awaited<ReturnType<typeof startForwardProxy>>;
let home: Home;
beforeAll(async () => {
  at = await makeWorkplace();
  proxy = await startForwardProxy(at.server.url);
  home = await makeHome({ ...at.env, ...proxy.env });
});
afterAll(async () => {
  proxy.close();
  await at.close();
});
beforeEach(() => void proxy.asked.splice(0));

/** A proxy as companies have one, which writes down what it is asked for. Every host leads to the one server. */
async function startForwardProxy(target: string) {
  const asked: string[] = [];
  const server = createServer((incoming, outgoing) => {
    asked.push(`${incoming.method} ${incoming.url} ${incoming.headers.authorization ?? ""}`);
    const { pathname, search } = new URL(incoming.url ?? "");
    const { host: _, ...headers } = incoming.headers;
    const onward = request(target + pathname + search, { method: incoming.method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(onward);
  });
  server.on("connect", (incoming, socket) => {
    asked.push(`CONNECT ${incoming.url}`);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]);
  return { asked, url, env: Object.fromEntries(names.map((name) => [name, url])), close: () => server.close() };
}

const port = () => new URL(at.server.url).port;

test("the proxy works: a server elsewhere is reached through it", async () => {
  expect(await meJson(home, ["whoami", "--server", "http://gatehouse.test"])).toMatchObject({ name: "bot" });
  expect(proxy.asked).toContainEqual(expect.stringMatching(/^POST http:\/\/gatehouse\.test\/api\/v1\/user\/rpc Bearer me_agent_/));
  await me(home, ["whoami", "--server", "https://gatehouse.test"]);
  expect(proxy.asked).toContain("CONNECT gatehouse.test:443");
});

test.each(["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "gatehouse.localhost"])(
  "no call to %s goes to the proxy",
  async (host) => {
    for (const scheme of ["http", "https"]) await me(home, ["whoami", "--server", `${scheme}://${host}:${port()}`]);
    expect(proxy.asked).toEqual([]);
  },
);

test("no command asks the proxy for a server on this machine: calls, sign-ins, streams and tools", async () => {
  const talk = await at.start("helper", "hello");
  await at.must("session.close", { session: talk.session });
  const runs = [["whoami"], ["doctor"], ["mcp", "doctor"], ["session", "events", talk.session, "--follow"], ["task", "list"]];
  for (const args of runs) expect(await me(home, args), args.join(" ")).toMatchObject({ code: 0 });
  const login = await me(home, ["login", "--device", "--timeout", "1"]);
  expect(login.stderr).toContain("enter the code");
  const password = await me(home, ["login", "--email", at.ada.email], { stdin: at.ada.password });
  expect(password.stderr).not.toContain("does not answer");
  expect(proxy.asked).toEqual([]);
});

test.each([
  ["gatehouse.test", true],
  [".test", true],
  ["other.example, gatehouse.test:7070", true],
  ["*", true],
  ["gatehouse.test:7071", false],
  ["house.test", false],
  ["other.example", false],
])("NO_PROXY=%s is honoured: direct is %s", async (value, direct) => {
  for (const name of ["NO_PROXY", "no_proxy"]) {
    proxy.asked.splice(0);
    await me(home, ["whoami", "--server", "http://gatehouse.test:7070"], { env: { [name]: value } });
    expect(proxy.asked.length === 0).toBe(direct);
  }
});

test.each([
  ["192.0.2.0/24", "192.0.2.7"],
  ["2001:db8::1", "[2001:db8::1]"],
])("NO_PROXY=%s leaves out %s", async (value, host) => {
  const asking = start(process.execPath, [ME, "doctor", "--server", `http://${host}`], { ...home.env, NO_PROXY: value });
  await asking.finished;
  expect(proxy.asked).toEqual([]);
});

test("the workers of me agent run ask no proxy for a server on this machine", async () => {
  const folder = join(home.folder, "agents");
  await mkdir(join(folder, "node_modules", "@gatehouse"), { recursive: true });
  await symlink(join(import.meta.dirname, "..", "packages", "agent"), join(folder, "node_modules", "@gatehouse", "agent"));
  const file = join(folder, "agents.ts");
  await writeFile(file, 'import { chatAgent } from "@gatehouse/agent"; export const a = chatAgent({ id: "direct", run: () => "yes" });');
  const running = start(process.execPath, [ME, "agent", "run", file, "--no-watch"], home.env, null);
  await until(
    () => `it serves; it said:\n${running.stderr()}`,
    () => running.stderr().includes("Serving direct"),
  );
  expect((await at.answered(await at.start("direct", "hello"))).text).toBe("yes");
  running.child.kill("SIGINT");
  await running.finished;
  expect(proxy.asked).toEqual([]);
});

test("the server and its agent echo ask no proxy for themselves, nor for an issuer on this machine", async () => {
  const issuer = await Issuer.start();
  const rules = [{ claims: { sub: "ada" }, principal: crypto.randomUUID(), scope: ["read"] }];
  const TRUSTED_ISSUERS = JSON.stringify([{ issuer: issuer.url, audience: "gatehouse", rules }]);
  const own = await makeHome(proxy.env);
  const server = await startUp(own, { TRUSTED_ISSUERS });
  await until("echo answers", async () => (await me(own, ["chat", "echo", "--message", "hello"])).stdout.includes("hello"));
  await me(own, ["whoami"], { env: { ME_API_KEY: await issuer.token({ sub: "ada" }) } });
  expect(issuer.requests, "for its metadata and its keys").toBe(2);
  await server.stop();
  issuer.server.close();
  expect(proxy.asked).toEqual([]);
});
