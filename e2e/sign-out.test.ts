import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { openLine } from "./database-line.ts";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { openJar } from "./jar.ts";
import { logIn, standardClient } from "./oauth-client.ts";
import { me, meJson, signedIn, until } from "./run.ts";

let line: Awaited<ReturnType<typeof openLine>>;
let direct: ReturnType<typeof openDatabase>;
let server: TestServer;
beforeAll(async () => {
  const address = await makeDatabase();
  direct = openDatabase(address);
  line = await openLine(address);
  server = await startTestServer({ DATABASE_URL: line.url });
});
afterAll(async () => {
  await server.close();
  await line.close();
  await direct.end();
});

async function signOut(headers: Record<string, string>) {
  const answer = await fetch(`${server.url}/api/auth/sign-out`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: "{}",
  });
  const text = await answer.text();
  expectClean(text);
  return { status: answer.status, cookies: answer.headers.getSetCookie(), ...JSON.parse(text) };
}
const sessionsOf = async (user: string) => (await direct`select from auth.session where "userId" = ${user}`).length;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const cookieOf = (jar: ReturnType<typeof openJar>) => ({
  origin: server.url,
  cookie: [...jar.cookies].map(([name, value]) => `${name}=${value}`).join("; "),
});
/** Until the server has its database again. */
const back = () => until("the database is back", async () => (await fetch(`${server.url}/readyz`)).ok);

test("where the database is away nobody is signed out, and nobody is told so; the next one is, before the answer", async () => {
  const ada = await server.user("Ada");
  const jar = openJar(server.url);
  await jar.signIn(ada.email, ada.password);
  for (const headers of [bearer(ada.session), cookieOf(jar)]) {
    line.lose();
    expect(await signOut(headers)).toMatchObject({ status: 503, code: "UNAVAILABLE", cookies: [] });
    line.go();
    await back();
  }
  expect(await jar.whoami()).toBe(ada.email);
  expect((await server.call(ada.session, "whoami")).status).toBe(200);

  const { cookies, ...answer } = await signOut(cookieOf(jar));
  expect(answer).toMatchObject({ status: 200, success: true });
  expect(cookies.filter((cookie: string) => /session_token=;.*max-age=0/i.test(cookie))).toHaveLength(1);
  expect(await jar.whoami()).toBeUndefined();
  expect((await signOut(bearer(ada.session))).status).toBe(200);
  expect((await server.call(ada.session, "whoami")).status).toBe(401);
  expect(await sessionsOf(ada.id)).toBe(0);
});

test("me logout tells the truth, and keeps what did not end", async () => {
  const { home, user } = await signedIn(server, "Bea");
  const before = await sessionsOf(user.id);
  line.lose();
  const { code, stdout, stderr } = await me(home, ["logout"]);
  line.go();
  expect(code, stderr).not.toBe(0);
  expect(stdout).not.toContain("Signed out");
  expectClean(stderr);
  await back();
  expect((await meJson(home, ["whoami"])).id).toBe(user.id);
  expect((await me(home, ["logout"])).code).toBe(0);
  expect(await sessionsOf(user.id)).toBe(before - 1);
});

test("what proves no session is told so, and ends nothing", async () => {
  const cat = await server.user("Cat");
  const { access_token } = await logIn(server, await standardClient(server), cat);
  const { key } = (await server.call(cat.session, "apiKey.create", { name: "k" })).result;
  const before = await sessionsOf(cat.id);
  for (const headers of [bearer(access_token), bearer(key), bearer(`${cat.session}x`), bearer("x"), {}]) {
    const { status, code, detail } = await signOut(headers);
    expect([status, code]).toEqual([401, "UNAUTHENTICATED"]);
    expect(detail).toMatch(/proves no session/);
  }
  for (const credential of [access_token, cat.session]) expect((await server.call(credential, "whoami")).status).toBe(200);
  expect((await server.call(key, "space.list")).status).toBe(200);
  expect(await sessionsOf(cat.id)).toBe(before);
});

test("the answer comes when the session has ended, and not before", async () => {
  const dan = await server.user("Dan");
  const answers: unknown[] = [];
  const signingOut = await direct.begin(async (tx) => {
    await tx`select from auth.session where "userId" = ${dan.id} for update`;
    const asked = signOut(bearer(dan.session)).then((answer) => answers.push(answer.status));
    await until("it waits for the row", async () => {
      const waiting = await direct`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      return waiting.length > 0 || answers.length > 0;
    });
    expect(answers).toEqual([]);
    return { asked };
  });
  await signingOut.asked;
  expect(answers).toEqual([200]);
  expect((await server.call(dan.session, "whoami")).status).toBe(401);
  expect(await sessionsOf(dan.id)).toBe(0);
});

test("a session that ends while it is prolonged proves nobody, and is no failure of the server", async () => {
  const eve = await server.user("Eve");
  await direct`update auth.session set "expiresAt" = now() + interval '10 days' where "userId" = ${eve.id}`;
  const { calling } = await direct.begin(async (tx) => {
    await tx`delete from auth.session where "userId" = ${eve.id}`;
    const calling = server.call(eve.session, "whoami");
    await until("it waits for the row", async () => {
      const waiting = await direct`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      return waiting.length > 0;
    });
    return { calling };
  });
  expect((await calling).status).toBe(401);
});
