import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makePasskey } from "./authenticator.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { type Answered, type Jar, openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { standardClient } from "./oauth-client.ts";
import { waiting } from "./rivals.ts";
import { until } from "./run.ts";

const NEW_PASSWORD = "a new password, quite long";

let corp: Awaited<ReturnType<typeof openProvider>>;
let box: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
/** Another server on the same database: each hashes one password after the other. */
let second: TestServer;
beforeAll(async () => {
  [corp, box] = [await openProvider(), await openMailbox()];
  server = await startTestServer({ ...box.settings, ...corp.settings({ domains: ["example.com"] }) });
  second = await startTestServer({ ...box.settings, DATABASE_URL: server.databaseUrl });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await second.close();
  await server.close();
  await corp.close();
  await box.close();
});

let people = 0;
const somebody = () => server.user(`somebody${++people}`);

async function signedIn({ email, password }: TestUser): Promise<Jar> {
  const jar = openJar(server.url);
  expect((await jar.signIn(email, password)).status).toBe(200);
  return jar;
}

/** Asks for a reset by mail. @returns follows the link in it */
async function reset({ email }: TestUser, at = server.url): Promise<() => Promise<Answered>> {
  const jar = openJar(at);
  await jar.post("/api/auth/request-password-reset", { email });
  const token = await box.token(email);
  return () => jar.post("/api/auth/reset-password", { newPassword: NEW_PASSWORD, token });
}

/** Lets something end while an answer waits for a lock, behind all that was looked at before something begins; or has the end wait behind it. */
async function meanwhile<T>(lock: string, answer: () => Promise<T>, end: () => Promise<unknown>): Promise<T> {
  let answering: Promise<T> | undefined;
  let ending: Promise<unknown> | undefined;
  await server.sql.begin(async (tx) => {
    await tx.unsafe(lock);
    answering = answer();
    answering.catch(() => {});
    await until("the answer waits", async () => (await waiting(server.sql)) > 0);
    let ended = false;
    ending = end().finally(() => {
      ended = true;
    });
    await until("it has ended, or waits", async () => ended || (await waiting(server.sql)) > 1);
  });
  await ending;
  return answering as Promise<T>;
}

/** Before a new session is there for all to see, its address is noted. */
const NEW_SESSION = "lock table auth.known_addresses in share mode";

test("a password that is another one by the time at which a session has begun opens none", async () => {
  const person = await somebody();
  const jar = openJar(server.url);
  const change = await reset(person, second.url);
  const answer = await meanwhile(
    NEW_SESSION,
    () => jar.signIn(person.email, person.password),
    async () => expect((await change()).status).toBe(200),
  );
  expect([answer.status, answer.body.code, answer.headers.get("set-auth-token")]).toEqual([401, "UNAUTHENTICATED", null]);
  expect(await jar.whoami()).toBeUndefined();
  expect(await server.sql`select from auth.session where "userId" = ${person.id}`).toHaveLength(0);
  expect((await jar.signIn(person.email, NEW_PASSWORD)).status).toBe(200);
});

async function addPasskey(jar: Jar) {
  const passkey = makePasskey(server.url);
  const options = (await jar.get("/api/auth/passkey/generate-register-options")).body;
  const add = () => jar.post("/api/auth/passkey/verify-registration", { response: passkey.register(options), name: "laptop" });
  return { passkey, add };
}

test("a passkey that is removed by the time at which a session has begun opens none", async () => {
  const jar = await signedIn(await somebody());
  const { passkey, add } = await addPasskey(jar);
  const { id } = (await add()).body;
  const other = openJar(server.url);
  const options = (await other.get("/api/auth/passkey/generate-authenticate-options")).body;
  const answer = await meanwhile(
    NEW_SESSION,
    () => other.post("/api/auth/passkey/verify-authentication", { response: passkey.authenticate(options) }),
    async () => expect((await jar.post("/api/auth/passkey/delete-passkey", { id })).status).toBe(200),
  );
  expect(answer.status).toBe(401);
  expect(await other.whoami()).toBeUndefined();
});

