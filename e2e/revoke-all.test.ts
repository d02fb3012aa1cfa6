import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makePasskey } from "./authenticator.ts";
import { must } from "./changes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Answered, openJar } from "./jar.ts";
import { bearer, exchange } from "./oauth.ts";
import { answerConsent, standardClient } from "./oauth-client.ts";
import { allowProgram } from "./program.ts";
import { waiting } from "./rivals.ts";
import { until } from "./run.ts";

let server: TestServer;
let second: TestServer;
beforeAll(async () => {
  server = await startTestServer({ LIMITS: "keys=5000" });
  second = await startTestServer({ DATABASE_URL: server.databaseUrl, PUBLIC_URL: server.url });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await second.close();
  await server.close();
});

const revokeAll = (by: TestUser): Promise<Answered> =>
  openJar(server.url).post("/api/auth/revoke-all", { all: true }, { authorization: `Bearer ${by.session}` });

/** Brings something about while to revoke all is under way, and has done most of it. */
async function whileRevoking<T>(person: TestUser, run: () => Promise<T>): Promise<T> {
  let revoking: Promise<Answered> | undefined;
  let done: Promise<T> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`lock table agent_offers in share mode`;
    revoking = revokeAll(person);
    await until("it waits", async () => (await waiting(server.sql)) > 0);
    done = run();
    done.catch(() => {});
    await until("so does the other", async () => (await waiting(server.sql)) > 1);
  });
  expect((await revoking)?.status).toBe(200);
  return done as Promise<T>;
}

test("who signs in by a passkey while all is revoked is out", async () => {
  const ada = await server.user("Ada");
  const thief = openJar(server.url);
  await thief.signIn(ada.email, ada.password);
  const passkey = makePasskey(server.url);
  const response = passkey.register((await thief.get("/api/auth/passkey/generate-register-options")).body);
  expect((await thief.post("/api/auth/passkey/verify-registration", { response, name: "theirs" })).status).toBe(200);
  const later = openJar(server.url);
  const options = (await later.get("/api/auth/passkey/generate-authenticate-options")).body;
  const answer = await whileRevoking(ada, () =>
    later.post("/api/auth/passkey/verify-authentication", { response: passkey.authenticate(options) }),
  );
  expect([answer.status, await later.whoami()]).toEqual([401, undefined]);
  expect((await server.call(ada.session, "whoami")).status).toBe(200);
});

test("a passkey that is added while all is revoked is not there, nor who came in by it", async () => {
  const ada = await server.user("Ada");
  const thief = openJar(server.url);
  await thief.signIn(ada.email, ada.password);
  const passkey = makePasskey(server.url);
  const response = passkey.register((await thief.get("/api/auth/passkey/generate-register-options")).body);
  const answer = await whileRevoking(ada, () => thief.post("/api/auth/passkey/verify-registration", { response, name: "theirs" }));
  expect(answer.status).toBe(401);
  expect(await server.sql`select from auth.passkey where "userId" = ${ada.id}`).toHaveLength(0);
  expect(await server.sql`select from auth.session where "userId" = ${ada.id}`).toHaveLength(1);
});

test("a code that was allowed before all was revoked makes no login", async () => {
  const ada = await server.user("Ada");
  const jar = openJar(server.url);
  await jar.signIn(ada.email, ada.password);
  const client = await standardClient(server);
  const kept = await client.begin();
  const back = await answerConsent(jar, kept.address, ada);
  const { slug } = await must(server, ada.session, "space.create", { name: "Team" });
  const ask = (path: string, init?: RequestInit) => fetch(server.url + path, init);
  const code = await allowProgram(ask, ada.session, slug, "read:members offline_access");
  expect((await jar.post("/api/auth/revoke-all", { all: true })).status).toBe(200);
  await expect(client.finish(back, kept)).rejects.toThrow();
  const answered = await ask("/api/v1/token", { method: "POST", body: new URLSearchParams(code) });
  expect([answered.status, ((await answered.json()) as { error: string }).error]).toEqual([400, "invalid_grant"]);
  expect(await server.sql`select from auth.logins where user_id = ${ada.id}`).toHaveLength(0);
  // A code that is allowed afterwards is good.
  const next = await client.begin();
  expect(await client.finish(await answerConsent(jar, next.address, ada), next)).toHaveProperty("access_token");
});

test("tokens that the session had made, for itself and for somebody's agent, end with all the rest", async () => {
  const [ada, eve] = [await server.user("Ada"), await server.user("Eve")];
  const { slug } = await must(server, ada.session, "space.create", { name: "Team" });
  await server.join(slug, ada, eve);
  const { id: agent } = await must(server, eve.session, "agent.create", { name: "bot" });
  await must(server, eve.session, "principal.add", { principal: agent }, slug);
  const { key } = await must(server, eve.session, "apiKey.create", { name: "k", agent });
  const mint = async (more: object) => (await must(server, ada.session, "token.create", { space: slug, scope: ["read"], ...more })).token;
  const [plain, subject] = [await mint({}), await mint({ mayAct: agent })];
  expect((await revokeAll(ada)).status).toBe(200);
  for (const at of [server, second]) expect((await at.call(plain, "principal.list", {}, slug)).status).toBe(401);
  await expect(exchange(server.url, subject, { space: slug, scope: "read" }, bearer(key))).rejects.toThrow();
});

