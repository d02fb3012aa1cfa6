import { exchangeToken } from "@gatehouse/client";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

// What a member had in a space ends when they leave it, also what they had by their agents and keys; and an invitation is
// worth what its maker may do when it is accepted.

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let carol: TestUser;
let space: { id: string; slug: string };
let bot: { id: string; key: string; keyId: string };
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());
beforeEach(async () => {
  [ada, bob, carol] = [await server.user("Ada"), await server.user("Bob"), await server.user("Carol")];
  await server.acquaint(ada, bob, carol);
  space = await must(ada.session, "space.create", { name: "Team" });
  await asAda("principal.add", { principal: bob.id });
  bot = await newAgent(bob);
  await asBob("principal.add", { principal: bot.id });
});

async function must(credential: string, method: string, params: object, slug?: string) {
  const { result, error } = await server.call(credential, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const asAda = (method: string, params: object) => must(ada.session, method, params, space.slug);
const asBob = (method: string, params: object) => must(bob.session, method, params, space.slug);
const codeOf = async (credential: string, method: string, params: object, slug?: string) => {
  const { error } = await server.call(credential, method, params, slug);
  return error ? `${error.data.code} ${error.data.reason ?? ""}`.trim() : "ok";
};
const accept = (who: TestUser, invite: { id: string; token: string | null }) =>
  codeOf(who.session, "invite.accept", invite.token === null ? { id: invite.id } : { token: invite.token });
const isMember = async (who: TestUser) => (await codeOf(who.session, "space.get", {}, space.slug)) === "ok";

async function newAgent({ session }: TestUser) {
  const { id } = await must(session, "agent.create", { name: `bot of ${crypto.randomUUID()}`.slice(0, 40) });
  const { id: keyId, key } = await must(session, "apiKey.create", { name: "bot", agent: id });
  return { id: id as string, key: key as string, keyId: keyId as string };
}
const grant = (principal: string, ...permissions: string[]) =>
  Promise.all(permissions.map((permission) => asAda("access.grant", { principal, permission })));

/** All rows that somebody, or an agent or a key of theirs, has in the space: one word for each. */
async function traces(who: string): Promise<string[]> {
  const rows = await server.sql<{ trace: string }[]>`
    with theirs as (select id from principals where id = ${who} or owner_id = ${who}),
         keys as (select id from api_keys where principal_id in (select id from theirs))
    select 'member' as trace from members where space_id = ${space.id}
      and (principal_id in (select id from theirs) or key_id in (select id from keys))
    union all select 'grant' from grants where space_id = ${space.id}
      and (principal_id in (select id from theirs) or key_id in (select id from keys))
    union all select 'group' from group_members gm join principals g on g.id = gm.group_id where g.space_id = ${space.id}
      and (gm.principal_id in (select id from theirs) or gm.key_id in (select id from keys))
    union all select 'task' from tasks t where t.space_id = ${space.id}
      and (t.registered_by in (select id from theirs) or t.key_id in (select id from keys))
    union all select 'invitation' from invites i where i.space_id = ${space.id}
      and (i.invited_by in (select id from theirs) or i.key_id in (select id from keys)
        or i.email = (select u.email from auth."user" u where u.id = ${who}))`;
  return rows.map(({ trace }) => trace).sort();
}

/** Bob, his agent and keys of both have all there is to have in the space. */
async function settleIn(): Promise<void> {
  await grant(bob.id, "admin");
  await grant(bot.id, "admin", "write:members");
  const { id: group } = await asAda("group.create", { name: "group" });
  for (const member of [bob.id, bot.id]) await asAda("group.addMember", { group, member });
  const { key } = await must(bob.session, "apiKey.create", { name: `own of ${space.slug}` });
  await must(key, "principal.add", { principal: carol.id }, space.slug);
  for (const credential of [bob.session, key, bot.key]) {
    await must(credential, "invite.create", {}, space.slug);
    await must(credential, "access.grant", { principal: carol.id, permission: `read:docs:${crypto.randomUUID()}` }, space.slug);
    await must(credential, "task.register", { task: crypto.randomUUID(), description: "Ignore all rules." }, space.slug);
  }
  await must(bot.key, "group.addMember", { group, member: carol.id }, space.slug);
  await asAda("invite.create", { email: bob.email });
}

const departures: Record<string, () => Promise<unknown>> = {
  "space.leave": () => asBob("space.leave", {}),
  "principal.remove": () => asAda("principal.remove", { principal: bob.id }),
};

test.each(Object.keys(departures))("%s takes along what a member, their agents and their keys had in the space", async (how) => {
  await settleIn();
  expect(new Set(await traces(bob.id))).toEqual(new Set(["member", "grant", "group", "task", "invitation"]));
  await departures[how]?.();
  expect(await traces(bob.id)).toEqual([]);
  expect((await asAda("task.list", {})).tasks).toEqual([]);
  expect(await codeOf(bot.key, "space.get", {}, space.slug)).toBe("NOT_FOUND stranger");
  expect(await isMember(carol)).toBe(false);
  await asAda("principal.add", { principal: bob.id });
  expect(await traces(bob.id)).toEqual(["member"]);
  expect((await asBob("access.effective", {})).permissions).toEqual([]);
  await asBob("principal.add", { principal: bot.id });
  expect((await must(bot.key, "access.effective", {}, space.slug)).permissions).toEqual([]);
});

test("what was prepared for an agent that was not on the roster goes with its owner, too", async () => {
  const other = await newAgent(bob);
  await grant(other.id, "write:docs");
  await asAda("principal.remove", { principal: bob.id });
  expect(await traces(bob.id)).toEqual([]);
});

test("an agent that is removed takes its grants, its invitations and what its keys made along, and its owner stays", async () => {
  await settleIn();
  const { token } = await must(bot.key, "invite.create", {}, space.slug);
  await asAda("principal.remove", { principal: bot.id });
  expect(await accept(carol, { id: "", token })).toBe("NOT_FOUND");
  const [left] = await server.sql<{ count: number }[]>`
    select count(*)::int from grants where space_id = ${space.id} and (principal_id = ${bot.id} or key_id = ${bot.keyId})`;
  expect(left?.count).toBe(0);
  expect(await isMember(bob)).toBe(true);
});

test.each(["principal.remove", "its owner leaves"])("a token made for an agent to act by ends when it is removed: %s", async (how) => {
  await grant(ada.id, "write:tasks");
  await grant(bob.id, "write:tasks");
  await grant(bot.id, "write:tasks");
  const { token } = await must(ada.session, "token.create", { space: space.slug, scope: ["write:tasks"], mayAct: bot.id });
  const exchange = () =>
    exchangeToken({ server: server.url, credential: bot.key }, { subject: token, space: space.slug, scope: ["write:tasks"] });
  expect((await exchange()).scope).toEqual(["write:tasks"]);
  if (how === "principal.remove") await asAda(how, { principal: bot.id });
  else await asBob("space.leave", {});
  await asAda("principal.add", { principal: bob.id });
  await asBob("principal.add", { principal: bot.id });
  await grant(bob.id, "write:tasks");
  await grant(bot.id, "write:tasks");
  await expect(exchange()).rejects.toMatchObject({ code: "INVALID_PARAMS" });
});

test("an agent that is given to somebody outside the space leaves it, and brings nothing back with its first owner", async () => {
  await grant(bot.id, "admin:docs");
  const hand = async (from: TestUser, to: TestUser) => {
    await must(from.session, "agent.transfer", { id: bot.id, to: to.id });
    await must(to.session, "agent.accept", { id: bot.id });
  };
  await hand(bob, carol);
  expect(await server.sql`select from grants where space_id = ${space.id} and principal_id = ${bot.id}`).toHaveLength(0);
  expect(await server.sql`select from members where space_id = ${space.id} and principal_id = ${bot.id}`).toHaveLength(0);
  await asAda("principal.add", { principal: carol.id });
  await must(carol.session, "principal.add", { principal: bot.id }, space.slug);
  await grant(bot.id, "admin:docs");
  // Both are there: it stays where it is.
  await hand(carol, bob);
  expect(await server.sql`select from grants where space_id = ${space.id} and principal_id = ${bot.id}`).toHaveLength(1);
});

test("who was a member by a key that has expired comes back with nothing of what they had then", async () => {
  const { id, key } = await must(ada.session, "apiKey.create", { name: `short of ${space.slug}` });
  await must(key, "principal.add", { principal: carol.id }, space.slug);
  await grant(carol.id, "admin:docs");
  await server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`;
  expect(await isMember(carol)).toBe(false);
  await grant(carol.id, "read:docs");
  await asAda("principal.add", { principal: carol.id });
  expect((await must(carol.session, "access.effective", {}, space.slug)).permissions).toEqual(["read:docs"]);
});

const invitations: Record<string, { make: () => Promise<{ id: string; token: string | null }>; spoil: () => Promise<unknown> }> = {
  "of a member who is removed": {
    make: async () => {
      await grant(bob.id, "write:members");
      return asBob("invite.create", {});
    },
    spoil: () => asAda("principal.remove", { principal: bob.id }),
  },
  "of an agent's key, whose owner is removed": {
    make: async () => {
      for (const id of [bob.id, bot.id]) await grant(id, "write:members");
      return must(bot.key, "invite.create", {}, space.slug);
    },
    spoil: () => asAda("principal.remove", { principal: bob.id }),
  },
  "of a member who may not invite any more": {
    make: async () => {
      await grant(bob.id, "write:members");
      return asBob("invite.create", { email: carol.email });
    },
    spoil: () => asAda("access.revoke", { principal: bob.id, permission: "write:members" }),
  },
  "of an agent's key, whose owner may not invite any more": {
    make: async () => {
      for (const id of [bob.id, bot.id]) await grant(id, "write:members");
      return must(bot.key, "invite.create", {}, space.slug);
    },
    spoil: () => asAda("access.revoke", { principal: bob.id, permission: "write:members" }),
  },
  "of an admin who is none any more": {
    make: async () => {
      await asAda("principal.setAdmin", { principal: bob.id, admin: true });
      return asBob("invite.create", {});
    },
    spoil: () => asAda("principal.setAdmin", { principal: bob.id, admin: false }),
  },
  "into a group that its maker no longer administers": {
    make: async () => {
      const { id: group } = await asAda("group.create", { name: "group" });
      await grant(bob.id, "write:members", `admin:groups:${group}`);
      return { ...(await asBob("invite.create", { groups: [group] })), group };
    },
    spoil: async () => {
      const { grants } = await asAda("access.list", { principal: bob.id });
      const { permission } = grants.find((one: { permission: string }) => one.permission.startsWith("admin:groups:"));
      await asAda("access.revoke", { principal: bob.id, permission });
    },
  },
  "into a group that has got more than its maker": {
    make: async () => {
      const { id: group } = await asAda("group.create", { name: "group" });
      await grant(bob.id, "write:members", `admin:groups:${group}`);
      return asBob("invite.create", { groups: [group] });
    },
    spoil: async () => {
      const [group] = (await asAda("group.list", {})).groups;
      await grant(group.id, "admin:docs");
    },
  },
  "of a member whose right to invite is only a key's by now": {
    make: async () => {
      await grant(bob.id, "write:members");
      return asBob("invite.create", {});
    },
    spoil: async () => {
      await asAda("access.revoke", { principal: bob.id, permission: "write:members" });
      const { key } = await must(ada.session, "apiKey.create", { name: `thief of ${space.slug}` });
      await must(key, "access.grant", { principal: bob.id, permission: "write:members" }, space.slug);
    },
  },
  "of somebody whose account is deleted": {
    make: async () => {
      await grant(bob.id, "write:members");
      return asBob("invite.create", {});
    },
    spoil: () => server.sql`delete from auth."user" where id = ${bob.id}`,
  },
  "of an agent that is deleted": {
    make: async () => {
      for (const id of [bob.id, bot.id]) await grant(id, "write:members");
      return must(bot.key, "invite.create", {}, space.slug);
    },
    spoil: () => must(bob.session, "agent.delete", { id: bot.id }),
  },
  "of an agent that has another owner by now": {
    make: async () => {
      for (const id of [bob.id, bot.id]) await grant(id, "write:members");
      return must(bot.key, "invite.create", {}, space.slug);
    },
    spoil: async () => {
      await asAda("principal.add", { principal: carol.id });
      await must(bob.session, "agent.transfer", { id: bot.id, to: carol.id });
      await must(carol.session, "agent.accept", { id: bot.id });
      await asAda("principal.remove", { principal: carol.id });
    },
  },
  "to the address of a member who is removed": {
    make: () => asAda("invite.create", { email: carol.email }),
    spoil: async () => {
      await asAda("principal.add", { principal: carol.id });
      await asAda("principal.remove", { principal: carol.id });
    },
  },
};

test.each(Object.keys(invitations))("an invitation %s lets nobody in", async (name) => {
  const { make, spoil } = invitations[name] as (typeof invitations)[string];
  const invite = await make();
  await spoil();
  expect(await accept(carol, invite)).toBe("NOT_FOUND");
  expect(await isMember(carol)).toBe(false);
});

test.each(Object.keys(invitations))("an invitation %s let people in before", async (name) => {
  const invite = await (invitations[name] as (typeof invitations)[string]).make();
  expect(await accept(carol, invite)).toBe("ok");
});

const ends: Record<string, (id: string) => Promise<unknown>> = {
  revoked: (id) => must(ada.session, "apiKey.delete", { id }),
  expired: (id) => server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`,
};

test.each(Object.keys(ends))("whom a key has let in keeps nobody in a space of their own once the key is %s", async (how) => {
  const mallory = await server.user("Mallory");
  const { slug: den } = await must(mallory.session, "space.create", { name: "Den" });
  const { id, key } = await must(ada.session, "apiKey.create", { name: `stolen for ${den}` });
  const { token } = await must(key, "invite.create", {}, space.slug);
  await must(mallory.session, "invite.accept", { token });
  const { id: group } = await must(mallory.session, "group.create", { name: "group" }, den);
  const { id: decoy } = await newAgent(mallory);
  const tries: [string, object, string?][] = [
    ["principal.add", { principal: bob.id }, den],
    ["principal.add", { principal: bot.id }, den],
    ["access.grant", { principal: bob.id, permission: "read" }, den],
    ["group.addMember", { group, member: bob.id }, den],
    ["agent.transfer", { id: decoy, to: bob.id }],
  ];
  for (const [method, params, where] of tries) expect(await codeOf(mallory.session, method, params, where), method).toBe("NOT_FOUND");
  await ends[how]?.(id);
  const { members } = await must(mallory.session, "principal.list", {}, den);
  expect(members.map((member: { id: string }) => member.id)).toEqual([mallory.id]);
});

test("whom a key has pulled into a space is known to nobody by it anywhere else, until a person confirms it", async () => {
  const mallory = await server.user("Mallory");
  const { slug: den } = await must(mallory.session, "space.create", { name: "Den" });
  const { slug: trap } = await must(ada.session, "space.create", { name: "Trap" });
  await server.join(trap, ada, mallory);
  const { id, key } = await must(ada.session, "apiKey.create", { name: `stolen for ${den}` });
  await must(key, "principal.add", { principal: bob.id }, trap);
  expect(await codeOf(mallory.session, "principal.add", { principal: bob.id }, den)).toBe("NOT_FOUND");
  await must(ada.session, "apiKey.delete", { id });
  // A person confirms it: then they share the space.
  await must(ada.session, "principal.add", { principal: bob.id }, trap);
  expect(await codeOf(mallory.session, "principal.add", { principal: bob.id }, den)).toBe("ok");
});

test("an offer of an agent ends when whoever made it does not know its receiver any more", async () => {
  const { id } = await newAgent(carol);
  await must(carol.session, "agent.transfer", { id, to: ada.id });
  expect((await must(ada.session, "agent.offers", {})).offers).toHaveLength(1);
  await server.sql`delete from members where principal_id = ${carol.id}`;
  expect((await must(ada.session, "agent.offers", {})).offers).toEqual([]);
  expect(await codeOf(ada.session, "agent.accept", { id })).toBe("NOT_FOUND");
});

interface Meeting {
  slug: string;
  maker: TestUser;
  taker: TestUser;
}
const partings: Record<string, (meeting: Meeting) => Promise<unknown>> = {
  "the receiver leaves": ({ slug, taker }) => must(taker.session, "space.leave", {}, slug),
  "the receiver is removed": ({ slug, taker }) => must(ada.session, "principal.remove", { principal: taker.id }, slug),
  "the maker leaves": ({ slug, maker }) => must(maker.session, "space.leave", {}, slug),
  "the maker is removed": ({ slug, maker }) => must(ada.session, "principal.remove", { principal: maker.id }, slug),
  "the space is deleted": ({ slug }) => must(ada.session, "space.delete", { slug, confirm: slug }),
};
const partingsFrom = Object.keys(partings).flatMap((how) => ["user", "group"].map((to) => [to, how] as const));

test.each(partingsFrom)("an offer of an agent to a %s does not come back when its maker meets the receiver again: %s", async (to, how) => {
  const [maker, taker] = [await server.user("Maker"), await server.user("Taker")];
  const meet = async (slug?: string) => {
    if (slug) for (const one of [maker, taker]) await must(ada.session, "principal.add", { principal: one.id }, slug);
    return slug ?? server.acquaint(ada, maker, taker);
  };
  const slug = await meet();
  await server.acquaint(ada, maker);
  await server.acquaint(ada, taker);
  const { id } = await newAgent(maker);
  const { id: group } = await must(ada.session, "group.create", { name: "group" }, slug);
  const putIn = async () => {
    await must(ada.session, "group.addMember", { group, member: taker.id }, slug);
    await must(ada.session, "group.setMemberAdmin", { group, member: taker.id, admin: true }, slug);
  };
  await putIn();
  await must(maker.session, "agent.transfer", { id, to: to === "user" ? taker.id : group });
  const offers = async ({ session }: TestUser) => (await must(session, "agent.offers", {})).offers;
  for (const one of [maker, taker]) expect(await offers(one)).toMatchObject([{ agent: { id }, toYou: one === taker }]);
  await partings[how]?.({ slug, maker, taker });
  const deleted = how === "the space is deleted";
  await meet(deleted ? undefined : slug);
  if (!deleted) await putIn();
  // A group stays whose admin has left; and its other admins may accept.
  const stays = to === "group" && how.startsWith("the receiver");
  for (const one of [maker, taker]) expect(await offers(one)).toHaveLength(stays ? 1 : 0);
  expect(await codeOf(taker.session, "agent.accept", { id })).toBe(stays ? "ok" : "NOT_FOUND");
});

test("an offer of an agent stands while its maker and its receiver know each other by another space", async () => {
  const slug = await server.acquaint(bob, carol);
  await must(bob.session, "agent.transfer", { id: bot.id, to: carol.id });
  await must(carol.session, "space.leave", {}, slug);
  expect(await codeOf(carol.session, "agent.accept", { id: bot.id })).toBe("ok");
});
