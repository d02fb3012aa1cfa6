import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { answerConsent, logIn, standardClient } from "./oauth-client.ts";

const NEW = "a new password, quite long";

let box: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
beforeAll(async () => {
  box = await openMailbox();
  server = await startTestServer({ SIGN_UP: "open", ...box.settings });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await box.close();
});

test("a forgotten password is replaced by mail, and ends all that was signed in", async () => {
  const alice = await server.user("Alice");
  const [jar, thief] = [openJar(server.url), openJar(server.url)];
  await thief.signIn(alice.email, alice.password);
  const client = await standardClient(server);
  const login = await logIn(server, client, alice);
  const kept = await client.begin({ scope: "account" });
  const brief = await client.finish(await answerConsent(jar, kept.address, alice), kept);
  const { user_code } = (await thief.form("/api/auth/device/code", { client_id: "me" })).body;
  await thief.get(`/api/auth/device?user_code=${user_code}`);

  expect((await jar.post("/api/auth/request-password-reset", { email: alice.email.toUpperCase() })).status).toBe(200);
  const token = await box.token(alice.email);
  for (const newPassword of ["short", "x".repeat(129)])
    expect((await jar.post("/api/auth/reset-password", { newPassword, token })).body).toMatchObject({
      status: 400,
      code: "INVALID_PARAMS",
    });
  expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token })).body).toEqual({ status: true });

  expect(await thief.whoami()).toBeUndefined();
  for (const credential of [alice.session, login.access_token, brief.access_token])
    expect((await server.call(credential, "whoami")).status).toBe(401);
  const refreshed = await jar.form("/api/v1/token", {
    grant_type: "refresh_token",
    client_id: "me",
    refresh_token: login.refresh_token as string,
  });
  expect(refreshed.body.error).toBe("invalid_grant");
  expect(await server.sql`select from auth."deviceCode" where "userCode" = ${user_code}`).toHaveLength(0);
  expect((await jar.signIn(alice.email, alice.password)).status).toBe(401);
  expect((await jar.signIn(alice.email, NEW)).status).toBe(200);
  expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token })).body, "once").toMatchObject({ status: 400 });
});

test("an old link, or another's, gives no new password", async () => {
  const bob = await server.user("Bob");
  const jar = openJar(server.url);
  await jar.post("/api/auth/request-password-reset", { email: bob.email });
  const token = await box.token(bob.email);
  expect((await server.sql`select identifier, value from auth.verification`).some((row) => JSON.stringify(row).includes(token))).toBe(
    false,
  );
  await server.sql`update auth.verification set "expiresAt" = now()`;
  for (const wrong of [token, "nobody's"])
    expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token: wrong })).body.detail).toContain("Ask for another");
  expect((await jar.signIn(bob.email, bob.password)).status).toBe(200);
});

test("whether there is an account, nobody is told", async () => {
  const carol = await server.user("Carol");
  for (const path of ["request-password-reset", "send-verification-email", "sign-up/email"]) {
    const [there, not] = await Promise.all(
      [carol.email, "nobody@example.com"].map(async (email) => {
        const rest = path === "sign-up/email" ? { name: "Carol", password: NEW } : {};
        const { status, body } = await openJar(server.url).post(`/api/auth/${path}`, { email, ...rest });
        return JSON.stringify([status, body], (key, value) => (["id", "email", "createdAt", "updatedAt"].includes(key) ? "" : value));
      }),
    );
    expect(there, path).toBe(not);
  }
  // Nor did it change anything for her.
  expect((await openJar(server.url).signIn(carol.email, carol.password)).status).toBe(200);
});

test("an account that somebody makes is good once its address is confirmed; so are invitations to it", async () => {
  const dave = { email: "dave@example.com", name: "Dave", password: "correct horse battery staple" };
  const jar = openJar(server.url);
  expect((await jar.post("/api/auth/sign-up/email", dave)).status).toBe(200);
  const first = await box.token(dave.email); // the account is made after the answer
  const early = await jar.signIn(dave.email, dave.password);
  expect([early.status, early.body.code]).toEqual([403, "FORBIDDEN"]);
  expect((await jar.signIn(dave.email, "a wrong password")).status, "only who knows the password learns that").toBe(401);

  const erin = await server.user("Erin");
  const { result: space } = await server.call(erin.session, "space.create", { name: "Erin's" });
  await server.call(erin.session, "invite.create", { email: dave.email }, space.slug);
  const [user] = await server.sql`select id, "emailVerified" from auth."user" where email = ${dave.email}`;
  expect(user?.emailVerified).toBe(false);

  expect((await jar.post("/api/auth/verify-email", { token: `${first}x`, password: dave.password })).body).toMatchObject({
    status: 400,
    code: "INVALID_PARAMS",
  });
  await jar.post("/api/auth/send-verification-email", { email: dave.email });
  const second = await box.token(dave.email);
  const wrong = await jar.post("/api/auth/verify-email", { token: second, password: "a wrong password" });
  expect([wrong.status, wrong.body.code]).toEqual([401, "UNAUTHENTICATED"]);
  expect((await jar.post("/api/auth/verify-email", { token: second, password: dave.password })).body.status).toBe(true);

  const { headers } = await jar.signIn(dave.email, dave.password);
  const session = decodeURIComponent(headers.get("set-auth-token") as string);
  const { result } = await server.call(session, "invite.pending");
  expect(result.invites).toHaveLength(1);
});

