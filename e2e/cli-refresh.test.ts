import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";
import { begin, keep, kept, loggedIn, ripen } from "./logins.ts";
import { type Relay, startRelay } from "./relay.ts";
import { type Home, me, meJson, until } from "./run.ts";

const ENDED = "Error: Your login has ended. Sign in again: me login\n";

let relay: Relay;
let server: TestServer;
let user: TestUser;
let jar: Jar;
beforeAll(async () => {
  relay = await startRelay();
  server = await startTestServer({ PUBLIC_URL: relay.url });
  relay.target = server.url;
  user = await server.user("Ada");
  jar = openJar(relay.url);
});
beforeEach(() => {
  relay.passed.length = 0;
  relay.before = async () => true;
  relay.after = async () => true;
});
afterAll(() => Promise.all([server.close(), relay.close()]));

const login = async (): Promise<Home> => (await loggedIn(relay.url, user, jar)).home;
const refreshes = () => relay.granted("refresh_token");
const isRefresh = ({ form }: { form: URLSearchParams }) => form.get("grant_type") === "refresh_token";
/** Its token is over, too. */
const expire = (home: Home) => keep(home, relay.url, { refreshAt: new Date(0).toISOString(), expiresAt: new Date(0).toISOString() });
const alive = async (home: Home) => (await me(home, ["whoami"])).code === 0;

test("a login is refreshed when most of its life is over, and not before", async () => {
  const home = await login();
  const first = await kept(home, relay.url);
  await me(home, ["whoami"]);
  expect(refreshes()).toBe(0);
  await ripen(home, relay.url);
  expect(await alive(home)).toBe(true);
  const second = await kept(home, relay.url);
  expect(refreshes()).toBe(1);
  expect(second.token).not.toBe(first.token);
  expect(second.refreshToken).not.toBe(first.refreshToken);
  expect(relay.passed.at(-1)?.headers.get("authorization")).toBe(`Bearer ${second.token}`);
  expect(await alive(home)).toBe(true);
  expect(refreshes()).toBe(1);
});

test("a token that the server no longer takes is renewed, and the call is sent again, were it a write", async () => {
  const home = await login();
  await server.sql`update auth."oauthAccessToken" set "expiresAt" = now() - interval '1 second'`;
  expect((await meJson(home, ["agent", "create", "sent-again"])).name).toBe("sent-again");
  expect(refreshes()).toBe(1);
  expect((await meJson(home, ["agent", "list"])).agents).toHaveLength(1);
});

test("of many processes that find it time, one refreshes", async () => {
  const home = await login();
  await ripen(home, relay.url);
  const ends = await Promise.all(Array.from({ length: 8 }, () => me(home, ["whoami"])));
  expect(ends.map(({ code, stderr }) => ({ code, stderr }))).toEqual(ends.map(() => ({ code: 0, stderr: "" })));
  expect(refreshes()).toBe(1);
  expect(await alive(home)).toBe(true);
});

test("two machines of one person refresh at the same moment, and both stay signed in", async () => {
  const [laptop, desktop] = [await login(), await login()];
  for (let round = 0; round < 2; round++) {
    await Promise.all([ripen(laptop, relay.url), ripen(desktop, relay.url)]);
    expect(await Promise.all([alive(laptop), alive(desktop)])).toEqual([true, true]);
  }
  expect(refreshes()).toBe(4);
});

test("a stolen refresh token that is used ends the login for both, and `me` says so", async () => {
  const [home, untouched] = [await login(), await login()];
  const { refreshToken } = await kept(home, relay.url);
  const body = new URLSearchParams({ grant_type: "refresh_token", client_id: "me", refresh_token: refreshToken });
  const stolen = await fetch(`${relay.url}/api/v1/token`, { method: "POST", body });
  expect(stolen.status).toBe(200);
  const thief = (await stolen.json()) as { access_token: string };
  expect((await server.call(thief.access_token, "whoami")).status).toBe(200);

  await ripen(home, relay.url);
  expect(await me(home, ["whoami"])).toEqual({ code: 3, stdout: "", stderr: ENDED });
  expect((await server.call(thief.access_token, "whoami")).status).toBe(401);
  expect(await kept(home, relay.url)).toBeUndefined();
  expect((await me(home, ["whoami", "--server", relay.url])).stderr).toContain("You are not signed in");
  expect(await alive(untouched)).toBe(true);
});

test("a process that is killed while it refreshes holds nobody up", async () => {
  const home = await login();
  await ripen(home, relay.url);
  let asked = 0;
  relay.before = async (request) => {
    if (!isRefresh(request) || asked++ > 0) return true;
    await new Promise((resolve) => killed.child.once("close", resolve));
    return false;
  };
  const killed = begin(home, ["whoami"]);
  await until("it refreshes", () => asked === 1);
  const waits = begin(home, ["whoami"]);
  await new Promise((resolve) => waits.child.once("spawn", resolve));
  killed.child.kill("SIGKILL");
  const since = Date.now();
  expect((await waits.finished).code).toBe(0);
  // Half of how long one waits for another that lives.
  expect(Date.now() - since).toBeLessThan(15_000);
  expect(asked).toBe(2);
});

test("a refresh whose answer is lost spends the refresh token: the login lasts as long as its token, and then has ended", async () => {
  const home = await login();
  await ripen(home, relay.url);
  relay.after = async (request) => !isRefresh(request);
  for (let times = 0; times < 2; times++) expect(await alive(home)).toBe(true);
  expect(refreshes()).toBe(1);
  relay.after = async () => true;
  await expire(home);
  expect(await me(home, ["whoami"])).toEqual({ code: 3, stdout: "", stderr: ENDED });
});

test("a refresh that never reached the server costs nothing", async () => {
  const home = await login();
  await ripen(home, relay.url);
  relay.before = async (request) => !isRefresh(request);
  expect(await alive(home)).toBe(true);
  relay.before = async () => true;
  await expire(home);
  expect(await alive(home)).toBe(true);
  expect(refreshes()).toBe(2);
});

test("a server that is gone is not a login that has ended", async () => {
  const home = await login();
  await ripen(home, relay.url);
  relay.before = async () => false;
  expect((await me(home, ["whoami"])).code).toBe(7);
  relay.before = async () => true;
  expect(await alive(home)).toBe(true);
});
