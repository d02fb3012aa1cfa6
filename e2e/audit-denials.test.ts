import { userApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, must, type World } from "./changes.ts";
import { startTestServer } from "./harness.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld(await startTestServer());
});
afterAll(() => world.server.close());

interface Denials {
  actorId: string;
  ownerId: string | null;
  credentialId: string;
  via: string;
  method: string;
  spaceId: string | null;
  reason: string;
  count: number;
  requestId: string;
}

const DENIED = "access.list";
async function rows() {
  await world.server.recorded();
  return world.server.sql<Denials[]>`select * from audit_denials order by place`;
}
const total = (denials: readonly Denials[]) => denials.reduce((sum, { count }) => sum + count, 0);

/** What is on record by one credential, of one method. */
const of = async (credential: string, method: string) => {
  const { credential: by } = await must(world.server, credential, "whoami");
  return (await rows()).filter((row) => row.credentialId === by.id && row.method === method);
};

const inside = (credential: string) => ({ authorization: `Bearer ${credential}`, "x-me-space": world.space.slug });
const deny = (credential: string, method = DENIED, params: object = {}) => world.server.call(credential, method, params, world.space.slug);

/** Bytes on disk, indexes included, with what is dead left for use again, as autovacuum leaves it. */
async function size(): Promise<number> {
  await world.server.recorded();
  await world.server.sql`vacuum audit_denials`;
  return Number((await world.server.sql`select pg_total_relation_size('audit_denials') as bytes`)[0]?.bytes);
}

test("a storm of denials is one line, two across a minute, with a count", async () => {
  const { bob, server } = world;
  const batch = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ jsonrpc: "2.0", id, method: DENIED })));
  const storm = async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => server.post(batch, inside(bob.session))));
    for (const { text } of answers)
      for (const { error } of JSON.parse(text)) expect(error).toMatchObject({ code: 403, data: { code: "FORBIDDEN" } });
  };
  await storm();
  const [before, bytes] = [await of(bob.session, DENIED), await size()];
  expect(total(before)).toBe(1000);
  expect(before.length).toBeLessThanOrEqual(2);
  await storm();
  const after = await of(bob.session, DENIED);
  expect(total(after)).toBe(2000);
  expect(after.length).toBeLessThanOrEqual(3);
  expect(await size(), "bytes on disk").toBeLessThanOrEqual(bytes + 16 * 8192);
});

test("the line tells who was refused what, for whom, where and why", async () => {
  const { ada, bob, bot, server, space } = world;
  const { id: botless } = await must(server, bob.session, "agent.create", { name: "without" });
  await must(server, ada.session, "principal.add", { principal: botless }, space.slug);
  const agent = await must(server, bob.session, "apiKey.create", { name: "k", agent: botless });
  const ceiling = await must(server, ada.session, "apiKey.create", { name: "limited", ceiling: ["read:tasks"] });
  const pat = await must(server, ada.session, "apiKey.create", { name: "pat" });
  const member = await must(server, bob.session, "apiKey.create", { name: "member" });

  const cases = [
    {
      credential: agent,
      actor: botless,
      owner: bob.id,
      via: "agent_key",
      method: "group.create",
      params: { name: "x" },
      reason: "permission",
    },
    { credential: agent, actor: botless, owner: bob.id, via: "agent_key", method: "space.leave", params: {}, reason: "user-only" },
    { credential: ceiling, actor: ada.id, owner: null, via: "pat", method: "group.create", params: { name: "x" }, reason: "permission" },
    { credential: pat, actor: ada.id, owner: null, via: "pat", method: "principal.setAdmin", params: {}, reason: "interactive-only" },
    {
      credential: pat,
      actor: ada.id,
      owner: null,
      via: "pat",
      method: "apiKey.create",
      params: {},
      reason: "interactive-only",
      where: null,
    },
    {
      credential: { id: bot.keyId, key: bot.key },
      actor: bot.id,
      owner: ada.id,
      via: "agent_key",
      method: "agent.list",
      params: {},
      reason: "user-only",
      where: null,
    },
    // Who is in the space that the params name is refused there.
    {
      credential: agent,
      actor: botless,
      owner: bob.id,
      via: "agent_key",
      method: "token.create",
      params: { space: space.slug, scope: ["admin:groups"] },
      reason: "scope",
    },
    {
      credential: member,
      actor: bob.id,
      owner: null,
      via: "pat",
      method: "space.rename",
      params: { slug: space.slug, name: "Taken over" },
      reason: "permission",
    },
  ];
  for (const { credential, actor, owner, via, method, params, reason, where = space.id } of cases) {
    const known = (await rows()).length;
    const headers = method in userApi ? { authorization: `Bearer ${credential.key}` } : inside(credential.key);
    const answer = await server.post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }), headers);
    expect(JSON.parse(answer.text).error.data, method).toMatchObject({ code: "FORBIDDEN", reason });
    const found = (await rows()).slice(known);
    const requestId = answer.headers.get("x-request-id");
    expect(found, method).toMatchObject([
      { actorId: actor, ownerId: owner, credentialId: credential.id, via, method, spaceId: where, reason, count: 1, requestId },
    ]);
  }
});

