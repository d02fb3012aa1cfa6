import type { AuditEntry } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, must, unique, type World } from "./changes.ts";
import { startTestServer } from "./harness.ts";

let world: World;
let elsewhere: World;
beforeAll(async () => {
  const server = await startTestServer();
  [world, elsewhere] = [await makeWorld(server), await makeWorld(server)];
  // Changes and denials, by three callers, in two spaces at once.
  for (const { ada, bob, bot, space } of [world, elsewhere, world, elsewhere, world])
    for (const credential of [ada.session, bob.session, bot.key])
      for (const method of ["group.create", "invite.create"])
        await server.call(credential, method, method === "group.create" ? { name: unique() } : {}, space.slug);
  await server.call(world.bob.session, "access.list", {}, world.space.slug);
});
afterAll(() => world.server.close());

interface Page {
  entries: AuditEntry[];
  next: string | null;
}
const list = ({ server, ada, space }: World, params: object = {}): Promise<Page> =>
  must(server, ada.session, "audit.list", params, space.slug);
const ids = (entries: readonly AuditEntry[]) => entries.map(({ id }) => id);

/** Page after page, with something done before each next one. */
async function pages(where: World, params: object, between: () => Promise<unknown> = async () => {}): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (let after: string | null | undefined; after !== null; ) {
    const page = await list(where, { ...params, ...(after !== undefined && { after }) });
    entries.push(...page.entries);
    after = page.next;
    await between();
  }
  return entries;
}

test("every entry of the space is listed, changes and denials, newest first", async () => {
  const { entries, next } = await list(world);
  const rows = await world.server.sql<{ id: string }[]>`
    select id from (select id, place, space_id from audit union all select id, place, space_id from audit_denials) t
    where space_id = ${world.space.id} order by place desc`;
  expect(ids(entries)).toEqual(rows.map(({ id }) => id));
  expect(next).toBeNull();
  expect(new Set(entries.map(({ outcome }) => outcome))).toEqual(new Set(["OK", "FORBIDDEN"]));
  const changes = entries.filter(({ outcome }) => outcome === "OK").map(({ at }) => at);
  expect(changes).toEqual(changes.toSorted().toReversed());
});

test.each([1, 2, 7, 1000])("pages of %i hold every entry once, in order", async (limit) => {
  const { entries } = await list(world);
  expect(ids(await pages(world, { limit }))).toEqual(ids(entries));
});

test("new entries, written while pages are read, neither repeat nor hide one", async () => {
  const { server, ada, bob, space } = world;
  const { entries } = await list(world);
  let methods = ["access.list", "access.revoke", "principal.list", "invite.list"];
  const found = await pages(world, { limit: 3 }, async () => {
    await must(server, ada.session, "group.create", { name: unique() }, space.slug);
    const [method = "access.list", ...rest] = methods;
    methods = rest;
    await server.call(bob.session, method, { principal: bob.id, permission: "admin" }, space.slug);
  });
  expect(ids(found)).toEqual(ids(entries));
  expect((await list(world)).entries.length).toBeGreaterThan(entries.length);
});

test("filters leave what they name, on every page", async () => {
  const { bob, bot } = world;
  const { entries } = await list(world);
  const filters: [params: object, keeps: (entry: AuditEntry) => boolean][] = [
    [{ actor: bob.id }, ({ actor }) => actor.id === bob.id],
    [{ actor: bot.id }, ({ actor }) => actor.id === bot.id],
    [{ method: "group.create" }, ({ method }) => method === "group.create"],
    [{ outcome: "OK" }, ({ outcome }) => outcome === "OK"],
    [{ outcome: "FORBIDDEN" }, ({ outcome }) => outcome === "FORBIDDEN"],
    [
      { actor: bob.id, method: "invite.create", outcome: "FORBIDDEN" },
      ({ actor, method }) => actor.id === bob.id && method === "invite.create",
    ],
    [{ method: "no.such" }, () => false],
  ];
  for (const [params, keeps] of filters) {
    const kept = entries.filter(keeps);
    if (!("method" in params && params.method === "no.such")) expect(kept.length, JSON.stringify(params)).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(entries.length);
    expect(ids(await pages(world, { ...params, limit: 2 })), JSON.stringify(params)).toEqual(ids(kept));
  }
});

test("of another space nothing is shown, whatever is asked for", async () => {
  const [here, there] = [await list(world), await list(elsewhere)];
  expect(ids(here.entries).filter((id) => ids(there.entries).includes(id))).toEqual([]);
  const foreign = there.entries[1]?.id;
  expect(ids((await list(world, { since: foreign })).entries)).toEqual(ids(here.entries));
  expect((await list(world, { after: foreign })).entries).toEqual([]);
  expect((await list(world, { actor: elsewhere.bob.id })).entries).toEqual([]);
  const oldest = here.entries.at(-1)?.id;
  expect(ids((await list(world, { since: oldest })).entries)).toEqual(ids(here.entries.slice(0, -1)));
  expect((await list(world, { since: here.entries[0]?.id })).entries).toEqual([]);
});

test("it is read by whoever holds read:audit, an agent only where its owner does", async () => {
  const { server, ada, bob, space } = world;
  const asAda = (method: string, params: object) => must(server, ada.session, method, params, space.slug);
  const { id: agent } = await must(server, bob.session, "agent.create", { name: "reader" });
  await asAda("principal.add", { principal: agent });
  await asAda("access.grant", { principal: agent, permission: "read:audit" });
  const { key } = await must(server, bob.session, "apiKey.create", { name: "reader", agent });
  const read = (credential: string) => server.call(credential, "audit.list", { limit: 1 }, space.slug);
  const missing = { code: "FORBIDDEN", reason: "permission", missing: ["read:audit"] };
  expect((await read(bob.session)).error?.data).toMatchObject({ ...missing, layer: "grants" });
  expect((await read(key)).error?.data).toMatchObject({ ...missing, layer: "owner" });
  await asAda("access.grant", { principal: bob.id, permission: "read:audit" });
  for (const credential of [bob.session, key]) expect((await read(credential)).result.entries).toHaveLength(1);
  const limited = await must(server, bob.session, "apiKey.create", { name: "limited", ceiling: ["read:tasks"] });
  expect((await read(limited.key)).error?.data).toMatchObject({ ...missing, layer: "ceiling" });
});
