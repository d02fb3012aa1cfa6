import { openDatabase } from "@gatehouse/server";
import { expect, test } from "vitest";
import { eventsOf } from "./events.ts";
import { makeDatabase, startTestServer } from "./harness.ts";
import { until } from "./run.ts";

// What an operator, or a managed service, has set for the database or the role: our statements and rows stay the same.

/** Each setting that our code relies on, with a value under which it would fail, or would read something else. */
const unfit: Record<string, string> = {
  DateStyle: "German, DMY",
  TimeZone: "Asia/Kathmandu",
  IntervalStyle: "sql_standard",
  extra_float_digits: "-15",
  bytea_output: "escape",
  array_nulls: "off",
  transform_null_equals: "on",
  standard_conforming_strings: "off",
  client_encoding: "LATIN1",
  default_transaction_isolation: "serializable",
  default_transaction_read_only: "on",
  default_transaction_deferrable: "on",
  statement_timeout: "2s",
  lock_timeout: "2s",
  idle_in_transaction_session_timeout: "2s",
  idle_session_timeout: "2s",
  transaction_timeout: "2s",
  exit_on_error: "on",
};

async function databaseWith(settings: Record<string, string>): Promise<string> {
  const address = await makeDatabase();
  const sql = openDatabase(address);
  const name = new URL(address).pathname.slice(1);
  for (const [setting, value] of Object.entries(settings))
    await sql.unsafe(`alter database ${name} set ${setting} to ${setting === "DateStyle" ? value : `'${value}'`}`);
  await sql.end();
  return address;
}

/** What a person and an agent do in a day: sign in, keys, a refusal, a conversation, and reading it again. */
async function journey(address: string): Promise<void> {
  const server = await startTestServer({ DATABASE_URL: address });
  try {
    const { session, email, password } = await server.user("Zoe");
    const signIn = await fetch(`${server.url}/api/auth/sign-in/email`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: server.url },
      body: JSON.stringify({ email, password }),
    });
    expect(signIn.status).toBe(200);
    const expiresAt = "2099-02-01T10:20:30.456Z";
    const { key, id } = (await server.call(session, "apiKey.create", { name: "Schlüssel", expiresAt })).result;
    const { createdAt, ...kept } = (await server.call(session, "apiKey.get", { id })).result;
    expect(kept).toMatchObject({ name: "Schlüssel", expiresAt });
    expect(Math.abs(Date.parse(createdAt) - Date.now())).toBeLessThan(60_000);
    expect((await server.call(key, "whoami")).result).toMatchObject({ name: "Zoe" });
    const { slug } = (await server.call(session, "space.create", { name: "Büro \\ 'x'" })).result;
    const message = "back\\slash 'quote' ümlaut 🦉";
    const { session: talk } = (await server.call(session, "session.create", { task: "echo", message, tags: ["NULL", "a,b"] }, slug)).result;
    expect(talk.tags).toEqual(["NULL", "a,b"]);
    const headers = { authorization: `Bearer ${session}`, "x-me-space": slug };
    const reader = eventsOf(await fetch(`${server.url}/api/v1/sessions/${talk.id}/out`, { headers }));
    expect((await reader.next()).value?.data).toContain(JSON.stringify(message).slice(1, -1));
    await server.call(session, "apiKey.delete", { id });
    await until("the key is refused", async () => (await server.call(key, "whoami")).status === 401);
  } finally {
    await server.close();
  }
}

test.each(Object.entries(unfit))("a database with %s = %s serves as any other", async (setting, value) => {
  const admin = openDatabase(await makeDatabase());
  const [known] = await admin`select from pg_settings where lower(name) = lower(${setting})`;
  await admin.end();
  const address = await databaseWith(known ? { [setting]: value } : {});
  await journey(address);
  const sql = openDatabase(address);
  const [read] = await sql<{ setting: string | null }[]>`select current_setting(${setting}, true) as setting`;
  expect(read?.setting).not.toBe(value);
  await sql.end();
});

test("all of it at once, also without prepared statements", async () => {
  const address = await databaseWith(unfit);
  await journey(address);
  const sql = openDatabase(`${address}&prepare=false`);
  const wanted = { bytes: Buffer.from([0, 92, 255]), at: "2026-02-01T00:00:00.000Z", list: ["NULL", "a"], empty: null };
  const select = (on: Pick<typeof sql, "unsafe">) =>
    on.unsafe(
      `select '\\x005cff'::bytea as bytes, '2026-02-01 00:00:00+00'::timestamptz as at, '{"NULL",a}'::text[] as list, null::text as empty`,
    );
  expect(await select(sql)).toEqual([wanted]);
  await sql.begin(async (tx) => {
    expect(await select(tx)).toEqual([wanted]);
    await tx`create table written (x float8)`;
    expect(await tx`insert into written values (${0.1 + 0.2}) returning x`).toEqual([{ x: 0.1 + 0.2 }]);
    for (const [name, setting] of [
      ["statement_timeout", "0"],
      ["default_transaction_read_only", "off"],
      ["transaction_isolation", "read committed"],
    ])
      expect(await tx.unsafe(`select current_setting('${name}') as setting`)).toEqual([{ setting }]);
  });
  await sql.end();
});

test("every setting of a kind that a session may change, on another value: serves as any other", async () => {
  const sql = openDatabase(await makeDatabase());
  const settings = await sql<{ name: string; vartype: string; setting: string; enumvals: string[] | null }[]>`
    select name, vartype, setting, enumvals from pg_settings where context = 'user' and vartype in ('bool', 'enum')
    and name not like 'transaction\_%' and name not in ('log_statement_stats', 'log_parser_stats', 'log_planner_stats', 'log_executor_stats')`;
  await sql.end();
  expect(settings.length).toBeGreaterThan(50);
  const other = settings.map(({ name, vartype, setting, enumvals }) => [
    name,
    vartype === "bool" ? (setting === "on" ? "off" : "on") : ((enumvals ?? []).find((value) => value !== setting) ?? setting),
  ]);
  await journey(await databaseWith(Object.fromEntries(other)));
});