test("who signs up with somebody's address first never has their account: a later sign-up takes its place, and whoever confirms knows its password", async () => {
  const [email, hers, thiefs] = ["olga@example.com", "her own long password", "the thief's long password"];
  const [jar, thief] = [openJar(server.url), openJar(server.url)];
  const signUp = (by: typeof jar, password: string, name: string) => by.post("/api/auth/sign-up/email", { email, name, password });
  const confirm = (token: string, password: string) => jar.post("/api/auth/verify-email", { token, password });
  await signUp(thief, thiefs, "The thief's name");
  const first = await box.token(email);
  expect((await confirm(first, hers)).status, "who did not sign up confirms nothing").toBe(401);

  await signUp(jar, hers, "Olga");
  const second = await box.token(email);
  expect((await confirm(first, thiefs)).body, "a link of the sign-up before").toMatchObject({ status: 400, code: "INVALID_PARAMS" });
  expect((await confirm(second, thiefs)).status).toBe(401);
  expect((await confirm(second, hers)).status).toBe(200);
  expect((await thief.signIn(email, thiefs)).status).toBe(401);
  expect((await jar.signIn(email, hers)).status).toBe(200);
  expect((await jar.get("/api/auth/get-session")).body.user.name).toBe("Olga");

  // Once it is confirmed, no sign-up changes anything.
  await server.sql`delete from auth.attempts`;
  await signUp(thief, thiefs, "The thief's name");
  await jar.post("/api/auth/request-password-reset", { email });
  await box.token(email); // that mail comes after what the sign-up has done
  expect(await jar.whoami()).toBe(email);
  expect((await thief.signIn(email, thiefs)).status).toBe(401);
});

test("who reads the mail of an address that somebody else signed up with has the account by choosing a new password", async () => {
  const email = "pia@example.com";
  const [jar, thief] = [openJar(server.url), openJar(server.url)];
  await thief.post("/api/auth/sign-up/email", { email, name: "Pia", password: "the thief's long password" });
  await box.token(email);
  await jar.post("/api/auth/request-password-reset", { email });
  expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token: await box.token(email) })).status).toBe(200);
  expect((await jar.signIn(email, NEW)).status).toBe(200);
  expect((await thief.signIn(email, "the thief's long password")).status).toBe(401);
});

test("an invitation does not count for an address that nobody has confirmed", async () => {
  const [frank, grace] = [await server.user("Frank"), await server.user("Grace")];
  const { result: space } = await server.call(frank.session, "space.create", { name: "Frank's" });
  await server.call(frank.session, "invite.create", { email: grace.email }, space.slug);
  await server.sql`update auth."user" set "emailVerified" = false where id = ${grace.id}`;
  expect((await server.call(grace.session, "invite.pending")).result.invites).toHaveLength(0);
  await server.sql`update auth."user" set "emailVerified" = true where id = ${grace.id}`;
  expect((await server.call(grace.session, "invite.pending")).result.invites).toHaveLength(1);
});

test("without SMTP, and reachable from elsewhere, the server says what its operator must do", async () => {
  const open = await startTestServer({ HOST: "0.0.0.0", PUBLIC_URL: "http://localhost:7070", SIGN_UP: "open" });
  try {
    const url = open.url.replace("0.0.0.0", "127.0.0.1");
    for (const path of ["request-password-reset", "send-verification-email", "sign-up/email"]) {
      const rest = path === "sign-up/email" ? { name: "Heidi", password: NEW } : {};
      const { status, body } = await openJar(url).post(`/api/auth/${path}`, { email: "heidi@example.com", ...rest }, { origin: "" });
      expect([status, body.code]).toEqual([503, "UNAVAILABLE"]);
      expect(body.detail).toContain("SMTP_URL");
    }
  } finally {
    await open.close();
  }
});

test("where accounts are the operator's to make, nobody makes one", async () => {
  const closed = await startTestServer({ ...box.settings });
  try {
    const { status, body } = await openJar(closed.url).post("/api/auth/sign-up/email", {
      email: "ivan@example.com",
      name: "Ivan",
      password: NEW,
    });
    expect([status, body.code]).toEqual([403, "FORBIDDEN"]);
    expect(await closed.sql`select from auth."user" where email = 'ivan@example.com'`).toHaveLength(0);
  } finally {
    await closed.close();
  }
});
