import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";
import { beginDevice, beginLogin, enterCode, kept, loggedIn, NO_BROWSER } from "./logins.ts";
import { answerConsent } from "./oauth-client.ts";
import { startRelay } from "./relay.ts";
import { makeHome, me, meJson, start, until } from "./run.ts";
import { atTerminal } from "./terminal.ts";

const TOKEN = /me_(login|refresh|pat|agent)_[0-9A-Za-z]/;

let server: TestServer;
let user: TestUser;
let jar: Jar;
beforeAll(async () => {
  server = await startTestServer();
  user = await server.user("Ada");
  jar = openJar(server.url);
});
afterAll(() => server.close());

test("signing in in the browser: the command line waits on this machine for the browser to come back", async () => {
  const { home, finished, page } = await loggedIn(server.url, user, jar);
  expect(finished.stdout).toBe(`Signed in to ${server.url} as Ada.\n`);
  const shown = await page.text();
  expect([page.status, page.headers.get("cache-control")]).toEqual([200, "no-store"]);
  expect(shown).toContain("You are signed in");
  expect(shown + finished.stdout + finished.stderr).not.toMatch(TOKEN);

  const { token, refreshToken, expiresAt, refreshAt } = await kept(home, server.url);
  expect([token, refreshToken]).toEqual([expect.stringMatching(/^me_login_/), expect.stringMatching(/^me_refresh_/)]);
  expect(Date.parse(refreshAt)).toBeLessThan(Date.parse(expiresAt));
  const file = join(String(home.env.XDG_CONFIG_HOME), "gatehouse", "credentials.json");
  expect(((await stat(file)).mode & 0o777).toString(8)).toBe("600");
  expect(await meJson(home, ["whoami"])).toMatchObject({ id: user.id, credential: { via: "session" } });
  expect((await me(home, ["whoami"])).stdout).toContain(`Kept in:    ${file.replace(home.folder, "~")}\n`);
});

test("the address is that of OAuth 2.1 for native programs, and holds no secret", async () => {
  const running = await beginLogin(await makeHome(), server.url);
  const { origin, searchParams } = new URL(running.address);
  expect(origin).toBe(server.url);
  expect(Object.fromEntries(searchParams)).toEqual({
    response_type: "code",
    client_id: "me",
    redirect_uri: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/callback$/),
    scope: "account offline_access",
    state: expect.stringMatching(/^[\w-]{43}$/),
    code_challenge: expect.stringMatching(/^[\w-]{43}$/),
    code_challenge_method: "S256",
  });
  running.child.kill("SIGINT");
  expect(await running.finished).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("Cancelled. Nothing was done.") });
});

test("BROWSER is started with the address; where %s stands, or at the end", async () => {
  const home = await makeHome();
  const script = join(home.folder, "browser");
  await writeFile(
    script,
    `#!/bin/sh\nprintf '%s\\n' "$@" > ${home.folder}/args.part && mv ${home.folder}/args.part "${home.folder}/args"\n`,
    { mode: 0o755 },
  );
  for (const [BROWSER, place] of [
    [`${script} --new`, ["--new", "URL"]],
    [`${script} --at=%s last:never`, ["--at=URL", "last"]],
  ] as const) {
    const running = await beginLogin(home, server.url, [], { BROWSER });
    const args = await until("the browser is started", () => readFile(join(home.folder, "args"), "utf8"));
    expect(args.trim().replace(running.address, "URL").split("\n")).toEqual(place);
    await start("rm", [join(home.folder, "args")], home.env).finished;
    running.child.kill("SIGINT");
    await running.finished;
  }
});

test("at a terminal without a screen it says so, shows the time that is left, and Ctrl-C ends it", async () => {
  const terminal = atTerminal(await makeHome(), ["login", "--server", server.url]);
  await terminal.answer(/No browser can be opened here.*me login --device[\s\S]*Waiting for you to sign in \(4:5\d left/, "\u0003");
  expect(await terminal.over()).toMatchObject({ code: 1, shown: expect.stringContaining("Cancelled. Nothing was done.") });
});

test("without a terminal and a browser it says what else there is", async () => {
  const { code, stderr } = await me(await makeHome(), ["login", "--server", server.url]);
  expect(code).toBe(2);
  for (const flag of ["--device", "--with-token", "--email"]) expect(stderr).toContain(`me login ${flag}`);
});

test("who refuses in the browser is not signed in, and neither is who does nothing", async () => {
  const home = await makeHome();
  const refused = await beginLogin(home, server.url);
  const page = await fetch(await answerConsent(jar, refused.address, user, false));
  expect([page.status, await page.text()]).toEqual([400, expect.stringContaining("You are not signed in")]);
  expect(await refused.finished).toMatchObject({ code: 4, stdout: "", stderr: expect.stringContaining("refused in the browser") });

  const idle = await me(home, ["login", "--server", server.url, "--timeout", "1"], { env: NO_BROWSER });
  expect(idle).toMatchObject({ code: 3, stdout: "", stderr: expect.stringContaining("Nobody signed in within 1 seconds") });
  expect((await me(home, ["whoami", "--server", server.url])).code).toBe(3);
});

test("an address that another page sent the browser to changes nothing", async () => {
  const running = await beginLogin(await makeHome(), server.url);
  const redirectUri = new URL(running.address).searchParams.get("redirect_uri") as string;
  expect((await fetch(`${redirectUri}?code=theirs&state=theirs&iss=${server.url}`)).status).toBe(400);
  expect((await fetch(new URL("/", redirectUri))).status).toBe(404);
  expect((await fetch(await answerConsent(jar, running.address, user))).status).toBe(200);
  expect((await running.finished).code).toBe(0);
});

test.each([
  ["another server's", (url: URL) => url.searchParams.set("iss", "http://127.0.0.1:1")],
  ["nobody's", (url: URL) => url.searchParams.delete("iss")],
])("a code that comes in %s name is not exchanged", async (_whose, change) => {
  const running = await beginLogin(await makeHome(), server.url);
  const back = new URL(await answerConsent(jar, running.address, user));
  change(back);
  expect((await fetch(back)).status).toBe(400);
  expect(await running.finished).toMatchObject({ code: 1, stdout: "" });
});

test("a server that goes by another address says which", async () => {
  const relay = await startRelay();
  relay.target = server.url;
  const { code, stderr } = await me(await makeHome(), ["login", "--device", "--server", relay.url]);
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: `Error: ${relay.url} goes by the address ${server.url}. Use that one: me login --server ${server.url}\n`,
  });
  await relay.close();
});

