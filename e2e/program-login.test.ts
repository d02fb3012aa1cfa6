import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Ask, allowProgram, callTool, type ProgramLogin, signProgramIn } from "./program.ts";
import { waiting } from "./rivals.ts";
import { until } from "./run.ts";

const SCOPE = "read:members offline_access";
let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let slug: string;
beforeAll(async () => {
  // The calls come from an address each: one registers only so many programs.
  server = await startTestServer({ TRUST_PROXY: "1" });
  ada = await server.user("Ada");
  slug = (await server.call(ada.session, "space.create", { name: "Team" })).result.slug;
});
afterAll(() => server.close());
beforeEach(async () => {
  bob = await server.user("Bob");
  await letIn();
});

let asked = 0;
const ask: Ask = (path, init) => {
  server.settle();
  const from = `198.51.${Math.floor(++asked / 250) % 250}.${asked % 250}`;
  return fetch(server.url + path, { ...init, headers: { ...(init?.headers as Record<string, string>), "x-forwarded-for": from } });
};
const signIn = () => signProgramIn(ask, bob.session, slug, SCOPE);
const token = async (params: Record<string, string>) => {
  const answered = await ask("/api/v1/token", { method: "POST", body: new URLSearchParams(params) });
  return { status: answered.status, body: await answered.json() };
};
const refresh = ({ client_id, refresh_token = "" }: ProgramLogin) => token({ grant_type: "refresh_token", client_id, refresh_token });
const whoami = ({ access_token }: ProgramLogin) => callTool(ask, access_token, "whoami");

const byProgram = ({ client_id, access_token: token }: ProgramLogin) =>
  ask("/api/v1/revoke", { method: "POST", body: new URLSearchParams({ client_id, token }) });

/** Brings Bob in, and lets him see the roster. */
async function letIn() {
  await server.join(slug, ada, bob);
  await server.call(ada.session, "access.grant", { principal: bob.id, permission: "read:members" }, slug);
}
const remove = () => server.call(ada.session, "principal.remove", { principal: bob.id }, slug);
const newPassword = () => server.sql`update auth.account set password = password || 'x' where "userId" = ${bob.id}`;
const expectOver = async (login: ProgramLogin) => {
  expect(await whoami(login)).toEqual({ code: "UNAUTHENTICATED" });
  expect((await refresh(login)).body).toMatchObject({ error: "invalid_grant" });
};
describe("a login of a program", () => {
  test("ends with the membership: who comes back later has let nobody in", async () => {
    const login = await signIn();
    expect(await callTool(ask, login.access_token, "principal.list")).toMatchObject({ result: { members: expect.any(Array) } });
    await remove();
    await letIn();
    await expectOver(login);
  });

  test("ends with the membership while it is a code yet, however soon the person is back", async () => {
    const code = await allowProgram(ask, bob.session, slug, SCOPE);
    await remove();
    await letIn();
    const { body } = await token(code);
    expect(await callTool(ask, body.access_token, "principal.list")).toEqual({ code: "UNAUTHENTICATED" });
    const login = await signIn();
    expect(await callTool(ask, login.access_token, "principal.list")).toMatchObject({ result: { members: expect.any(Array) } });
  });

  test("ends as a whole by `token.revoke`, whichever credential of the person asks", async () => {
    const { result } = await server.call(bob.session, "apiKey.create", { name: "a key" });
    for (const credential of [bob.session, result.key]) {
      const login = await signIn();
      await server.call(credential, "token.revoke", { token: login.access_token });
      await expectOver(login);
    }
  });

  test("is for something: whoever leaves out all that was asked lets nobody in", async () => {
    await expect(signProgramIn(ask, bob.session, slug, "")).rejects.toThrow(/invalid_scope/);
  });

  test("is of the space and the scope that were allowed, whatever a call or a refresh asks for", async () => {
    const other = (await server.call(bob.session, "space.create", { name: "Bob's own" })).result.slug;
    const login = await signIn();
    const there: Ask = (path, init) => ask(path, { ...init, headers: { ...(init?.headers as object), "x-me-space": other } });
    expect(await callTool(there, login.access_token, "principal.list")).toEqual({ code: "NOT_FOUND" });
    expect(await callTool((path, init) => ask(`${path}?space=${other}`, init), login.access_token, "principal.list")).toEqual({
      code: "NOT_FOUND",
    });
    const wider = { grant_type: "refresh_token", client_id: login.client_id, refresh_token: login.refresh_token ?? "" };
    for (const scope of ["read:members write:tasks", "account offline_access", "admin"])
      expect((await token({ ...wider, scope })).body.error, scope).toBe("invalid_scope");
    const { body } = await token({ ...wider, scope: "offline_access", referenceId: other, space: other });
    expect(await callTool(ask, body.access_token, "whoami")).toMatchObject({ result: { credential: { scope: [], space: slug } } });
    // The login keeps what was allowed (RFC 6749 §6), and no more than that.
    const { body: next } = await token({ ...wider, refresh_token: body.refresh_token, scope: "read:members" });
    expect(await callTool(ask, next.access_token, "whoami")).toMatchObject({
      result: { credential: { scope: ["read:members"], space: slug } },
    });
    expect((await token({ ...wider, refresh_token: next.refresh_token, scope: "write:tasks" })).body.error).toBe("invalid_scope");
  });
});

