import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Crowd, makeCrowd } from "../bench/crowd.ts";
import { hashKey, hintOfKey, makeKey } from "../packages/server/src/key.ts";
import { readStanding } from "../packages/server/src/standing.ts";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { until } from "./run.ts";
import { tapWire } from "./wire.ts";

const GROUPS = 1000;
const GRANTS = 100_000;

let wire: Awaited<ReturnType<typeof tapWire>>;
let server: TestServer;
let crowd: Crowd;
let agent: string;
const keys: Record<"member" | "agent", string> = { member: makeKey("pat"), agent: makeKey("agent_key") };
beforeAll(async () => {
  wire = await tapWire(await makeDatabase());
  server = await startTestServer({ DATABASE_URL: wire.url });
  const { sql } = server;
  crowd = await makeCrowd(sql, { groups: GROUPS, grants: GRANTS });
  const { space, member } = crowd;
  const [made] = await sql<{ id: string }[]>`
    insert into principals (id, kind, name, owner_id) values (new_id(), 'a', 'bot', ${member}) returning id`;
  agent = made?.id as string;
  await sql`insert into members (space_id, principal_id) values (${space.id}, ${agent})`;
  await sql`insert into grants (id, space_id, principal_id, permission) values (new_id(), ${space.id}, ${agent}, 'read')`;
  for (const [of, id] of [
    ["member", member],
    ["agent", agent],
  ] as const)
    await sql`
      insert into api_keys (id, principal_id, name, hash, hint)
      values (new_id(), ${id}, ${of}, ${hashKey(keys[of])}, ${hintOfKey(keys[of])})`;
});
afterAll(async () => {
  await server.close();
  await wire.close();
});

test.each(["member", "agent"] as const)(
  "the authority of the %s takes one round trip; a call for which it is known takes none",
  async (of) => {
    const { space, member } = crowd;
    const tapped = openDatabase(wire.url);
    const actor = { principal: { id: { member, agent }[of] }, credential: { ceiling: null } };
    const read = () => readStanding(tapped, { slug: space.slug }, actor);
    await until("one round trip is all it takes", async () => (await wire.during(read)) === 1);
    await tapped.end();

    for (const call of [() => server.call(keys[of], "whoami"), () => server.call(keys[of], "space.get", {}, space.slug)]) {
      expect((await call()).result).toBeDefined();
      await until("a call asks the database nothing", async () => (await wire.during(call)) === 0);
    }
    const effective = await server.call(keys[of], "access.effective", {}, space.slug);
    expect(effective.result.permissions.length).toBeGreaterThanOrEqual(GROUPS);
  },
);

interface Touched {
  name: string;
  scans: number;
  rows: number;
}

/** What reading somebody's standing reads of each table: how often all of it, and how many rows. */
async function touched(principal: string, space: { slug: string } | { id: string }): Promise<Map<string, Touched>> {
  const actor = { principal: { id: principal }, credential: { ceiling: null } };
  return server.sql.begin(async (tx) => {
    const counts = async () => [
      ...(await tx<Touched[]>`
        select relname as name, seq_scan::int as scans, (seq_tup_read + idx_tup_fetch)::int as rows
        from pg_stat_xact_user_tables where schemaname = 'public' and seq_tup_read + idx_tup_fetch is not null order by 1`),
    ];
    // As often as it takes Postgres to settle for a plan that does for anybody.
    for (let i = 0; i < 10; i++) await readStanding(tx, space, actor);
    const before = new Map((await counts()).map((row) => [row.name, row]));
    await readStanding(tx, space, actor);
    return new Map(
      (await counts()).map(({ name, scans, rows }) => {
        const { scans: s = 0, rows: r = 0 } = before.get(name) ?? {};
        return [name, { name, scans: scans - s, rows: rows - r }];
      }),
    );
  });
}

test("it is read by index: of what others hold, nothing is read", async () => {
  const { space, member } = crowd;
  const [{ grants, principals }] = (await server.sql<{ grants: number; principals: number }[]>`
    select (select count(*)::int from grants) as grants, (select count(*)::int from principals) as principals`) as unknown as [
    { grants: number; principals: number },
  ];
  expect(grants).toBeGreaterThanOrEqual(GRANTS + GROUPS);
  // The agent's authority is its owner's as well: that many groups, and itself.
  for (const [principal, own] of [
    [member, GROUPS],
    [agent, GROUPS + 1],
  ] as const)
    for (const by of [{ slug: space.slug }, { id: space.id }]) {
      const read = await touched(principal, by);
      for (const table of ["grants", "group_members", "principals", "members"]) expect(read.get(table)?.scans, table).toBe(0);
      expect(read.get("grants")?.rows).toBe(own);
      expect(read.get("group_members")?.rows).toBe(GROUPS);
      expect(read.get("principals")?.rows).toBeLessThan(GROUPS + 10);
      expect(principals).toBeGreaterThan(GROUPS + 1000);
    }
});

test("for a stranger, and for a space that is none, next to nothing is read", async () => {
  const stranger = await server.user("Stranger");
  for (const by of [{ slug: crowd.space.slug }, { id: crowd.space.id }, { slug: "aaaaaaaaaaaa" }]) {
    const read = await touched(stranger.id, by);
    for (const table of ["grants", "group_members", "members"]) expect(read.get(table)).toEqual({ name: table, scans: 0, rows: 0 });
  }
});
