import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { kept } from "./logins.ts";
import { type Home, makeHome, me, signedIn } from "./run.ts";

/** Longer than `me` waits for a keychain, and shorter than a D-Bus would. */
const BOUND_MS = 12_000;

let server: TestServer;
let home: Home;
let user: TestUser;
let bus: Server;
const sockets = new Set<Socket>();
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
  bus = createServer((socket) => sockets.add(socket)).listen(join(home.folder, "bus"));
  await once(bus, "listening");
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  bus.close();
  await server.close();
});

/** Keychains that are none. */
const nowhere = { ME_KEYCHAIN: "on" };
const silent = () => ({ ME_KEYCHAIN: "on", DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(home.folder, "bus")}` });

test.each([
  ["there is none", () => nowhere],
  ["it does not answer", silent],
])("a keychain is done without where %s, soon and in silence", async (_why, env) => {
  const fresh = await makeHome(env());
  const since = Date.now();
  const { code, stderr } = await me(fresh, ["login", "--server", server.url, "--email", user.email], { stdin: user.password });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(Date.now() - since).toBeLessThan(BOUND_MS);
  expect((await kept(fresh, server.url)).token).toBeTypeOf("string");
  expect((await me(fresh, ["whoami"])).stdout).toContain("Kept in:    ~/config/gatehouse/credentials.json\n");
  expect((await me(fresh, ["doctor"])).stdout).toContain("store: the credential is in ~/config/gatehouse/credentials.json\n");
});

test("a login in a keychain that can't be asked is said to be there, with the way out", async () => {
  const file = join(String(home.env.XDG_CONFIG_HOME), "gatehouse", "credentials.json");
  await writeFile(file, JSON.stringify({ current: server.url, servers: { [server.url]: { name: "Ada", keychain: true } } }));
  for (const [env, says] of [
    [nowhere, "which does not answer"],
    [silent(), "which does not answer"],
    [{ ME_KEYCHAIN: "off" }, "which ME_KEYCHAIN=off closes"],
  ] as const) {
    const { code, stdout, stderr } = await me(home, ["whoami"], { env });
    expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
    expect(stderr).toContain(`Your login to ${server.url} is in the keychain, ${says}`);
  }
  const login = await me(home, ["login", "--email", user.email], { env: { ME_KEYCHAIN: "off" }, stdin: user.password });
  expect(login.code).toBe(0);
  expect(JSON.parse(await readFile(file, "utf8")).servers[server.url].token).toBeTypeOf("string");
});

test("ME_KEYCHAIN is on or off", async () => {
  expect(await me(home, ["whoami"], { env: { ME_KEYCHAIN: "maybe" } })).toMatchObject({
    code: 2,
    stderr: "Error: ME_KEYCHAIN must be on or off\n",
  });
});
