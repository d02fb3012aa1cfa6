import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

/** Memberships that a key makes: far more than go with it at once. */
const MANY = 300;
/** Most that go with it at once. */
const AT_ONCE = 20;

let server: TestServer;
let direct: ReturnType<typeof openDatabase>;
let ada: TestUser;
let bob: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer({ LIMITS: "agents=2000,members=5000" });
  direct = openDatabase(server.databaseUrl);
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  slug = (await must("space.create", { name: "Home" })).slug;
});
afterAll(async () => {
  await direct.end();
  await server.close();
});

async function must(method: string, params: object = {}, space?: string, credential = ada.session) {
  const { result, error } = await server.call(credential, method, params, space);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** A key that has let many agents in, granted them something, put them into a group, and invited. */
async function busyKey() {
  const { id, key } = await must("apiKey.create", { name: `key-${crypto.randomUUID()}` });
  const { id: space } = await must("space.get", {}, slug);
  const { id: group } = await must("group.create", { name: `crew-${crypto.randomUUID()}` }, slug);
  await direct.unsafe(`
    with a as (
      insert into principals (id, kind, name, owner_id) select new_id(), 'a', '${id} ' || i, '${ada.id}' from generate_series(1, ${MANY}) i returning id),
    m as (insert into members (space_id, principal_id, key_id) select '${space}', id, '${id}' from a returning principal_id),
    gm as (insert into group_members (group_id, principal_id, key_id) select '${group}', principal_id, '${id}' from m returning 1),
    g as (insert into grants (id, space_id, principal_id, permission, key_id) select new_id(), '${space}', principal_id, 'read:tasks', '${id}' from m returning 1)
    insert into invites (id, space_id, token_hash, invited_by, key_id, expires_at)
      select new_id(), '${space}', sha256(('${id}' || i)::bytea), '${ada.id}', '${id}', now() + interval '1 day' from generate_series(1, ${MANY}) i`);
  return { id, key, space, group };
}

/** Counts the rows that a key has made. */
const leftOf = (id: string) => `
  (select count(*) from members where key_id = '${id}') + (select count(*) from grants where key_id = '${id}')
  + (select count(*) from group_members where key_id = '${id}') + (select count(*) from invites where key_id = '${id}')`;

test("what a key has made is dead with it, and removed soon after: whoever ends the key waits for none of it, and holds nobody", async () => {
  const { id, key, group } = await busyKey();
  const roster = async () => (await must("principal.list", { limit: 1000 }, slug)).members?.length;
  expect(await roster()).toBeGreaterThanOrEqual(MANY);
  class RolledBack extends Error {}
  const deleting = direct.begin(async (tx) => {
    await tx`delete from api_keys where id = ${id}`;
    const [left] = await tx.unsafe<{ n: number; alive: number }[]>(`
      select (${leftOf(id)})::integer as n, (select count(*) from live_members where key_id = '${id}')::integer
        + (select count(*) from live_grants where key_id = '${id}')::integer + (select count(*) from live_group_members where key_id = '${id}')::integer as alive`);
    expect(left?.alive).toBe(0);
    expect(left?.n).toBeGreaterThan(3 * (MANY - 110));
    // All but those that go at once are free for whoever wants to do something with them.
    const free = await server.sql`select id from principals where name like ${`${id} %`} for update skip locked`;
    expect(free.length).toBeGreaterThanOrEqual(MANY - AT_ONCE);
    throw new RolledBack();
  });
  await deleting.catch((thrown) => {
    if (!(thrown instanceof RolledBack)) throw thrown;
  });

  await must("apiKey.delete", { id });
  expect((await server.call(key, "whoami")).status).toBe(401);
  expect((await must("principal.list", { limit: 1000 }, slug)).members).toHaveLength(1);
  expect((await must("group.listMembers", { group, limit: 1000 }, slug)).members).toEqual([]);
  expect((await must("invite.list", { limit: 1000 }, slug)).invites).toEqual([]);
  expect((await must("access.list", { limit: 1000 }, slug)).grants).toEqual([]);
  await until("nothing is left of what it made", async () => {
    const [left] = await direct.unsafe<{ n: number }[]>(`select (${leftOf(id)})::integer as n`);
    return left?.n === 0 && (await direct`select from remains`).length === 0;
  });
});

test("who comes back while what the key made is not removed yet has nothing of what they had", async () => {
  const { key } = await must("apiKey.create", { name: "lets Bob in" });
  const { id: keyId } = (await must("whoami", {}, undefined, key)).credential;
  const { id: space } = await must("space.get", {}, slug);
  await direct`insert into members (space_id, principal_id, key_id) values (${space}, ${bob.id}, ${keyId})`;
  await must("access.grant", { principal: bob.id, permission: "admin" }, slug);
  // As if others of what it made came first.
  await direct.unsafe("alter table api_keys disable trigger leave_ties");
  await must("apiKey.delete", { id: keyId });
  await direct.unsafe("alter table api_keys enable trigger leave_ties");
  expect((await server.call(bob.session, "access.list", {}, slug)).error?.data.code).toBe("NOT_FOUND");
  await server.join(slug, ada, bob);
  expect((await must("access.effective", {}, slug, bob.session)).permissions).toEqual([]);
});

test("an agent, and a principal who leaves, take along keys that have made much, at once", async () => {
  const { id: bot } = await must("agent.create", { name: "bot" });
  const { id } = await busyKey();
  await direct`update api_keys set principal_id = ${bot} where id = ${id}`;
  await must("agent.delete", { id: bot });
  const [left] = await direct.unsafe<{ n: number }[]>(`select count(*)::integer as n from live_members where key_id = '${id}'`);
  expect(left?.n).toBe(0);
  await until("nothing is left of what it made", async () => (await direct`select from remains`).length === 0);
});

test("rows that can't be removed hold up no others, and go once they can be", async () => {
  const [stuck, next] = [crypto.randomUUID(), crypto.randomUUID()];
  const left = async (session: string) => (await direct`select from session_events where session_id = ${session}`).length;
  await direct.unsafe(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'a broken disk'; end $$;
    create trigger refuse before delete on session_events for each row when (old.session_id = '${stuck}') execute function refuse();
    insert into session_events (session_id, seq, direction, kind, data)
      select s, 1, 'out', 'close', '{}' from unnest(array['${stuck}', '${next}']::uuid[]) s;
    insert into remains (of, kind) values ('${stuck}', 'session'), ('${next}', 'session')`);
  await until("those behind it are removed", async () => (await left(next)) === 0);
  expect(await left(stuck)).toBe(1);
  await direct.unsafe("drop trigger refuse on session_events; drop function refuse");
  await until("it is removed", async () => (await left(stuck)) === 0 && (await direct`select from remains`).length === 0);
});
