import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { pages } from "../packages/server/src/people/pages/pages.ts";
import { expectClean } from "./clean.ts";
import { openLine } from "./database-line.ts";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { type Jar, openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { standardClient } from "./oauth-client.ts";
import { inputOf, type Route, routes, sendTo, valuesFor } from "./people-routes.ts";
import { until } from "./run.ts";

// What the doors for people answer whose database is away, or goes away while they are asked: never that nobody is signed in.

let line: Awaited<ReturnType<typeof openLine>>;
let box: Awaited<ReturnType<typeof openMailbox>>;
let corp: Awaited<ReturnType<typeof openProvider>>;
let direct: ReturnType<typeof openDatabase>;
let server: TestServer;
let ada: TestUser;
let jar: Jar;
let authorize: URL;
let ask: (route: Route, headers: Record<string, string>) => ReturnType<typeof sendTo>;

beforeAll(async () => {
  [box, corp] = [await openMailbox(), await openProvider()];
  const address = await makeDatabase();
  direct = openDatabase(address);
  line = await openLine(address);
  server = await startTestServer({ DATABASE_URL: line.url, SIGN_UP: "open", FAILED_AUTH_LIMIT: "5", ...box.settings, ...corp.settings() });
  ada = await server.user("Ada");
  jar = openJar(server.url);
  await jar.signIn(ada.email, ada.password);
  authorize = new URL((await (await standardClient(server)).begin()).address);
  const asking = (await jar.get(authorize.href)).headers.get("location") as string;
  const { user_code } = (await jar.form("/api/auth/device/code", { client_id: "me" })).body;
  await jar.get("/api/auth/passkey/generate-authenticate-options");
  await jar.post("/api/auth/sign-up/email", { email: "kim@example.com", name: "Kim", password: ada.password });
  const token = await box.token("kim@example.com");
  const values = valuesFor(ada.email, { token, user_code, userCode: user_code, oauth_query: new URL(asking).search.slice(1) });
  const queries = { "/oauth2/authorize": Object.fromEntries(authorize.searchParams), "/callback/:id": { state: "s", code: "c" } };
  ask = (route, headers) => sendTo(server.url, route, inputOf(route, values, queries), headers);
});
beforeEach(() => direct`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await Promise.all([line.close(), box.close(), corp.close(), direct.end()]);
});

const cookieOf = () => ({ origin: server.url, cookie: [...jar.cookies].map(([name, value]) => `${name}=${value}`).join("; ") });

test("away: every door for people is UNAVAILABLE, however they are signed in", async () => {
  line.lose();
  for (const headers of [cookieOf(), { authorization: `Bearer ${ada.session}` }]) {
    for (const route of routes) {
      const { status, code } = await ask(route, headers);
      expect([status, code], `${route.method} ${route.path} with ${Object.keys(headers)}`).toEqual([503, "UNAVAILABLE"]);
    }
    const ended = await fetch(`${server.url}/api/auth/programs/end`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: '{"id":"x"}',
    });
    expect([ended.status, (await ended.json()).code]).toEqual([503, "UNAVAILABLE"]);
  }
  for (const path of Object.keys(pages)) {
    const answer = await fetch(server.url + path + authorize.search, { headers: { cookie: cookieOf().cookie } });
    expect([answer.status, answer.headers.get("content-type")], path).toEqual([503, "text/html; charset=utf-8"]);
    expectClean(await answer.text());
  }
  line.go();
  await until("it is back", async () => (await fetch(`${server.url}/readyz`)).ok);
  // None of it counted as a wrong credential.
  expect(await jar.whoami()).toBe(ada.email);
});

test("gone in the middle: what better-auth could not find out, it does not answer", async () => {
  // Those that are done after their answer have nothing to find out for it.
  for (const route of routes.filter(({ later }) => !later))
    await direct.begin(async (tx) => {
      await tx`
        lock table auth."user", auth.session, auth.account, auth.verification, auth.passkey, auth."oauthClient", auth."deviceCode"
        in access exclusive mode`;
      let lost = 0;
      let answered = false;
      const asking = ask(route, cookieOf()).finally(() => {
        answered = true;
      });
      await until(`${route.path} answers`, async () => {
        const ended = await direct`
          select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        lost += ended.length;
        return answered;
      });
      const { status, code, text } = await asking;
      expect(lost, `what was lost of ${route.path}`).toBeGreaterThan(0);
      expect([status, code], `${route.path}: ${text}`).toEqual([503, "UNAVAILABLE"]);
    });
});
