import { spaceApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { uniqueName } from "./params.ts";
import { spaceMethods, validSpaceParams } from "./space-params.ts";
import { makeSpaceWorld } from "./space-world.ts";
import { newId } from "./worlds.ts";

// Whom one may bring in, or give something, by where one has met them.

let server: TestServer;
let ada: TestUser;
/** Whom Ada has her other spaces from. */
let host: TestUser;
/** Ada's agent, which may do everything in her space. */
let aide: string;
/** Ada's space; one that she and her agent are in; one that she alone is in; and one where her agent is left without her. */
let here: string;
let both: string;
let hers: string;
let forsaken: string;
let group: string;
let askers: Record<"Ada, signed in" | "Ada, by a token" | "her agent", string>;
beforeAll(async () => {
  server = await startTestServer();
  [ada, host] = [await server.user("Ada"), await server.user("Host")];
  here = (await must(ada.session, "space.create", { name: "Here" })).slug;
  [both, hers, forsaken] = [await server.acquaint(host, ada), await server.acquaint(host, ada), await server.acquaint(host, ada)];
  aide = await newAgent(ada);
  for (const space of [here, both, forsaken]) await must(ada.session, "principal.add", { principal: aide }, space);
  await must(ada.session, "access.grant", { principal: aide, permission: "admin" }, here);
  await must(ada.session, "space.leave", {}, forsaken);
  // It left with her, and is there again.
  await must(host.session, "principal.add", { principal: aide }, forsaken);
  group = await newGroup(ada, here);
  const key = async (rest: object) => (await must(ada.session, "apiKey.create", { name: "key", ...rest })).key;
  askers = { "Ada, signed in": ada.session, "Ada, by a token": await key({}), "her agent": await key({ agent: aide }) };
});
afterAll(() => server.close());

async function must(credential: string, method: string, params: object, space?: string) {
  const { result, error } = await server.call(credential, method, params, space);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const newUser = () => server.user(uniqueName());
const newAgent = async (owner: TestUser): Promise<string> => (await must(owner.session, "agent.create", { name: uniqueName() })).id;
const newGroup = async (by: TestUser, space: string): Promise<string> =>
  (await must(by.session, "group.create", { name: uniqueName() }, space)).id;
/** Somebody who has come into a space. */
async function memberOf(space: string, by = host): Promise<TestUser> {
  const user = await newUser();
  await server.join(space, by, user);
  return user;
}
const leave = ({ session }: TestUser, space: string) => must(session, "space.leave", {}, space);
const add = (by: TestUser, principal: string, space: string) => must(by.session, "principal.add", { principal }, space);
/** An agent of a group, whose admin somebody is. */
async function agentOfGroup(by: TestUser, admin: TestUser, space: string): Promise<string> {
  const owner = await newGroup(by, space);
  await must(by.session, "group.addMember", { group: owner, member: admin.id }, space);
  await must(by.session, "group.setMemberAdmin", { group: owner, member: admin.id, admin: true }, space);
  const agent = await newAgent(admin);
  await must(admin.session, "agent.transfer", { id: agent, to: owner });
  return agent;
}

/** Who knows them: Ada, whatever she comes with; her agent, which knows nobody by being hers. */
interface Met {
  ada: boolean;
  aide: boolean;
  make: () => Promise<{ id: string } | string>;
}
const everyone = { ada: true, aide: true };
const adaAlone = { ada: true, aide: false };
const noOne = { ada: false, aide: false };

const users: Record<string, Met> = {
  nobody: { ...noOne, make: async () => newId() },
  herself: { ...everyone, make: async () => ada },
  "a user in no space": { ...noOne, make: newUser },
  "a member": { ...everyone, make: () => memberOf(here, ada) },
  "a member of a space that both are in": { ...everyone, make: () => memberOf(both) },
  "a member of a space that she is in": { ...adaAlone, make: () => memberOf(hers) },
  "a member of a space that she has left, and her agent has not": { ...noOne, make: () => memberOf(forsaken) },
  "somebody who has not accepted yet": {
    ...noOne,
    async make() {
      const user = await newUser();
      await must(ada.session, "invite.create", { email: user.email }, here);
      return user;
    },
  },
  "somebody who has left, all they were prepared for left behind": {
    ...noOne,
    async make() {
      const user = await memberOf(both);
      await must(ada.session, "access.grant", { principal: user.id, permission: "read:docs" }, here);
      await leave(user, both);
      return user;
    },
  },
  "somebody whom a key brought that has expired": {
    ...noOne,
    async make() {
      const user = await newUser();
      await server.acquaint(host, user);
      const { id, key } = await must(host.session, "apiKey.create", { name: uniqueName() });
      await must(key, "principal.add", { principal: user.id }, both);
      await server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`;
      return user;
    },
  },
};

const agents: Record<string, Met> = {
  "an agent of hers": { ...everyone, make: () => newAgent(ada) },
  "an agent of a group that she administers, elsewhere": { ...adaAlone, make: () => agentOfGroup(host, ada, hers) },
  "an agent of a group of the space": { ...everyone, make: async () => agentOfGroup(ada, await memberOf(here, ada), here) },
  "an agent of a group of another space": { ...noOne, make: () => agentOfGroup(host, host, both) },
  "an agent of a member": { ...everyone, make: async () => newAgent(await memberOf(here, ada)) },
  "an agent of a member of another space": { ...noOne, make: async () => newAgent(await memberOf(both)) },
  "an agent of a stranger": { ...noOne, make: async () => newAgent(await newUser()) },
  "an agent in a space that both are in": {
    ...everyone,
    async make() {
      const agent = await newAgent(host);
      await add(host, agent, both);
      return agent;
    },
  },
  "an agent in the space, whose owner is not": {
    ...everyone,
    async make() {
      const agent = await newAgent(host);
      await add(host, agent, hers);
      await add(ada, agent, here);
      return agent;
    },
  },
  "an agent that has left with its owner": {
    ...noOne,
    async make() {
      const owner = await memberOf(here, ada);
      const agent = await newAgent(owner);
      await add(owner, agent, here);
      await leave(owner, here);
      return agent;
    },
  },
  "an agent of somebody who has left": {
    ...noOne,
    async make() {
      const owner = await memberOf(here, ada);
      await leave(owner, here);
      return newAgent(owner);
    },
  },
};

const cases = Object.entries({ ...users, ...agents }).map(([who, met]) => ({ who, ...met }));

test.each(cases)("$who: known to Ada: $ada, to her agent: $aide", async ({ who, make, ...known }) => {
  for (const [asker, credential] of Object.entries(askers)) {
    const made = await make();
    const id = typeof made === "string" ? made : made.id;
    // Coming last, who is brought in is known to all from then on.
    const calls: [method: string, params: (id: string) => object, space?: string][] = [
      ["access.grant", (principal) => ({ principal, permission: "read:docs" }), here],
      ["group.addMember", (member) => ({ group, member }), here],
      ["principal.add", (principal) => ({ principal }), here],
    ];
    const own = await newAgent(ada);
    if (credential === ada.session && who in users) calls.unshift(["agent.transfer", (to) => ({ id: own, to })]);
    for (const [method, params, space] of calls) {
      const answer = await server.call(credential, method, params(id), space);
      const title = `${method} by ${asker}`;
      if (credential === askers["her agent"] ? known.aide : known.ada) expect(answer.error, title).toBeUndefined();
      else {
        const { error } = await server.call(credential, method, params(newId()), space);
        expect(error, title).toMatchObject({ data: { code: "NOT_FOUND" }, message: expect.stringContaining("me invite create") });
        expect({ ...answer.error, data: { ...answer.error?.data, requestId: "" } }, title).toEqual({
          ...error,
          data: { ...error?.data, requestId: "" },
        });
      }
    }
  }
});

test("a group is given something in its own space alone, and an agent by whoever is there", async () => {
  const [own, other, strange] = [await newGroup(ada, here), await newGroup(host, hers), await newGroup(host, forsaken)];
  const grant = async (principal: string) =>
    (await server.call(ada.session, "access.grant", { principal, permission: "read:docs" }, here)).error?.data.code ?? "ok";
  expect([await grant(own), await grant(other), await grant(strange)]).toEqual(["ok", "NOT_FOUND", "NOT_FOUND"]);
  const offer = async (to: string) =>
    (await server.call(ada.session, "agent.transfer", { id: await newAgent(ada), to })).error?.data.code ?? "ok";
  expect([await offer(own), await offer(other), await offer(strange)]).toEqual(["ok", "ok", "NOT_FOUND"]);
});

test("who asks what somebody else may do learns of no agent that they do not know themselves", async () => {
  const [ada, bob, cyd] = [await server.user("ada"), await server.user("bob"), await server.user("cyd")];
  const ask = async (credential: string, method: string, params: object, space?: string) => {
    const { result, error } = await server.call(credential, method, params, space);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  const [shared, bobs] = [
    (await ask(ada.session, "space.create", { name: "Shared" })).slug,
    (await ask(bob.session, "space.create", { name: "Bob's" })).slug,
  ];
  await server.join(shared, ada, bob, cyd);
  await ask(ada.session, "access.grant", { principal: cyd.id, permission: "read:grants" }, shared);
  const { id: to } = await ask(bob.session, "group.create", { name: "owners" }, bobs);
  await ask(bob.session, "group.addMember", { group: to, member: bob.id }, bobs);
  await ask(bob.session, "group.setMemberAdmin", { group: to, member: bob.id, admin: true }, bobs);
  const { id: hidden } = await ask(bob.session, "agent.create", { name: "hidden" });
  await ask(bob.session, "agent.transfer", { id: hidden, to });
  const { id: seen } = await ask(bob.session, "agent.create", { name: "seen" });
  const nobody = newId();
  for (const [method, param] of [
    ["principal.remove", "principal"],
    ["group.listForMember", "member"],
    ["access.effective", "principal"],
  ] as const) {
    const about = (credential: string, question: string, id: string, principal = bob.id) =>
      ask(credential, question, { principal, method, params: { [param]: id } }, shared);
    for (const question of ["access.check", "access.explain"])
      expect(await about(cyd.session, question, hidden), method).toEqual(await about(cyd.session, question, nobody));
    expect(await about(cyd.session, "access.check", seen), method).toEqual({ allowed: true });
    expect(await about(bob.session, "access.check", hidden), method).toEqual({ allowed: true });
  }
});

test("who asks whom somebody else's agent may bring in learns of nobody that they do not know themselves", async () => {
  const [bob, cyd, zed] = [await memberOf(here, ada), await memberOf(here, ada), await newUser()];
  const bot = await newAgent(bob);
  for (const space of [here, await server.acquaint(bob, zed)]) await add(bob, bot, space);
  await server.acquaint(ada, zed);
  for (const [principal, permission] of [
    [cyd.id, "read:grants"],
    [bob.id, "write:members"],
    [bot, "write:members"],
    [zed.id, "admin:secrets"],
  ])
    await must(ada.session, "access.grant", { principal, permission }, here);
  const ask = (by: TestUser, question: string, principal: string) =>
    must(by.session, question, { principal: bot, method: "principal.add", params: { principal } }, here);
  for (const question of ["access.check", "access.explain"])
    expect(await ask(cyd, question, zed.id)).toEqual(await ask(cyd, question, newId()));
  expect(await ask(cyd, "access.check", zed.id)).toEqual({ allowed: true });
  for (const by of [ada, bob]) expect(await ask(by, "access.check", zed.id)).toEqual({ allowed: false });
});

test("whom another has prepared something for, but the reader does not know, is named by their id", async () => {
  const name = uniqueName();
  const zed = await server.user(name);
  const shared = await server.acquaint(ada, zed);
  const [reader, prepared] = [await memberOf(here, ada), await newGroup(ada, here)];
  for (const member of [zed.id, reader.id]) await must(ada.session, "group.addMember", { group: prepared, member }, here);
  for (const permission of ["read:groups", "read:grants"])
    await must(ada.session, "access.grant", { principal: reader.id, permission }, here);
  await must(ada.session, "access.grant", { principal: zed.id, permission: "read:docs" }, here);
  const named = async (by: TestUser) => {
    const { members } = await must(by.session, "group.listMembers", { group: prepared }, here);
    const { grants } = await must(by.session, "access.list", { principal: zed.id }, here);
    return [...members, ...grants.map(({ principal }: { principal: object }) => principal)]
      .filter(({ id }) => id === zed.id)
      .map(({ name }) => name);
  };
  expect(await named(ada)).toEqual([name, name]);
  expect(await named(reader)).toEqual([zed.id, zed.id]);
  await leave(zed, shared);
  expect(await named(ada)).toEqual([zed.id, zed.id]);
  await server.join(here, ada, zed);
  expect(await named(reader)).toEqual([name, name]);
});

/** Methods that name others to whoever may read all; besides the record of the space, which holds as whom each call was made. */
const NAMING = [
  "access.effective",
  "access.explain",
  "access.grant",
  "access.list",
  "group.list",
  "group.listForMember",
  "group.listMembers",
  "invite.list",
  "principal.add",
  "principal.list",
  "principal.lookup",
  "session.close",
  "session.get",
  "session.list",
  "space.members",
];

test("a credential is told no names that its limits leave out, by any method, but its own and its owner's", async () => {
  const world = await makeSpaceWorld(server);
  const { ada, bob, bot, shared, owners, asAda, slug } = world;
  const names: Record<string, string> = {
    [ada.id]: "hidden-ada",
    [bob.id]: "hidden-bob",
    [bot]: "hidden-bot",
    [shared]: "hidden-shared",
    [owners]: "grouped-owners",
  };
  const prepare = async () => {
    const members = [bob.id, bot, shared].map((id) => ({ id, admin: false }));
    const grants = [bob.id, bot, shared, owners].map((to) => ({ to, permission: "write:docs:handbook" }));
    const inGroups = [{ group: owners, id: bob.id, admin: true }];
    await world.place({ members, inGroups, grants: [...grants, ...[bob.id, bot].map((to) => ({ to, permission: "admin" }))] });
    await server.sql`update grants set granted_by = case when principal_id = ${bob.id} then ${ada.id} else ${bob.id} end::uuid
      where principal_id = any(${[bob.id, bot, shared, owners]}::uuid[])`;
    await server.sql`
      update principals p set name = given.value from jsonb_each_text(${server.sql.json(names)}) given
      where p.id = given.key::uuid and p.name <> given.value`;
  };
  await prepare();
  await asAda("invite.create", { groups: [owners] });
  const key = async (by: TestUser, rest: object) => (await must(by.session, "apiKey.create", { name: uniqueName(), ...rest })).key;
  const types = ["docs", "grants", "tasks", "sessions", "audit"].map((type) => `admin:${type}`);
  const limits = { members: [...types, "admin:groups"], groups: [...types, "admin:members"] };
  const told = new Set<string>();
  const leaks: string[] = [];
  const ask = async (credential: string, method: (typeof spaceMethods)[number], target: string) => {
    const params = await validSpaceParams(method, world);
    const of: Record<string, unknown> = { principal: target, member: target, group: owners, ids: [target], session: world.session };
    await prepare();
    // Lists are read from their beginning, whatever they could be narrowed to.
    const asked = Object.entries(params).flatMap(([name, value]) =>
      name in of || !("after" in params) ? [[name, of[name] ?? value]] : [],
    );
    return JSON.stringify(await server.call(credential, method, Object.fromEntries(asked), slug));
  };
  const targetsOf = (method: (typeof spaceMethods)[number]) =>
    ["principal", "member", "ids"].some((param) => param in spaceApi[method].params.shape) ? [bob.id, bot, shared, owners] : [shared];
  const askers = [
    { by: ada, own: [ada.id], rest: {} },
    { by: bob, own: [bot, bob.id], rest: { agent: bot } },
  ];
  for (const { by, own, rest } of askers) {
    const open = await key(by, rest);
    const limited: [string, string][] = [];
    for (const [lacking, ceiling] of Object.entries(limits)) limited.push([lacking, await key(by, { ...rest, ceiling })]);
    // The session that is asked about stays, and so does whoever asks.
    for (const method of spaceMethods.filter((name) => !["session.delete", "space.leave", "audit.list"].includes(name)))
      for (const target of targetsOf(method).filter((id) => !own.includes(id))) {
        const others = Object.entries(names).filter(([id]) => !own.includes(id));
        const found = (text: string) => others.filter(([, name]) => text.includes(name)).map(([, name]) => name);
        if (found(await ask(open, method, target)).length > 0) told.add(method);
        for (const [lacking, credential] of limited) {
          const kept = { members: /^hidden/, groups: /^grouped/ }[lacking] as RegExp;
          const leaked = found(await ask(credential, method, target)).filter((name) => kept.test(name));
          if (leaked.length > 0) leaks.push(`${method} without ${lacking}: ${leaked}`);
        }
      }
  }
  expect(leaks).toEqual([]);
  expect([...told].toSorted()).toEqual(NAMING);
});
