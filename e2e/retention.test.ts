import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

const DAYS = 30;

let servers: TestServer[];
let server: TestServer;
let ada: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer({ SESSION_RETENTION_DAYS: String(DAYS), AUDIT_RETENTION_DAYS: String(DAYS) });
  const second = await startTestServer({
    DATABASE_URL: server.databaseUrl,
    SESSION_RETENTION_DAYS: String(DAYS),
    AUDIT_RETENTION_DAYS: String(DAYS),
  });
  servers = [second, server];
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(async () => {
  for (const each of servers) await each.close();
});

/** Makes sessions of so many days ago, whose last event came so many days ago. */
async function make(count: number, { made, heard }: { made: number; heard?: number }, tag: string): Promise<void> {
  await server.sql`
    with s as (
      insert into sessions (id, space_id, task, tags, idle_timeout_seconds, created_at, last_seq)
      select overlay(new_id()::text placing substr(first_id(now() - make_interval(days => ${made}))::text, 1, 13) from 1 for 13)::uuid, spaces.id,
        'support', ${[tag]}, 5, now() - make_interval(days => ${made}), ${heard === undefined ? 0 : 1}
      from spaces, generate_series(1, ${count}) where slug = ${slug} returning id)
    insert into session_events (session_id, seq, direction, kind, data, at)
    select id, 1, 'in', 'stop', '{}', now() - make_interval(days => ${heard ?? 0}) from s where ${heard !== undefined}`;
}
const countOf = async (tag: string) =>
  (await server.sql<{ n: number }[]>`select count(*)::integer as n from sessions where ${tag} = any(tags)`)[0]?.n;

test("sessions in which nothing came for longer than they are kept are deleted, and no other is", async () => {
  await make(700, { made: 90, heard: 3 }, "old, in use");
  await make(50, { made: 90, heard: 40 }, "idle");
  await make(10, { made: 40 }, "never used");
  await make(10, { made: 20, heard: 20 }, "young");
  await until(
    () => "what is over is gone",
    async () => (await countOf("idle")) === 0 && (await countOf("never used")) === 0,
  );
  expect([await countOf("old, in use"), await countOf("young")]).toEqual([700, 10]);
});

test("entries of the record are deleted when they are older than they are kept; all others stay, whoever deletes", async () => {
  const backdate = async (table: "audit" | "audit_denials", column: string) => {
    const id = `overlay(new_id()::text placing substr(first_id(now() - interval '40 days')::text, 1, 13) from 1 for 13)::uuid`;
    const rest = table === "audit" ? "outcome, target" : "reason, count";
    const values = table === "audit" ? "'OK', 'old'" : "'permission', 1";
    await server.sql.unsafe(`
      insert into ${table} (id, ${column}, space_id, actor_id, actor_kind, actor_name, credential_id, via, method, request_id, ${rest})
      select ${id}, now() - interval '40 days', s.id, new_id(), 'u', 'Old', new_id(), 'session', 'old.method', 'r', ${values}
      from spaces s, generate_series(1, 5) where slug = '${slug}'`);
  };
  await backdate("audit", "at");
  await backdate("audit_denials", "minute");
  await server.call(ada.session, "group.create", { name: "kept" }, slug);
  const left = async () => {
    const [row] = await server.sql<{ old: number; young: number }[]>`
      select ((select count(*) from audit where method = 'old.method') + (select count(*) from audit_denials where method = 'old.method'))::integer as old,
             (select count(*) from audit where method = 'group.create')::integer as young`;
    return row;
  };
  await until(
    () => "what is old is gone",
    async () => (await left())?.old === 0,
  );
  expect((await left())?.young).toBe(1);
  await expect(server.sql`delete from audit`).rejects.toThrow(/append-only|permission denied/);
  const young = server.sql.begin(async (sql) => {
    await sql`select set_config('gatehouse.audit_retention_days', '1', true)`;
    await sql`delete from audit`;
  });
  await expect(young).rejects.toThrow(/append-only|permission denied/);
});
