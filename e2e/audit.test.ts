import type { RpcResponse } from "@gatehouse/protocol";
import { policyTable } from "@gatehouse/server/policy";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Change, changes, makeWorld, methodsThat, must, readParams, unique, type World } from "./changes.ts";
import { startTestServer } from "./harness.ts";
import { removeRemains } from "./visible.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld(await startTestServer());
});
afterAll(() => world.server.close());

type Door = "user" | "space";
type Caller = "session" | "agent" | "agent for a user";

/** Everything on record. Nothing else runs in this database, so that what is new is of the call between. */
const recorded = () => world.server.sql`
  select * from audit order by place`;
async function denials(): Promise<number> {
  await world.server.recorded();
  return (await world.server.sql`select * from audit_denials`).length;
}

/** All rows that a call could change, but for when keys were last used. */
async function stored(): Promise<string> {
  const { sql } = world.server;
  await removeRemains(world.server);
  const tables = await sql<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename not like 'audit%' order by 1`;
  const texts = tables.map(({ name }) => sql`select json_agg(to_jsonb(t) - 'last_used_at' order by t::text) as rows from ${sql(name)} t`);
  return JSON.stringify(await Promise.all(texts));
}

const credentialOf = (caller: Caller, change: Change, { ada, bot, acting } = world) =>
  ({ session: (change.by ?? ada).session, agent: bot.key, "agent for a user": acting })[caller];

async function make(door: Door, method: string, change: Change, caller: Caller = "session", at = world) {
  const { server, space } = at;
  const credential = credentialOf(caller, change, at);
  const { headers, text } = await server.post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: change.params }), {
    authorization: `Bearer ${credential}`,
    ...(door === "space" && { "x-me-space": space.slug }),
  });
  const answer = JSON.parse(text) as RpcResponse;
  return {
    requestId: headers.get("x-request-id"),
    error: "error" in answer ? answer.error : undefined,
    result: "result" in answer ? answer.result : undefined,
  };
}

const writes = methodsThat("write");
const prepare = (door: Door, method: string): Promise<Change> => {
  const prepared = changes[door][method];
  if (!prepared) throw new Error(`say in changes.ts how ${method} is called`);
  return prepared(world);
};
const rowOf = ({ door, method }: { door: Door; method: string }) => policyTable().find((row) => row.door === door && row.method === method);
const byAgents = (write: { door: Door; method: string }) => rowOf(write)?.admits.agent === true;
const byTokens = (write: { door: Door; method: string }) => rowOf(write)?.admits.token === true;

test.each([
  ...writes.map((write) => ({ ...write, caller: "session" as Caller })),
  ...writes.filter(byAgents).map((write) => ({ ...write, caller: "agent" as Caller })),
  ...writes.filter(byTokens).map((write) => ({ ...write, caller: "agent for a user" as Caller })),
])("$method, by $caller, leaves one entry that tells who did what, for whom and where", async ({ door, method, caller }) => {
  const change = await prepare(door, method);
  const { ada, bot, space } = world;
  const { id, kind, name, credential } = await must(world.server, credentialOf(caller, change), "whoami");
  const [before, denied] = [await recorded(), await denials()];

  const { requestId, error, result } = await make(door, method, change, caller);
  expect(error).toBeUndefined();
  const [entry, ...others] = (await recorded()).slice(before.length);
  expect(others).toEqual([]);
  expect(entry).toMatchObject({
    actorId: id,
    actorKind: kind,
    actorName: name,
    credentialId: credential.id,
    via: credential.via,
    ownerId: caller === "agent" ? ada.id : null,
    actingId: caller === "agent for a user" ? bot.id : null,
    method,
    spaceId: change.where ? change.where(result) : space.id,
    outcome: "OK",
    requestId,
    traceId: null,
  });
  for (const named of change.names(result)) expect(entry?.target).toContain(named);
  expect(await denials()).toBe(denied);
});

test("changes.ts has a call for every method that writes, and for none that is gone", () => {
  const calls = Object.entries(changes).flatMap(([door, methods]) => Object.keys(methods).map((method) => `${door} ${method}`));
  expect(calls.sort()).toEqual(writes.map(({ door, method }) => `${door} ${method}`).sort());
});

test.each(writes)("$method is not done when it can't be recorded", async ({ door, method }) => {
  const { sql } = world.server;
  const change = await prepare(door, method);
  const [before, entries] = [await stored(), (await recorded()).length];
  await sql`alter table audit add constraint broken check (false) not valid`;
  try {
    expect((await make(door, method, change)).error?.data.code).toBe("INTERNAL_ERROR");
  } finally {
    await sql`alter table audit drop constraint broken`;
  }
  expect(await stored()).toBe(before);
  expect(await recorded()).toHaveLength(entries);
  // The same call, once it can be recorded, does change something.
  expect((await make(door, method, change)).error).toBeUndefined();
  expect(await stored()).not.toBe(before);
});

test("a change that fails, at its end too, leaves no entry", async () => {
  const lonely = await makeWorld(world.server);
  const { ada, bob, server, space } = lonely;
  const { id: group } = await must(server, ada.session, "group.create", { name: "Taken" }, space.slug);
  await must(server, ada.session, "invite.create", { email: "open@example.com" }, space.slug);
  const failures: [door: Door, method: string, params: object, code: string][] = [
    ["space", "group.create", { name: "TAKEN" }, "CONFLICT"],
    ["space", "invite.create", { email: "open@example.com" }, "CONFLICT"],
    ["user", "agent.create", { name: "Bot" }, "CONFLICT"],
    ["space", "space.leave", {}, "LAST_ADMIN"],
    ["space", "principal.remove", { principal: ada.id }, "LAST_ADMIN"],
    ["space", "principal.setAdmin", { principal: ada.id, admin: false }, "LAST_ADMIN"],
    ["space", "access.revoke", { principal: bob.id, permission: "read:nothing" }, "NOT_FOUND"],
    ["space", "group.removeMember", { group, member: bob.id }, "NOT_FOUND"],
    ["user", "agent.rename", { id: bob.id, name: unique() }, "NOT_FOUND"],
    ["space", "group.create", { name: "" }, "INVALID_PARAMS"],
    ["space", "group.make", {}, "METHOD_NOT_FOUND"],
  ];
  const [before, entries, denied] = [await stored(), (await recorded()).length, await denials()];
  for (const [door, method, params, code] of failures)
    expect((await make(door, method, { params, names: () => [] }, "session", lonely)).error?.data.code, method).toBe(code);
  expect(await stored()).toBe(before);
  expect(await recorded()).toHaveLength(entries);
  expect(await denials()).toBe(denied);
});

test("reading leaves no entry", async () => {
  const params = await readParams(world);
  const [entries, denied] = [(await recorded()).length, await denials()];
  for (const { door, method } of methodsThat("read"))
    expect((await make(door, method, { params: params[method] ?? {}, names: () => [] })).error, method).toBeUndefined();
  expect(await recorded()).toHaveLength(entries);
  expect(await denials()).toBe(denied);
});

test("every call of a batch has its entry, under the id of the one request", async () => {
  const { server, ada, space } = world;
  const names = [unique(), unique(), unique()];
  const batch = names.map((name, id) => ({ jsonrpc: "2.0", id, method: "group.create", params: { name } }));
  const { headers, text } = await server.post(JSON.stringify(batch), { authorization: `Bearer ${ada.session}`, "x-me-space": space.slug });
  const made = (JSON.parse(text) as { result: { id: string } }[]).map(({ result }) => result.id);
  const entries = await server.sql<{ target: string }[]>`select target from audit where request_id = ${headers.get("x-request-id")}`;
  expect(entries.map(({ target }) => target).sort()).toEqual(made.sort());
});
