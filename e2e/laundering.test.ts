import { exchangeToken } from "@gatehouse/client";
import { userApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

// Each known way of making more of a key than it is, or something that outlives it, one by one. What random
// sequences find by luck stands here by name.

let server: TestServer;
let ada: TestUser;
let mallory: TestUser;
let space: string;
let pat: { id: string; key: string };
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());
beforeEach(async () => {
  [ada, mallory] = [await server.user("Ada"), await server.user("Mallory")];
  await server.acquaint(ada, mallory);
  space = (await must(ada.session, "space.create", { name: "Team" })).slug;
  pat = await must(ada.session, "apiKey.create", { name: "stolen" });
});

async function must(credential: string, method: string, params: object, slug?: string) {
  const { result, error } = await server.call(credential, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const asAda = (method: string, params: object) => must(ada.session, method, params, space);
const asThief = (method: string, params: object) => must(pat.key, method, params, space);
const asMallory = (method: string, params: object) => must(mallory.session, method, params, space);
const refusal = async (credential: string, method: string, params: object) => {
  const { error } = await server.call(credential, method, params, method in userApi ? undefined : space);
  return error && `${error.data.code} ${error.data.reason ?? ""}`.trim();
};
const may = async (who: TestUser, permission: string) =>
  (await server.call(who.session, "access.check", { permission }, space)).result?.allowed ?? false;
const isMember = async (who: TestUser) => (await server.call(who.session, "space.get", {}, space)).result !== undefined;

const ends = {
  revoked: () => must(ada.session, "apiKey.delete", { id: pat.id }),
  expired: () => server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${pat.id}`,
};

test.each(Object.entries(ends))("an invitation by a key lets nobody in, or keeps nobody in, once the key is %s", async (_how, end) => {
  const eve = await server.user("Eve");
  const [used, unused] = [await asThief("invite.create", {}), await asThief("invite.create", {})];
  const mailed = await asThief("invite.create", { email: eve.email });
  await must(mallory.session, "invite.accept", { token: used.token });
  expect(await isMember(mallory)).toBe(true);
  await end();
  expect(await isMember(mallory)).toBe(false);
  expect(await refusal(mallory.session, "invite.accept", { token: unused.token })).toBe("NOT_FOUND");
  expect((await must(eve.session, "invite.pending", {})).invites).toEqual([]);
  expect(await refusal(eve.session, "invite.accept", { id: mailed.id })).toBe("NOT_FOUND");
});

test("an invitation by a key lets in nobody whom more awaits than the key may do", async () => {
  const limited = await must(ada.session, "apiKey.create", { name: "limited", ceiling: ["write:members", "read"] });
  const { token } = await must(limited.key, "invite.create", {}, space);
  await asAda("access.grant", { principal: mallory.id, permission: "admin:docs" });
  expect(await refusal(limited.key, "principal.add", { principal: mallory.id })).toBe("FORBIDDEN exceeds");
  expect(await refusal(mallory.session, "invite.accept", { token })).toBe("FORBIDDEN exceeds");
  await asAda("access.revoke", { principal: mallory.id, permission: "admin:docs" });
  await must(mallory.session, "invite.accept", { token });
});

test.each(Object.entries(ends))(
  "what a group gives to whom a key put into it, and what a key gave a group, goes: the key is %s",
  async (_how, end) => {
    const [byKey, byAda] = [await asAda("group.create", { name: "by key" }), await asAda("group.create", { name: "by Ada" })];
    await asAda("principal.add", { principal: mallory.id });
    await asAda("access.grant", { principal: byKey.id, permission: "read:docs:a" });
    await asThief("group.addMember", { group: byKey.id, member: mallory.id });
    await asAda("group.addMember", { group: byAda.id, member: mallory.id });
    await asThief("access.grant", { principal: byAda.id, permission: "read:docs:b" });
    expect([await may(mallory, "read:docs:a"), await may(mallory, "read:docs:b")]).toEqual([true, true]);
    await end();
    expect([await may(mallory, "read:docs:a"), await may(mallory, "read:docs:b")]).toEqual([false, false]);
    expect((await asAda("group.listMembers", { group: byKey.id })).members).toEqual([]);
  },
);

test("what a key has given is used, and not passed on: not to oneself, not by a key of one's own, not by way of a group or an agent", async () => {
  const { id: bot } = await must(mallory.session, "agent.create", { name: `bot-${space}` });
  const { key: botKey } = await must(mallory.session, "apiKey.create", { name: "bot", agent: bot });
  const { key: own } = await must(mallory.session, "apiKey.create", { name: "own" });
  const { id: group } = await asAda("group.create", { name: "group" });
  await asAda("principal.add", { principal: mallory.id });
  await asMallory("principal.add", { principal: bot });
  for (const principal of [mallory.id, bot]) await asThief("access.grant", { principal, permission: "admin" });
  expect(await may(mallory, "admin")).toBe(true);
  for (const credential of [mallory.session, own, botKey]) {
    const tries = {
      "access.grant": { principal: mallory.id, permission: "admin" },
      "principal.add": { principal: mallory.id },
      "group.addMember": { group, member: mallory.id },
      "invite.create": { groups: [group] },
    };
    for (const [method, params] of Object.entries(tries))
      expect(await refusal(credential, method, params), method).toBe("FORBIDDEN borrowed");
  }
  expect(await refusal(mallory.session, "principal.setAdmin", { principal: mallory.id, admin: true })).toBe("FORBIDDEN borrowed");
  await ends.revoked();
  for (const permission of ["read", "read:docs", "read:groups"]) expect(await may(mallory, permission)).toBe(false);
});

test("whom a key has let in makes nothing in the space by what awaited them there", async () => {
  const { id: group } = await asAda("group.create", { name: "owners" });
  for (const member of [ada.id, mallory.id]) {
    await asAda("group.addMember", { group, member });
    await asAda("group.setMemberAdmin", { group, member, admin: true });
  }
  const { id: bot } = await must(ada.session, "agent.create", { name: `bot-${space}` });
  await must(ada.session, "agent.transfer", { id: bot, to: group });
  await asThief("principal.add", { principal: mallory.id });
  expect(await refusal(mallory.session, "group.addMember", { group, member: mallory.id })).toBe("FORBIDDEN borrowed");
  for (const [method, params] of Object.entries({
    "apiKey.create": { name: "k", agent: bot },
    "agent.transfer": { id: bot, to: mallory.id },
  }))
    expect(await refusal(mallory.session, method, params), method).toBe("NOT_FOUND");
  await asAda("principal.add", { principal: mallory.id });
  await must(mallory.session, "apiKey.create", { name: "k", agent: bot });
});

test.each(Object.entries(ends))(
  "a key that adds somebody brings what was prepared for them to life, for as long as it is not %s",
  async (_how, end) => {
    await asAda("access.grant", { principal: mallory.id, permission: "admin:docs" });
    await asThief("principal.add", { principal: mallory.id });
    expect(await may(mallory, "admin:docs")).toBe(true);
    await end();
    expect(await isMember(mallory)).toBe(false);
  },
);

test("a key gives itself nothing through its own ceiling", async () => {
  const limited = await must(ada.session, "apiKey.create", { name: "limited", ceiling: ["admin:docs"] });
  expect(await refusal(limited.key, "access.grant", { principal: ada.id, permission: "admin:audit" })).toBe("FORBIDDEN permission");
  await must(limited.key, "access.grant", { principal: ada.id, permission: "admin:docs" }, space);
  expect((await must(limited.key, "access.effective", {}, space)).permissions).toEqual(["admin:docs"]);
});

test("what a person granted before a key did stays the person's, and what a person confirms becomes so", async () => {
  const permissions = { before: "read:docs:before", confirmed: "read:docs:confirmed", keys: "read:docs:keys" };
  await asAda("principal.add", { principal: mallory.id });
  await asAda("access.grant", { principal: mallory.id, permission: permissions.before });
  for (const permission of Object.values(permissions)) await asThief("access.grant", { principal: mallory.id, permission });
  await asAda("access.grant", { principal: mallory.id, permission: permissions.confirmed });
  await asThief("access.grant", { principal: mallory.id, permission: permissions.confirmed });
  await ends.revoked();
  const left = await Promise.all(Object.values(permissions).map((permission) => may(mallory, permission)));
  expect(left).toEqual([true, true, false]);
});

test.each(["member", "group"])("who is no longer to be admin is not thereby confirmed as a %s", async (of) => {
  const { id: group } = await asAda("group.create", { name: "group" });
  if (of === "group") await asAda("principal.add", { principal: mallory.id });
  else await asThief("principal.add", { principal: mallory.id });
  await asThief("group.addMember", { group, member: mallory.id });
  await asAda("principal.setAdmin", { principal: mallory.id, admin: false });
  await asAda("group.setMemberAdmin", { group, member: mallory.id, admin: false });
  await ends.revoked();
  expect((await asAda("group.listMembers", { group })).members).toEqual([]);
  expect(await isMember(mallory)).toBe(of === "group");
});

test("rotation ends nothing that the key made, and what it made ends with it all the same", async () => {
  await asThief("principal.add", { principal: mallory.id });
  const { key } = await must(ada.session, "apiKey.rotate", { id: pat.id, overlapHours: 0 });
  expect(await isMember(mallory)).toBe(true);
  await must(key, "access.grant", { principal: mallory.id, permission: "read:docs" }, space);
  await ends.revoked();
  expect(await isMember(mallory)).toBe(false);
});

test("an agent that is handed over leaves behind what its keys made, and its keys", async () => {
  const { id: bot } = await must(ada.session, "agent.create", { name: `bot-${space}` });
  const { key } = await must(ada.session, "apiKey.create", { name: "bot", agent: bot });
  for (const principal of [bot, mallory.id]) await asAda("principal.add", { principal });
  await asAda("access.grant", { principal: bot, permission: "admin:docs" });
  await must(key, "access.grant", { principal: mallory.id, permission: "read:docs" }, space);
  await must(ada.session, "agent.transfer", { id: bot, to: mallory.id });
  await must(mallory.session, "agent.accept", { id: bot });
  expect((await server.call(key, "whoami")).status).toBe(401);
  expect(await may(mallory, "read:docs")).toBe(false);
});

test("who may let people in, or run groups, does not thereby get what groups may do", async () => {
  const { id: group } = await asAda("group.create", { name: "strong" });
  await asAda("access.grant", { principal: group, permission: "admin:docs" });
  await asAda("principal.add", { principal: mallory.id });
  await asAda("access.grant", { principal: mallory.id, permission: "write:members" });
  expect(await refusal(mallory.session, "invite.create", { groups: [group] })).toBe("FORBIDDEN exceeds");
  await asAda("access.grant", { principal: mallory.id, permission: "admin:groups" });
  for (const [method, params] of Object.entries({ "invite.create": { groups: [group] }, "group.addMember": { group, member: mallory.id } }))
    expect(await refusal(mallory.session, method, params), method).toBe("FORBIDDEN exceeds");
  expect(await may(mallory, "read:docs")).toBe(false);
});

test("no invitation of somebody's own is their way back", async () => {
  await asAda("principal.add", { principal: mallory.id });
  await asAda("access.grant", { principal: mallory.id, permission: "write:members" });
  const { token } = await asMallory("invite.create", {});
  await asAda("principal.remove", { principal: mallory.id });
  expect(await refusal(mallory.session, "invite.accept", { token })).toBe("NOT_FOUND");
});

test("a key limited to reading takes nobody out of a group, itself neither", async () => {
  const { id: group } = await asAda("group.create", { name: "group" });
  await asAda("group.addMember", { group, member: ada.id });
  const limited = await must(ada.session, "apiKey.create", { name: "limited", ceiling: ["read"] });
  expect(await refusal(limited.key, "group.removeMember", { group, member: ada.id })).toBe("FORBIDDEN permission");
});

test.each(Object.entries(ends))(
  "tokens that a key mints, and that come of those, are good for nothing once the key is %s",
  async (_how, end) => {
    const scope = { space, scope: ["admin"] };
    const { id: bot } = await must(mallory.session, "agent.create", { name: `bot-${space}` });
    const { key: credential } = await must(mallory.session, "apiKey.create", { name: "bot", agent: bot });
    for (const principal of [mallory.id, bot]) await asAda("principal.add", { principal });
    for (const principal of [mallory.id, bot]) await asAda("access.grant", { principal, permission: "admin" });
    const { token } = await must(pat.key, "token.create", scope);
    const { token: child } = await must(token, "token.create", scope);
    const { token: subject } = await must(pat.key, "token.create", { ...scope, mayAct: bot });
    const acting = await exchangeToken({ server: server.url, credential }, { ...scope, subject });
    const live = async () =>
      Promise.all([token, child, acting.token].map(async (one) => (await server.call(one, "space.get", {}, space)).status));
    expect(await live()).toEqual([200, 200, 200]);
    await end();
    expect(await live()).toEqual([401, 401, 401]);
    const again = exchangeToken({ server: server.url, credential }, { ...scope, subject });
    await expect(again).rejects.toMatchObject({ code: "INVALID_PARAMS" });
  },
);

test("a token makes nothing at all: no member, no grant, no invitation, no key; and no account of anybody's is open to it", async () => {
  const { token } = await must(pat.key, "token.create", { space, scope: ["admin"] });
  const { id: group } = await asAda("group.create", { name: "group" });
  await asAda("principal.add", { principal: mallory.id });
  const tries = {
    "principal.add": { principal: mallory.id },
    "principal.setAdmin": { principal: mallory.id, admin: true },
    "group.addMember": { group, member: mallory.id },
    "group.setMemberAdmin": { group, member: mallory.id, admin: true },
    "access.grant": { principal: mallory.id, permission: "read" },
    "invite.create": {},
    "secretKey.create": { name: "mine" },
    "apiKey.create": { name: "mine" },
    "agent.create": { name: "mine" },
    "space.create": { name: "mine" },
  };
  for (const [method, params] of Object.entries(tries)) expect(await refusal(token, method, params), method).toBe("FORBIDDEN token");
});

test.each(["secretKey.revoke", "expiry"])("what a secret key gave goes with it: %s", async (how) => {
  const { id, key } = await asAda("secretKey.create", { name: "stolen" });
  const { result: service } = await server.call(key, "whoami");
  for (const permission of ["admin:docs", "write:members"]) await asAda("access.grant", { principal: service.id, permission });
  const { id: invite } = await must(key, "invite.create", { email: mallory.email }, space);
  await must(mallory.session, "invite.accept", { id: invite });
  await must(key, "access.grant", { principal: mallory.id, permission: "read:docs" }, space);
  expect(await may(mallory, "read:docs")).toBe(true);
  expect(await refusal(mallory.session, "access.grant", { principal: mallory.id, permission: "read:docs" })).toBe("FORBIDDEN permission");
  if (how === "expiry") await server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`;
  else await asAda(how, { id });
  expect(await isMember(mallory)).toBe(false);
});

test("a key that reads members, and no groups, is told of none by their names or ids, nor by invitations", async () => {
  const { id: group } = await asAda("group.create", { name: "redacted" });
  await asAda("invite.create", { groups: [group] });
  const told = async (ceiling: string[]) => {
    const { key } = await must(ada.session, "apiKey.create", { name: `c-${ceiling.length}-${space}`, ceiling });
    const [resolved, lookedUp, invited] = await Promise.all([
      must(key, "principal.resolve", { name: "redacted" }, space),
      must(key, "principal.lookup", { ids: [group] }, space),
      must(key, "invite.list", {}, space),
    ]);
    return [resolved.principals, lookedUp.principals, invited.invites[0].groups].map((groups) => groups.length);
  };
  expect(await told(["read:members"])).toEqual([0, 0, 0]);
  expect(await told(["read:members", "read:groups"])).toEqual([1, 1, 1]);
});

test.each(["group.removeMember", "group.setMemberAdmin"])(
  "what a group's admin offered does not come back with them: %s",
  async (method) => {
    const { id: group } = await asAda("group.create", { name: "owners" });
    await asAda("principal.add", { principal: mallory.id });
    const putIn = async () => {
      await asAda("group.addMember", { group, member: mallory.id });
      await asAda("group.setMemberAdmin", { group, member: mallory.id, admin: true });
    };
    await putIn();
    const { id: bot } = await must(mallory.session, "agent.create", { name: `bot-${space}` });
    await must(mallory.session, "agent.transfer", { id: bot, to: group });
    await must(mallory.session, "agent.transfer", { id: bot, to: ada.id });
    const offered = async () =>
      (await must(ada.session, "agent.offers", {})).offers.some(({ agent }: { agent: { id: string } }) => agent.id === bot);
    expect(await offered()).toBe(true);
    await asAda(method, { group, member: mallory.id, ...(method === "group.setMemberAdmin" && { admin: false }) });
    await putIn();
    expect(await offered()).toBe(false);
  },
);

test("who is an admin by a key alone takes no admin off the roster, and revokes no secret key", async () => {
  const eve = await server.user("eve");
  await server.join(space, ada, eve);
  await asAda("principal.setAdmin", { principal: eve.id, admin: true });
  const secret = await asAda("secretKey.create", { name: "production" });
  await asThief("principal.add", { principal: mallory.id });
  await asThief("access.grant", { principal: mallory.id, permission: "admin" });
  for (const [method, params] of Object.entries({ "principal.remove": { principal: eve.id }, "secretKey.revoke": { id: secret.id } }))
    expect(await refusal(mallory.session, method, params), method).toBe("FORBIDDEN borrowed");
  expect((await server.call(secret.key, "whoami")).status).toBe(200);
  await asAda("access.grant", { principal: mallory.id, permission: "admin" });
  await asAda("principal.add", { principal: mallory.id });
  await must(mallory.session, "secretKey.revoke", { id: secret.id }, space);
  await must(mallory.session, "principal.remove", { principal: eve.id }, space);
});

test("a key takes neither its owner nor their agents off a roster, nor out of a group", async () => {
  const { id: group } = await asAda("group.create", { name: "crew" });
  await asAda("principal.add", { principal: mallory.id });
  await asAda("access.grant", { principal: mallory.id, permission: "write:members" });
  await asAda("group.addMember", { group, member: mallory.id });
  const { id: bot } = await must(mallory.session, "agent.create", { name: `bot-${space}` });
  await must(mallory.session, "principal.add", { principal: bot }, space);
  const { key } = await must(mallory.session, "apiKey.create", { name: "stolen" });
  const { key: ofBot } = await must(mallory.session, "apiKey.create", { name: "stolen too", agent: bot });
  await asAda("access.grant", { principal: bot, permission: "write:members" });
  for (const [credential, principal] of [
    [key, mallory.id],
    [key, bot],
    [ofBot, bot],
  ] as const)
    expect(await refusal(credential, "principal.remove", { principal })).toBe("FORBIDDEN interactive-only");
  expect(await refusal(key, "group.removeMember", { group, member: mallory.id })).toMatch(/^FORBIDDEN/);
  await must(mallory.session, "group.removeMember", { group, member: mallory.id }, space);
  await must(mallory.session, "principal.remove", { principal: bot }, space);
});