test("a tool that waits for an answer ends with the login, and with the membership", async () => {
  await server.call(ada.session, "access.grant", { principal: bob.id, permission: "write:tasks" }, slug);
  for (const end of [(login: ProgramLogin) => byProgram(login), remove]) {
    const login = await signProgramIn(ask, bob.session, slug, "write:tasks offline_access");
    const externalId = `chat-${login.client_id}`;
    // Nobody serves the task: there is no answer to come.
    const asked = callTool(ask, login.access_token, "start_agent_chat", { task: "echo", chatId: externalId, message: "hello" });
    await until("it was said", async () => {
      const { result } = await server.call(ada.session, "session.events", { session: externalId }, slug);
      return result?.events.length > 0;
    });
    await end(login);
    expect((await asked).code).toMatch(/UNAUTHENTICATED|NOT_FOUND|UNKNOWN/);
  }
});

test("of many who call at once, each is who they are", async () => {
  const own = await signIn();
  const eve = await server.user("Eve");
  const hers = (await server.call(eve.session, "space.create", { name: "Hers" })).result.slug;
  const other = await signProgramIn(ask, eve.session, hers, "read:members");
  const calls = Array.from({ length: 40 }, async (_, i) => {
    const [login, id, space] = i % 2 ? ([own, bob.id, slug] as const) : ([other, eve.id, hers] as const);
    expect(await whoami(login)).toMatchObject({ result: { id, credential: { space } } });
    expect(await callTool(ask, login.access_token, "space.get")).toMatchObject({ result: { slug: space } });
  });
  await Promise.all(calls);
});

describe("what ends a login", () => {
  const byPerson = async () => {
    const page = await (await ask("/account", { headers: { cookie: `gatehouse.session_token=${bob.session}` } })).text();
    const headers = { authorization: `Bearer ${bob.session}`, "content-type": "application/json" };
    const ids = [...page.matchAll(/data-end="([^"]+)"/g)].map(([, id]) => id);
    for (const id of ids) await ask("/api/auth/programs/end", { method: "POST", headers, body: JSON.stringify({ id }) });
  };
  const revokeAll = async () => {
    const headers = { authorization: `Bearer ${bob.session}`, "content-type": "application/json" };
    expect((await ask("/api/auth/revoke-all", { method: "POST", headers, body: JSON.stringify({ all: true }) })).status).toBe(200);
  };
  // Renewing is stopped in the middle: the old pair is used up, the new one is not kept yet.
  test.each([
    ["the person signs it out", byPerson],
    ["it signs itself out", byProgram],
    ["it is revoked", (login: ProgramLogin) => server.call(bob.session, "token.revoke", { token: login.access_token })],
    ["the person has a new password", newPassword],
    ["the person revokes all", revokeAll],
    ["the person is removed", remove],
  ])("%s while it is being renewed: nothing of it is left", async (_what, end) => {
    const login = await signIn();
    await server.sql.unsafe(`
      create function stall() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4242); return new; end $$;
      create trigger a_stall before insert on auth."oauthRefreshToken" for each row execute function stall()`);
    const held = Promise.withResolvers<void>();
    const holding = Promise.withResolvers<void>();
    const hold = server.sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(4242)`;
      holding.resolve();
      await held.promise;
    });
    await holding.promise;
    const renewing = refresh(login);
    await until("it is being renewed", async () => (await waiting(server.sql)) === 1);
    let over = false;
    const ending = Promise.resolve(end(login)).finally(() => {
      over = true;
    });
    await until("it has ended, or waits to", async () => over || (await waiting(server.sql)) > 1);
    held.resolve();
    await hold;
    const { body } = await renewing;
    await ending;
    await server.sql.unsafe(`drop trigger a_stall on auth."oauthRefreshToken"; drop function stall()`);
    await expectOver(login);
    if (body.access_token) await expectOver({ ...body, client_id: login.client_id });
  });

  test.each([
    ["the person has a new password", newPassword],
    ["the person is removed", remove],
  ])("%s before the code is redeemed: it is worth nothing", async (_what, end) => {
    const redeem = await allowProgram(ask, bob.session, slug, SCOPE);
    await end();
    const { body } = await token(redeem);
    if (end === remove) await letIn();
    if (body.access_token) expect(await whoami(body)).toEqual({ code: "UNAUTHENTICATED" });
    expect((await token(redeem)).body).toMatchObject({ error: "invalid_grant" });
  });
});