test("an agent that was offered before can't be accepted any more", async () => {
  const [ada, eve] = [await server.user("Ada"), await server.user("Eve")];
  await server.acquaint(ada, eve);
  const { id } = await must(server, ada.session, "agent.create", { name: "bot" });
  expect((await must(server, ada.session, "agent.transfer", { id, to: eve.id })).accepted).toBe(false);
  expect((await revokeAll(ada)).status).toBe(200);
  expect((await server.call(eve.session, "agent.accept", { id })).error?.data.code).toBe("NOT_FOUND");
});

test("keys are dead at once, everywhere, and deleted and on record soon after, however many there are", async () => {
  const ada = await server.user("Ada");
  const { key } = await must(server, ada.session, "apiKey.create", { name: "first" });
  const { id: bot } = await must(server, ada.session, "agent.create", { name: "bot" });
  const { key: bots } = await must(server, ada.session, "apiKey.create", { name: "first", agent: bot });
  await server.sql`
    insert into api_keys (id, principal_id, name, hash, hint)
    select new_id(), ${bot}, 'key ' || i, sha256(('revoke-all ' || i)::bytea), '' from generate_series(1, 1300) i`;
  for (const at of [server, second]) for (const one of [key, bots]) expect((await at.call(one, "whoami")).status).toBe(200);

  // The first of what follows is held up: by then they are dead.
  let revoking: Promise<Answered> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`select from api_keys where principal_id = ${bot} for update`;
    revoking = revokeAll(ada);
    await until("they are dead here", async () => (await server.call(bots, "whoami")).status === 401);
    await until("they are dead elsewhere", async () => (await second.call(bots, "whoami")).status === 401, 1000);
    expect((await server.call(key, "whoami")).status).toBe(401);
  });
  expect((await revoking)?.status).toBe(200);
  expect(await server.sql`select from keys_of(${ada.id})`).toHaveLength(0);
  expect(await server.sql`select from audit where actor_id = ${ada.id} and method = 'apiKey.delete'`).toHaveLength(1302);
  const { key: next } = await must(server, ada.session, "apiKey.create", { name: "next" });
  expect((await server.call(next, "whoami")).status).toBe(200);
});

test("what a key gave to others ends with it, everywhere, before its row is gone", async () => {
  const [ada, tom, sam] = [await server.user("Ada"), await server.user("Tom"), await server.user("Sam")];
  const { slug } = await must(server, ada.session, "space.create", { name: "Team" });
  await server.join(slug, ada, tom);
  const { key } = await must(server, ada.session, "apiKey.create", { name: "stolen" });
  for (const permission of ["read:audit", "admin:tasks"]) await must(server, key, "access.grant", { principal: tom.id, permission }, slug);
  await must(server, tom.session, "task.register", { task: "lent" }, slug);
  const { token: link } = await must(server, key, "invite.create", {}, slug);
  await must(server, sam.session, "invite.accept", { token: link });
  await must(server, ada.session, "access.grant", { principal: sam.id, permission: "read:docs" }, slug);
  const { token } = await must(server, sam.session, "token.create", { space: slug, scope: ["read:docs"] });
  const given: [what: string, credential: string, method: string, params: object][] = [
    ["a grant", tom.session, "audit.list", {}],
    ["a membership", sam.session, "space.members", {}],
    ["a token of a membership", token, "access.effective", {}],
    ["a task by a grant", ada.session, "task.get", { task: "lent" }],
  ];
  const good = async () => {
    const found: string[] = [];
    for (const at of [server, second])
      for (const [what, credential, method, params] of given)
        if ((await at.call(credential, method, params, slug)).result) found.push(what);
    return found;
  };
  await until("both servers remember it", async () => (await good()).length === 2 * given.length, 5000);
  let revoking: Promise<Answered> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`select from api_keys where principal_id = ${ada.id} for update`;
    revoking = revokeAll(ada);
    await until("the key is dead", async () => (await server.call(key, "whoami")).status === 401);
    await until("all of it is over", async () => (await good()).length === 0, 1000);
  });
  expect((await revoking)?.status).toBe(200);
});

test("keys that a server could not delete before it went away are dead, and deleted by the next that starts", async () => {
  const ada = await server.user("Ada");
  const { key } = await must(server, ada.session, "apiKey.create", { name: "old" });
  await server.sql`update api_keys set created_at = now() - interval '1 hour' where principal_id = ${ada.id}`;
  const { key: later } = await must(server, ada.session, "apiKey.create", { name: "new" });
  await server.sql`insert into all_revoked (principal_id, at) values (${ada.id}, now() - interval '10 minutes')`;
  expect((await server.call(key, "whoami")).status).toBe(401);
  await (await startTestServer({ DATABASE_URL: server.databaseUrl })).close();
  expect((await server.sql`select name from api_keys where principal_id = ${ada.id}`).map(({ name }) => name)).toEqual(["new"]);
  expect((await server.call(later, "whoami")).status).toBe(200);
});

test("the page of an account shows some of very many keys, and says that there are more", async () => {
  const ada = await server.user("Ada");
  const jar = openJar(server.url);
  await jar.signIn(ada.email, ada.password);
  await server.sql`
    insert into api_keys (id, principal_id, name, hash, hint)
    select new_id(), ${ada.id}, 'key ' || i, sha256(('account ' || i)::bytea), '' from generate_series(1, 3000) i`;
  const text: string = (await jar.get("/account")).body;
  expect(text.length).toBeLessThan(100_000);
  expect(text.match(/data-revoke=/g)).toHaveLength(100);
  expect(text).toContain("There are more");
});
