import { randomBytes } from "node:crypto";
import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { changes, makeWorld, must, unique, type World } from "./changes.ts";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";

let superuser: ReturnType<typeof openDatabase>;
let role: string;
let server: TestServer;
let world: World;

// A server whose role owns what it made in the database, and is no superuser: as one is run in earnest.
beforeAll(async () => {
  const url = new URL(await makeDatabase());
  superuser = openDatabase(url.href);
  role = `r_${randomBytes(6).toString("hex")}`;
  const password = randomBytes(12).toString("hex");
  await superuser.unsafe(`create role ${role} login password '${password}'`);
  await superuser.unsafe(`alter database ${url.pathname.slice(1)} owner to ${role}`);
  Object.assign(url, { username: role, password });
  server = await startTestServer({ DATABASE_URL: url.href });
  world = await makeWorld(server);
});
afterAll(async () => {
  await server.close();
  await superuser.unsafe(`drop owned by ${role}`);
  await superuser.end();
});

/** All that is on record, as text. */
async function onRecord(): Promise<string> {
  await server.recorded();
  const rows = await server.sql<{ text: string }[]>`
    select to_jsonb(a)::text as text from audit a union all select to_jsonb(d)::text from audit_denials d order by 1`;
  return rows.map(({ text }) => text).join("\n");
}

const REFUSED = { code: "42501" }; // insufficient_privilege
const changing = [
  "update audit set method = 'other'",
  "update audit set target = null where false",
  "delete from audit",
  "truncate audit",
  "delete from audit_denials",
  "truncate audit_denials",
  "update audit_denials set method = 'other'",
  "update audit_denials set minute = now(), count = count + 1",
  "update audit_denials set count = count - 1",
  "update audit_denials set count = count",
  "insert into audit_denials select * from audit_denials on conflict (id) do update set actor_name = 'other'",
];

test.each(changing)("the record is kept from its own server: %s", async (statement) => {
  await server.call(world.bob.session, "audit.list", {}, world.space.slug); // there is a denial to be counted
  const before = await onRecord();
  expect(before).toContain('"reason": "permission"');
  await expect(server.sql.unsafe(statement)).rejects.toMatchObject(REFUSED);
  expect(await onRecord()).toBe(before);
});

test.each(changing)("what no privilege stops, as of a superuser, a trigger does: %s", async (statement) => {
  const before = await onRecord();
  await expect(superuser.unsafe(statement)).rejects.toMatchObject(REFUSED);
  expect(await onRecord()).toBe(before);
});

test("the server's role has no privilege to change the record, but to count denials", async () => {
  const privileges = await server.sql<{ table: string; granted: string[] }[]>`
    select t as table, array(
      select p from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p where has_table_privilege(t, p)) as granted
    from unnest(array['audit', 'audit_denials']) t`;
  expect([...privileges]).toEqual([
    { table: "audit", granted: ["SELECT", "INSERT"] },
    { table: "audit_denials", granted: ["SELECT", "INSERT"] },
  ]);
  const columns = await server.sql<{ name: string }[]>`
    select column_name as name from information_schema.columns
    where table_name in ('audit', 'audit_denials') and has_column_privilege(table_name, column_name, 'UPDATE')`;
  expect(columns.map(({ name }) => name)).toEqual(["count"]);
});

test("nothing secret is on record: no key, token, password or e-mail address", async () => {
  const { ada, bob, bot, space } = world;
  const secrets = [ada, bob].flatMap(({ email, password, session }) => [email, password, session, session.split(".")[0] as string]);
  const keep = (text: string) => {
    secrets.push(text);
    return text;
  };
  keep(bot.key);
  // Every change there is, and all that those answer of keys and tokens.
  for (const [door, methods] of Object.entries(changes))
    for (const [method, prepare] of Object.entries(methods)) {
      const { params, by = ada } = await prepare(world);
      const result = await must(server, by.session, method, params, door === "space" ? space.slug : undefined);
      for (const made of [result.key, result.token]) if (made) keep(made);
    }
  // Secrets in params: of what is done, of what fails, and of what is refused.
  const [address, marker] = [keep("marked-address@example.com"), keep("QzMarkQz")];
  await must(server, ada.session, "invite.create", { email: address }, space.slug);
  const { token } = await must(server, ada.session, "invite.create", {}, space.slug);
  await must(server, bob.session, "invite.accept", { token: keep(token) });
  const refused = [
    await server.call(bob.session, "invite.create", { email: address }, space.slug),
    await server.call(bob.session, "group.create", { name: marker }, space.slug),
    await server.call(bot.key, "invite.accept", { token }),
    await server.call(bot.key, "apiKey.create", { name: marker }),
    await server.call(bob.session, "access.grant", { principal: bob.id, permission: `admin:docs:${marker}` }, space.slug),
  ];
  expect(refused.map(({ error }) => error?.data.code)).toEqual(Array(5).fill("FORBIDDEN"));
  await server.call(ada.session, "invite.accept", { token: marker });

  const text = await onRecord();
  expect(secrets.length).toBeGreaterThan(12);
  for (const secret of secrets) expect(text, secret).not.toContain(secret);
  expect(text).not.toMatch(/@|me_(pat|agent|secret)_|password/);
});

test("what it was called is on record for as long as the record is: of the actor, and of the space", async () => {
  const temp = await server.user("Gone");
  const space = await must(server, temp.session, "space.create", { name: unique() });
  await must(server, temp.session, "space.delete", { slug: space.slug, confirm: space.slug });
  await server.sql`delete from auth."user" where id = ${temp.id}`;
  const entries = await server.sql`select method, actor_name, target from audit where space_id = ${space.id} order by place`;
  expect([...entries]).toEqual(["space.create", "space.delete"].map((method) => ({ method, actorName: "Gone", target: space.slug })));
});