test("signing in by a code, on another device", async () => {
  const home = await makeHome();
  const running = await beginDevice(home, server.url);
  await enterCode(jar, running.code, user);
  const { code, stdout, stderr } = await running.finished;
  expect({ code, stdout }).toEqual({ code: 0, stdout: `Signed in to ${server.url} as Ada.\n` });
  expect(stdout + stderr).not.toMatch(TOKEN);
  expect((await meJson(home, ["whoami"])).id).toBe(user.id);
});

test("a code that is refused, or that nobody enters", async () => {
  const [denied, left] = await Promise.all([beginDevice(await makeHome(), server.url), beginDevice(await makeHome(), server.url)]);
  await enterCode(jar, denied.code, user, "deny");
  await server.sql`update auth."deviceCode" set "expiresAt" = now() - interval '1 second' where "userCode" = ${left.code.replace("-", "")}`;
  expect(await denied.finished).toMatchObject({ code: 4, stdout: "", stderr: expect.stringContaining("The sign-in was refused.") });
  expect(await left.finished).toMatchObject({ code: 3, stdout: "", stderr: expect.stringContaining("The code has expired.") });
});

test("who is told to slow down does", async () => {
  const relay = await startRelay();
  const slow = await startTestServer({ PUBLIC_URL: relay.url });
  relay.target = slow.url;
  const polls: number[] = [];
  // Somebody else polls with the same code just before: the server finds that this is too often.
  relay.before = async ({ form }) => {
    if (!form.has("device_code")) return true;
    polls.push(Date.now());
    if (polls.length === 1) {
      const early = await fetch(`${slow.url}/api/v1/token`, { method: "POST", body: form });
      expect(await early.json()).toMatchObject({ error: "authorization_pending" });
    }
    return true;
  };
  const ada = await slow.user("Ada");
  const running = await beginDevice(await makeHome(), relay.url);
  await until("it polled once", () => polls.length === 1);
  await enterCode(openJar(relay.url), running.code, ada);
  expect((await running.finished).code).toBe(0);
  const [first, second] = polls as [number, number];
  expect(second - first).toBeGreaterThanOrEqual(10_000); // the interval, and 5 seconds more
  await Promise.all([slow.close(), relay.close()]);
});

test("a key from stdin is kept, if it is good", async () => {
  const { home } = await loggedIn(server.url, user, jar);
  await meJson(home, ["agent", "create", "bot"]);
  const { key } = await meJson(home, ["apikey", "create", "--agent", "bot", "--name", "k"]);
  const fresh = await makeHome();
  const login = (stdin: string) => me(fresh, ["login", "--with-token", "--server", server.url], { stdin });

  const bad = `me_agent_${"0".repeat(36)}`;
  for (const [code, given] of [
    [3, bad],
    [2, "hunter2"],
    [2, ""],
  ] as const) {
    const refused = await login(given);
    expect({ code: refused.code, stdout: refused.stdout }).toEqual({ code, stdout: "" });
    if (given) expect(refused.stderr).not.toContain(given);
  }
  expect((await me(fresh, ["whoami", "--server", server.url])).code).toBe(3);

  expect(await login(`${key}\n`)).toMatchObject({ code: 0, stdout: `Signed in to ${server.url} as bot.\n`, stderr: "" });
  expect((await meJson(fresh, ["whoami"])).name).toBe("bot");
  expect((await me(fresh, ["logout"])).stderr).toContain("The key itself stays good.");
  expect((await me(fresh, ["whoami"])).code).toBe(3);
  expect((await server.call(key, "whoami")).result.name).toBe("bot");
});

test("signing out ends the login on the server; signing in again ends the one before", async () => {
  const { home } = await loggedIn(server.url, user, jar);
  const first = await kept(home, server.url);
  const again = await beginLogin(home, server.url);
  await fetch(await answerConsent(jar, again.address, user));
  expect((await again.finished).code).toBe(0);
  expect((await server.call(first.token, "whoami")).status).toBe(401);

  const second = await kept(home, server.url);
  expect((await server.call(second.token, "whoami")).status).toBe(200);
  expect((await me(home, ["logout"])).stdout).toBe(`Signed out of ${server.url}.\n`);
  expect((await server.call(second.token, "whoami")).status).toBe(401);
  expect(await kept(home, server.url)).toBeUndefined();
  expect((await me(home, ["whoami"])).code).toBe(3);
});