test("a passkey that is added in a session which has ended by then is not there", async () => {
  const person = await somebody();
  const jar = await signedIn(person);
  const { passkey, add } = await addPasskey(jar);
  const change = await reset(person);
  const answer = await meanwhile("lock table auth.passkey in share mode", add, async () => expect((await change()).status).toBe(200));
  expect(answer.status).toBe(401);
  const other = openJar(server.url);
  const options = (await other.get("/api/auth/passkey/generate-authenticate-options")).body;
  expect((await other.post("/api/auth/passkey/verify-authentication", { response: passkey.authenticate(options) })).status).toBe(401);
});

/** Goes to the provider and to the door of the way back. @returns where that is */
async function toCorp(jar: Jar, path: string, { email }: TestUser, sub: string): Promise<string> {
  Object.assign(corp.state, { person: { sub, email, email_verified: true, name: "Somebody" } });
  const begun = await jar.post(`/api/auth/${path}`, {
    provider: "corp",
    callbackURL: "/account?done=connected",
    errorCallbackURL: "/account",
    disableRedirect: true,
  });
  expect(begun.status, JSON.stringify(begun.body)).toBe(200);
  let next = new URL(begun.body.url);
  const there = openJar(next.origin);
  while (next.origin !== server.url) next = new URL((await there.get(next.href)).headers.get("location") as string, next);
  return next.href;
}

const accountsOf = ({ id }: TestUser) =>
  server.sql<{ id: string }[]>`select id from auth.account where "userId" = ${id} and "providerId" = 'corp'`;

test("an account at a provider that is disconnected by the time at which a session has begun opens none", async () => {
  const person = await somebody();
  const jar = await signedIn(person);
  await jar.get(await toCorp(jar, "link-social", person, person.id));
  const [account] = await accountsOf(person);
  const other = openJar(server.url);
  const back = await toCorp(other, "sign-in/social", person, person.id);
  const answer = await meanwhile(
    NEW_SESSION,
    () => other.get(back),
    async () => expect((await jar.post("/api/auth/unlink-account", { id: account?.id as string })).status).toBe(200),
  );
  expect(answer.headers.get("location")).toContain("/sign-in?error=");
  expect(await other.whoami()).toBeUndefined();
});

test("an account at a provider that is connected in a session which has ended by then is not connected", async () => {
  const person = await somebody();
  const jar = await signedIn(person);
  const back = await toCorp(jar, "link-social", person, person.id);
  const answer = await meanwhile(
    "lock table auth.account in share mode",
    () => jar.get(back),
    async () => expect((await jar.post("/api/auth/sign-out", {})).status).toBe(200),
  );
  expect(answer.headers.get("location")).toContain("error=");
  expect(await accountsOf(person)).toHaveLength(0);
});

/** Lets a person choose another password while an answer waits for their row. */
async function meanwhileChanged<T>(person: TestUser, answer: () => Promise<T>): Promise<T> {
  const change = await reset(person);
  return meanwhile(`select from auth."user" where id = '${person.id}' for update`, answer, async () =>
    expect((await change()).status).toBe(200),
  );
}

test("nor is it where the browser comes back without that session, and a new password has ended all", async () => {
  const person = await somebody();
  const jar = await signedIn(person);
  const back = await toCorp(jar, "link-social", person, person.id);
  for (const name of [...jar.cookies.keys()]) if (name.endsWith("session_token")) jar.cookies.delete(name);
  const answer = await meanwhileChanged(person, () => jar.get(back));
  expect(answer.headers.get("location")).toContain("error=");
  expect(await accountsOf(person)).toHaveLength(0);
});

test("a device code that is redeemed while the session ends in which it was allowed makes no login", async () => {
  const person = await somebody();
  const client = await standardClient(server);
  const jar = await signedIn(person);
  const { device_code, user_code } = await client.askDevice();
  await jar.get(`/api/auth/device?user_code=${user_code}`);
  expect((await jar.post("/api/auth/device/approve", { userCode: user_code })).status).toBe(200);
  await expect(meanwhileChanged(person, () => client.poll(device_code))).rejects.toMatchObject({ error: "invalid_grant" });
  expect(await server.sql`select from auth.logins where user_id = ${person.id}`).toHaveLength(0);
});