test("each credential and each method has a line of its own; a notification counts too", async () => {
  const { bob, server, space } = world;
  const [one, two] = [
    await must(server, bob.session, "apiKey.create", { name: "1" }),
    await must(server, bob.session, "apiKey.create", { name: "2" }),
  ];
  for (const { key } of [one, two]) for (const method of ["invite.list", "principal.list"]) await deny(key, method);
  const silent = await server.post(JSON.stringify({ jsonrpc: "2.0", method: "invite.list" }), inside(one.key));
  expect(silent.status).toBe(204);
  const lines = (await rows()).filter(({ credentialId }) => [one.id, two.id].includes(credentialId));
  const counts = Map.groupBy(lines, ({ credentialId, method }) => `${credentialId === one.id ? 1 : 2} ${method}`);
  expect(Object.fromEntries([...counts].map(([who, found]) => [who, total(found)]))).toEqual({
    "1 invite.list": 2,
    "1 principal.list": 1,
    "2 invite.list": 1,
    "2 principal.list": 1,
  });
  expect(new Set(lines.map(({ spaceId }) => spaceId))).toEqual(new Set([space.id]));
});

test("another minute is another line", async () => {
  const { ada, server, space } = world;
  const { key, id } = await must(server, ada.session, "apiKey.create", { name: "of two minutes", ceiling: ["read:tasks"] });
  await deny(key);
  await server.recorded();
  await server.sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`; // no trigger stands in the way of the clock
    await tx`update audit_denials set minute = minute - interval '1 hour' where credential_id = ${id}`;
  });
  await deny(key);
  const found = await of(key, DENIED);
  expect(found.map(({ count, spaceId }) => [count, spaceId])).toEqual([
    [1, space.id],
    [1, space.id],
  ]);
});

test("a denial that can't be recorded is a denial all the same", async () => {
  const { bob, server } = world;
  const refused = { status: 200, error: { code: 403, data: { code: "FORBIDDEN", reason: "permission", missing: ["read:members"] } } };
  await server.sql`alter table audit_denials add constraint broken check (false) not valid`;
  try {
    expect(await deny(bob.session, "principal.list")).toMatchObject(refused);
    await server.recorded();
  } finally {
    await server.sql`alter table audit_denials drop constraint broken`;
  }
  expect(await of(bob.session, "principal.list")).toEqual([]);

  // Nor does it wait for whoever has locked the record.
  await server.sql.begin(async (tx) => {
    await tx`lock table audit_denials in access exclusive mode`;
    const denied = await Promise.all(Array.from({ length: 20 }, () => deny(bob.session, "principal.list")));
    for (const answer of denied) expect(answer).toMatchObject(refused);
    await server.recorded();
  });
  // They are recorded when it can be done.
  expect(await deny(bob.session, "principal.list")).toMatchObject(refused);
  expect(total(await of(bob.session, "principal.list"))).toBe(21);
});
