import { migrate, openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeDatabase } from "./harness.ts";

let sql: ReturnType<typeof openDatabase>;
let alice: string;
let bob: string;
beforeAll(async () => {
  sql = openDatabase(await makeDatabase());
  await migrate(sql);
  [alice, bob] = [await makeUser("alice@example.com"), await makeUser("bob@example.com")];
});
afterAll(() => sql.end());

async function makeUser(email: string): Promise<string> {
  const [row] = await sql<{ id: string }[]>`insert into auth."user" (id, name, email) values (new_id(), 'A User', ${email}) returning id`;
  return row?.id as string;
}

const makeAgent = (owner: string | null, name: string) =>
  sql<{ id: string }[]>`insert into principals (id, kind, name, owner_id) values (new_id(), 'a', ${name}, ${owner}) returning id`;

const makeKey = (principal: string, name: string, secret: string) =>
  sql`insert into api_keys (id, principal_id, name, hash, hint) values (new_id(), ${principal}, ${name}, sha256(${secret}::text::bytea), '')`;

const breaking = (constraint: string) => expect.objectContaining({ constraint_name: constraint });

test("an agent has an owner, from the first and for good; a user has none", async () => {
  await expect(makeAgent(null, "ownerless")).rejects.toEqual(breaking("agent_has_owner"));
  const [agent] = await makeAgent(alice, "owned");
  await expect(sql`update principals set owner_id = null where id = ${agent?.id as string}`).rejects.toEqual(breaking("agent_has_owner"));
  await expect(sql`update principals set owner_id = ${bob} where id = ${alice}`).rejects.toEqual(breaking("agent_has_owner"));
  await expect(sql`delete from principals where id = ${alice}`).rejects.toEqual(breaking("owner_can_own"));
});

test("an agent owns no agent", async () => {
  const [agent] = await makeAgent(alice, "no owner");
  await expect(makeAgent(agent?.id as string, "owned by an agent")).rejects.toEqual(breaking("owner_can_own"));
});

test("every id is a UUIDv7", async () => {
  const ids = await sql<{ schema: string; table: string; domain: string | null }[]>`
    select c.table_schema as schema, c.table_name as table, c.domain_name as domain
    from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
    where c.column_name = 'id' and c.udt_name = 'uuid' and c.table_schema in ('public', 'auth') and t.table_type = 'BASE TABLE'`;
  expect(ids.map(({ table }) => table)).toEqual(expect.arrayContaining(["principals", "spaces", "api_keys", "user", "session"]));
  for (const { schema, table, domain } of ids) expect(domain, `the type of ${schema}.${table}.id`).toBe("uuid7");
  await expect(sql`select new_id()::uuid7`).resolves.toHaveLength(1);
  for (const other of [sql`select gen_random_uuid()::uuid7`, sql`select '00000000-0000-0000-0000-000000000000'::uuid7`])
    await expect(other).rejects.toEqual(breaking("uuid7_check"));
});

test("names are one to an owner whatever their case, and anybody else's to give again", async () => {
  await makeAgent(alice, "Support");
  await expect(makeAgent(alice, "sUPPORT")).rejects.toEqual(breaking("agent_name"));
  const [agent] = await makeAgent(bob, "SUPPORT");
  await makeKey(alice, "Laptop", "1");
  await expect(makeKey(alice, "LAPTOP", "2")).rejects.toEqual(breaking("api_key_name"));
  await makeKey(agent?.id as string, "laptop", "3");
});

test("no two keys have one secret, and an old secret has an end", async () => {
  await makeKey(alice, "one", "the same");
  await expect(makeKey(bob, "other", "the same")).rejects.toEqual(breaking("api_key_hash"));
  await expect(sql`update api_keys set previous_hash = sha256('old') where name = 'one'`).rejects.toEqual(
    breaking("previous_secret_expires"),
  );
});

test("an e-mail address has one account, whatever its case", async () => {
  await expect(makeUser("ALICE@example.com")).rejects.toEqual(breaking("user_email_check"));
  await expect(makeUser("alice@example.com")).rejects.toEqual(breaking("user_email_key"));
});

test("whoever deletes an account deletes its agents, and all their keys", async () => {
  const carol = await makeUser("carol@example.com");
  const [agent] = await makeAgent(carol, "orphan to be");
  await makeKey(carol, "own", "own of carol");
  await makeKey(agent?.id as string, "agent's", "agent's of carol");
  await sql`delete from auth."user" where id = ${carol}`;
  expect(await sql`select from principals where id = ${carol} or owner_id = ${carol}`).toHaveLength(0);
  expect(await sql`select from api_keys where principal_id in (${carol}, ${agent?.id as string})`).toHaveLength(0);
});

test("to delete a row goes through no other table: what refers to it is found by an index", async () => {
  const bare = await sql<{ name: string }[]>`
    select c.conrelid::regclass || ' ' || c.conname as name from pg_constraint c
    where c.contype = 'f' and not exists (
      select from pg_index i join pg_attribute a on a.attrelid = c.conrelid and a.attnum = i.indkey[0]
      where i.indrelid = c.conrelid and a.attnum = any(c.conkey)
        -- All rows that refer to something are in it.
        and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))`;
  expect(bare.map(({ name }) => name)).toEqual([]);
});

test("who goes leaves no more references behind than there are limits", async () => {
  const unset = await sql<{ name: string }[]>`
    select c.conrelid::regclass || '.' || a.attname as name from pg_constraint c
    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any(c.conkey) and c.confdeltype = 'n' where c.contype = 'f' order by 1`;
  // So many spaces of a user, tasks of a space, and logins in a session, of which each takes a consent. Sessions, runs and grants of
  // theirs there may be any number of.
  expect(new Set(unset.map(({ name }) => name))).toEqual(
    new Set(['auth."oauthAccessToken".sessionId', 'auth."oauthRefreshToken".sessionId', "spaces.created_by", "tasks.registered_by"]),
  );
});
