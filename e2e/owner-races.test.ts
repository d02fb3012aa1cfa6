import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { breaches, codeOf, countBy, whileLocked } from "./rivals.ts";

const rounds = Array.from({ length: 12 }, (_, i) => i);

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let carol: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  [ada, bob, carol] = [await server.user("Ada"), await server.user("Bob"), await server.user("Carol")];
  slug = (await must(ada.session, "space.create", { name: "Team" })).slug;
  await server.join(slug, ada, bob, carol);
});
afterAll(() => server.close());
afterEach(async () => expect(await breaches(server.sql)).toEqual([]));

async function must(credential: string, method: string, params: object, space?: string) {
  const { result, error } = await server.call(credential, method, params, space);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const newAgent = async (): Promise<string> =>
  (await must(ada.session, "agent.create", { name: `n-${crypto.randomUUID().slice(0, 13)}` })).id;
const by = (user: TestUser, method: string, params: object, space?: string) => server.call(user.session, method, params, space);
const ownerOf = async (id: string) =>
  (await server.sql<{ ownerId: string }[]>`select owner_id from principals where id = ${id}`)[0]?.ownerId;
const keysOf = async (id: string) => (await server.sql`select id from api_keys where principal_id = ${id}`).length;

/** A group whose admin somebody is. */
async function groupOf(admin: TestUser): Promise<string> {
  const { id: group } = await must(ada.session, "group.create", { name: `g-${crypto.randomUUID().slice(0, 13)}` }, slug);
  await must(ada.session, "group.addMember", { group, member: admin.id }, slug);
  await must(ada.session, "group.setMemberAdmin", { group, member: admin.id, admin: true }, slug);
  return group;
}

async function atOnce(...calls: ReturnType<TestServer["call"]>[]): Promise<string[]> {
  const codes = (await Promise.all(calls)).map(codeOf);
  expect(codes).not.toContain("INTERNAL_ERROR");
  return codes;
}

type Calls = (() => ReturnType<TestServer["call"]>)[];

/** Lets calls begin one after the other behind one lock: each sees what was before all of them. */
async function behind(lock: string, id: string, ...calls: Calls): Promise<string[]> {
  const started: ReturnType<TestServer["call"]>[] = [];
  await whileLocked(server.sql, lock, id, async (waiting) => {
    for (const [i, call] of calls.entries()) {
      started.push(call());
      await waiting(i + 1);
    }
  });
  return atOnce(...started);
}
const inTurn = (principal: string, ...calls: Calls) => behind("select from principals where id = $1 for update", principal, ...calls);

test("what the old owner does to an agent when the new one has just accepted it comes too late", async () => {
  const group = await groupOf(ada);
  const late = {
    "agent.transfer": (id: string) => ({ id, to: group }),
    "agent.delete": (id: string) => ({ id }),
    "agent.rename": (id: string) => ({ id, name: `late ${id.slice(-12)}` }),
    "apiKey.create": (agent: string) => ({ name: "late", agent }),
  };
  for (const [method, params] of Object.entries(late)) {
    const agent = await newAgent();
    await must(ada.session, "agent.transfer", { id: agent, to: bob.id });
    const codes = await inTurn(
      agent,
      () => by(bob, "agent.accept", { id: agent }),
      () => by(ada, method, params(agent)),
    );
    expect(codes, method).toEqual(["ok", "NOT_FOUND"]);
    expect([await ownerOf(agent), await keysOf(agent)], method).toEqual([bob.id, 0]);
  }
});

test("an agent is accepted or deleted, and takes no key of its old owner along", async () => {
  for (const _ of rounds) {
    const agent = await newAgent();
    await must(ada.session, "agent.transfer", { id: agent, to: bob.id });
    const key = (name: string) => by(ada, "apiKey.create", { name, agent });
    const [, accepted, deleted] = await atOnce(
      key("a"),
      by(bob, "agent.accept", { id: agent }),
      by(ada, "agent.delete", { id: agent }),
      key("b"),
    );
    expect([accepted, deleted].sort()).toEqual(["NOT_FOUND", "ok"]);
    expect(await ownerOf(agent)).toBe(accepted === "ok" ? bob.id : undefined);
    expect(await keysOf(agent)).toBe(0);
  }
});

test("of two owners to whom an agent is offered at once, one gets it", async () => {
  for (const _ of rounds) {
    const agent = await newAgent();
    const offers = await atOnce(...[bob, carol].map(({ id }) => by(ada, "agent.transfer", { id: agent, to: id })));
    expect(offers).toEqual(["ok", "ok"]);
    const codes = await atOnce(...[bob, carol].map((user) => by(user, "agent.accept", { id: agent })));
    expect(countBy(codes)).toEqual({ ok: 1, NOT_FOUND: 1 });
    expect(await ownerOf(agent)).toBe([bob, carol][codes.indexOf("ok")]?.id);
  }
});

test("an agent that its owner gives to two groups at once is one group's, whole", async () => {
  const groups = [await groupOf(ada), await groupOf(ada)];
  for (const _ of rounds) {
    const agent = await newAgent();
    const codes = await atOnce(...groups.map((to) => by(ada, "agent.transfer", { id: agent, to })));
    // The one that waited may find the agent no longer where it saw it.
    expect(codes).toContain("ok");
    expect(new Set(codes).difference(new Set(["ok", "NOT_FOUND"]))).toEqual(new Set());
    expect(groups).toContain(await ownerOf(agent));
  }
});

test("a group that is deleted while it is given members and agents is gone, or owns them", async () => {
  for (const round of rounds) {
    const group = await groupOf(bob);
    const agent = await newAgent();
    await must(ada.session, "agent.transfer", { id: agent, to: group });
    const { token } = await must(ada.session, "invite.create", { groups: [group] }, slug);
    const calls = [
      () => by(bob, "agent.accept", { id: agent }),
      () => by(ada, "group.addMember", { group, member: carol.id }, slug),
      () => by(ada, "access.grant", { principal: group, permission: "read:docs" }, slug),
      () => by(carol, "invite.accept", { token }),
      () => by(ada, "group.delete", { group }, slug),
      () => by(ada, "agent.transfer", { id: agent, to: group }),
    ];
    const codes = await atOnce(...(round % 2 ? calls : calls.toReversed()).map((call) => call()));
    expect(new Set(codes).difference(new Set(["ok", "NOT_FOUND", "CONFLICT"]))).toEqual(new Set());
    const there = (await server.sql`select id from principals where id = ${group}`).length > 0;
    const deleted = codes[round % 2 ? 4 : 1] === "ok";
    expect(there).toBe(!deleted);
    expect(await ownerOf(agent), "the owner of the agent").toBe(there && codes[round % 2 ? 0 : 5] === "ok" ? group : ada.id);
    expect((await server.sql`select agent_id from agent_offers where to_id = ${group}`).length).toBeLessThanOrEqual(there ? 1 : 0);
  }
});

test("an offer stands no longer than whoever made it manages the agent", async () => {
  const group = await groupOf(bob);
  const agent = await newAgent();
  await must(ada.session, "agent.transfer", { id: agent, to: group });
  await must(bob.session, "agent.accept", { id: agent });
  await must(bob.session, "agent.transfer", { id: agent, to: carol.id });
  await must(ada.session, "group.setMemberAdmin", { group, member: bob.id, admin: false }, slug);
  expect((await must(carol.session, "agent.offers", {})).offers).toEqual([]);
  expect(codeOf(await by(carol, "agent.accept", { id: agent }))).toBe("NOT_FOUND");
  expect(await ownerOf(agent)).toBe(group);
});

const offersTo = async (user: TestUser) => (await must(user.session, "agent.offers", {})).offers;

test("an offer that is made while the only shared space is deleted ends with it, or is not made", async () => {
  for (const first of ["transfer", "delete"]) {
    const dora = await server.user("Dora");
    const shared = await server.acquaint(ada, dora);
    const [{ id = "" } = {}] = await server.sql<{ id: string }[]>`select id from spaces where slug = ${shared}`;
    const agent = await newAgent();
    // Of one person's calls the second waits for the first: another admin deletes the space.
    await must(ada.session, "principal.add", { principal: bob.id }, shared);
    await must(ada.session, "principal.setAdmin", { principal: bob.id, admin: true }, shared);
    const calls = [
      () => by(ada, "agent.transfer", { id: agent, to: dora.id }),
      () => by(bob, "space.delete", { slug: shared, confirm: shared }),
    ];
    const codes = await behind("select from spaces where id = $1 for update", id, ...(first === "transfer" ? calls : calls.toReversed()));
    expect(codes, first).toEqual(first === "transfer" ? ["ok", "ok"] : ["ok", "NOT_FOUND"]);
    await server.acquaint(ada, dora);
    expect(await offersTo(dora), first).toEqual([]);
  }
});

test.each(["group.setMemberAdmin", "group.removeMember"])(
  "an offer that a group's admin makes while they cease to be one ends, or is not made: %s",
  async (method) => {
    for (const first of ["transfer", "cease"]) {
      const group = await groupOf(bob);
      const agent = await newAgent();
      await must(ada.session, "agent.transfer", { id: agent, to: group });
      await must(bob.session, "agent.accept", { id: agent });
      const calls = [
        () => by(bob, "agent.transfer", { id: agent, to: carol.id }),
        () => by(ada, method, { group, member: bob.id, ...(method === "group.setMemberAdmin" && { admin: false }) }, slug),
      ];
      const codes = await inTurn(bob.id, ...(first === "transfer" ? calls : calls.toReversed()));
      expect(codes, first).toEqual(first === "transfer" ? ["ok", "ok"] : ["ok", "NOT_FOUND"]);
      await must(ada.session, "group.addMember", { group, member: bob.id }, slug);
      await must(ada.session, "group.setMemberAdmin", { group, member: bob.id, admin: true }, slug);
      expect(await offersTo(carol), first).toEqual([]);
    }
  },
);
