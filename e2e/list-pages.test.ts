import { type Api, type Method, PAGE_BYTES, spaceApi, userApi } from "@gatehouse/protocol";
import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { rowsRead } from "./rows-read.ts";
import { makeHome, meJson } from "./run.ts";

/** Lists that have no pages, and why they are bounded all the same. */
const WITHOUT_PAGES: Record<string, string> = {
  "rpc.discover": "as many as there are methods",
  whoami: "the scope of one credential",
  "token.create": "the scope of one token",
  "token.inspect": "the scope of one credential",
  "apiKey.get": "the ceiling of one key",
  "principal.resolve": "at most 100",
  "principal.lookup": "at most as many as the ids that are sent: 200",
  "access.effective": "bounded in bytes, and says when it is cut",
  "access.explain": "one line for each layer; what is needed, and why, is cut",
  "session.get": "the tags of one session: at most 32",
  "session.update": "the tags of one session: at most 32",
  "session.close": "the tags of one session: at most 32",
  "session.events": "its pages begin at a place in the log",
};
/** Those whose pages are tested with tasks, sessions and runs. */
const OF_CONVERSATIONS = /^(task|session|run)\./;

/** The member of a result that is a list. */
const listIn = ({ result }: Method): string | undefined =>
  result instanceof z.ZodObject ? Object.keys(result.shape).find((name) => result.shape[name] instanceof z.ZodArray) : undefined;

const methods = Object.entries({ user: userApi, space: spaceApi } as Record<string, Api>).flatMap(([door, api]) =>
  Object.entries(api).map(([method, contract]) => ({ door, method, contract })),
);
const lists = methods.flatMap(({ door, method, contract }) => {
  const rows = listIn(contract);
  return rows === undefined || method in WITHOUT_PAGES || OF_CONVERSATIONS.test(method) ? [] : [{ door, method, rows }];
});

test("every method that answers with a list answers page by page, or is bounded by what it is", () => {
  for (const { method, contract } of methods) {
    const text = JSON.stringify(z.toJSONSchema(contract.result, { io: "output" }));
    if (listIn(contract) === undefined && !text.includes('"scope":{')) continue;
    const paged = ["after", "limit"].every((param) => param in contract.params.shape) && text.includes('"next":{');
    expect([method, paged !== method in WITHOUT_PAGES]).toEqual([method, true]);
  }
  expect(lists.length).toBeGreaterThan(12);
});

const MANY = 2000;
const LONG = "é".repeat(60);
let databaseUrl: string;
let ada: TestUser;
let slug: string;
let params: Record<string, object>;

/** Fills every list that Ada may read, and as many rows of others beside it. */
async function fill(server: TestServer, bob: TestUser): Promise<void> {
  const must = async (method: string, input: object = {}, space?: string) => {
    const { result, error } = await server.call(ada.session, method, input, space);
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  };
  ({ slug } = await must("space.create", { name: "Home" }));
  const { id: space } = await must("space.get", {}, slug);
  const { id: bot } = await must("agent.create", { name: "bot" });
  const { id: group } = await must("group.create", { name: "crew" }, slug);
  await must("secretKey.create", { name: "backend" }, slug);
  params = {
    "agent.spaces": { id: bot },
    "group.listMembers": { group },
    "group.listForMember": { member: "01890000-0000-7000-8000-000000000001" },
  };
  const sql = openDatabase(databaseUrl);
  // Ids of one kind each: in the order in which they are made.
  await sql.unsafe(`
    create function made(kind integer, i integer) returns uuid language sql immutable as $$
      select format('01890000-000%s-7000-8000-%s', kind, lpad(to_hex(i), 12, '0'))::uuid $$`);
  const fillings = [
    `insert into principals (id, kind, name, owner_id) select made(0, i), 'a', '${LONG}' || i, '${ada.id}' from generate_series(1, ${MANY}) i`,
    `insert into principals (id, kind, name, owner_id) select made(1, i), 'a', '${LONG}' || i, '${bob.id}' from generate_series(1, ${MANY}) i`,
    `insert into principals (id, kind, name, space_id) select made(2, i), 'g', '${LONG}' || i, '${space}' from generate_series(1, ${MANY}) i`,
    `insert into spaces (id, slug, name) select made(3, i), lpad(to_hex(i), 12, 's'), '${LONG}' from generate_series(1, ${MANY}) i`,
    `insert into principals (id, kind, name, space_id) select made(4, i), 'g', '${LONG}' || i, made(3, 1) from generate_series(1, ${MANY}) i`,
    `insert into members (space_id, principal_id) select made(3, i), p from generate_series(1, ${MANY}) i, unnest(array['${ada.id}', '${bob.id}', '${bot}']::uuid[]) p`,
    `insert into members (space_id, principal_id) select '${space}', made(0, i) from generate_series(1, ${MANY}) i`,
    `insert into group_members (group_id, principal_id) select '${group}', made(0, i) from generate_series(1, ${MANY}) i`,
    `insert into group_members (group_id, principal_id) select made(2, i), made(0, 1) from generate_series(1, ${MANY}) i`,
    `insert into agent_offers (agent_id, to_id, offered_by) select made(1, i), '${ada.id}', '${bob.id}' from generate_series(1, ${MANY}) i`,
    ...["made(0, i)", "made(1, i)", "(select id from principals where kind = 's')"].map(
      (holder, kind) => `insert into api_keys (id, principal_id, name, hash, hint, ceiling)
        select made(${5 + kind}, i), ${holder}, 'key ' || i, sha256(('${kind}' || i)::bytea), 'me_…',
               array_fill('read:tasks:' || repeat('x', 200), array[64])
        from generate_series(1, ${MANY}) i`,
    ),
    `insert into invites (id, space_id, token_hash, invited_by, expires_at)
       select made(8, i), '${space}', sha256(i::text::bytea), '${ada.id}', now() + interval '1 day' from generate_series(1, ${MANY}) i`,
    `insert into invite_groups (invite_id, group_id) select made(8, i), made(2, j) from generate_series(1, ${MANY}) i, generate_series(1, 20) j`,
    `insert into invites (id, space_id, email, invited_by, expires_at)
       select made(9, i), made(3, i), '${ada.email}', '${bob.id}', now() + interval '1 day' from generate_series(1, ${MANY}) i`,
    `update auth."user" set "emailVerified" = true`,
    `insert into grants (id, space_id, principal_id, permission)
       select ('01890000-000a-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '${space}', made(0, i), 'read:tasks:' || repeat('x', 200) || i from generate_series(1, ${MANY}) i`,
    `insert into audit (id, place, space_id, actor_id, actor_kind, actor_name, credential_id, via, method, outcome, request_id)
       select ('01890000-000b-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, i, s, '${ada.id}', 'u', '${LONG}', '${ada.id}', 'session', 'agent.create', 'OK', repeat('r', 128)
       from generate_series(1, ${MANY}) i, unnest(array['${space}'::uuid]) s`,
  ];
  for (const filling of fillings) await sql.unsafe(filling);
  await sql.unsafe("analyze");
  await sql.end();
}

beforeAll(async () => {
  databaseUrl = await makeDatabase();
  const server = await startTestServer({ DATABASE_URL: databaseUrl });
  ada = await server.user("Ada");
  await fill(server, await server.user("Bob"));
  await server.close();
});

interface Page {
  rows: Record<string, unknown>[];
  next: string | null;
  bytes: number;
}

async function pageOf(server: TestServer, { door, method, rows }: (typeof lists)[number], input: object): Promise<Page> {
  const { result, error } = await server.call(ada.session, method, { ...params[method], ...input }, door === "space" ? slug : undefined);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return { rows: result[rows], next: result.next, bytes: Buffer.byteLength(JSON.stringify(result)) };
}

describe("pages", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({ DATABASE_URL: databaseUrl });
  });
  afterAll(() => server.close());

  async function all(list: (typeof lists)[number], limit: number) {
    const pages: Page[] = [];
    for (let after: string | null | undefined; after !== null; after = (pages.at(-1) as Page).next)
      pages.push(await pageOf(server, list, { limit, ...(after !== undefined && { after }) }));
    return pages;
  }

  test.each(lists)("of $method hold each row once, as many as are asked for, and no more than a page may take", async (list) => {
    const large = await all(list, 1000);
    const small = await all(list, 173);
    expect(small.flatMap(({ rows }) => rows)).toEqual(large.flatMap(({ rows }) => rows));
    const texts = large.flatMap(({ rows }) => rows.map((row) => JSON.stringify(row)));
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts.length).toBeGreaterThanOrEqual(MANY);
    for (const { rows, bytes } of [...large, ...small]) {
      expect(rows.length).toBeGreaterThan(0);
      expect(bytes).toBeLessThan(PAGE_BYTES + 16_384);
    }
    for (const { rows } of large) expect(rows.length).toBeLessThanOrEqual(1000);
    for (const { rows } of small) expect(rows.length).toBeLessThanOrEqual(173);
  });

  test.each([
    ["agents", "agent", "list"],
    ["spaces", "agent", "spaces", "bot"],
    ["offers", "agent", "offers"],
    ["keys", "apikey", "list"],
    ["spaces", "space", "list"],
    ["members", "space", "members"],
    ["members", "principal", "list"],
    ["groups", "group", "list"],
    ["members", "group", "members", "crew"],
    ["groups", "group", "mine", "--of", "01890000-0000-7000-8000-000000000001"],
    ["grants", "access", "list"],
    ["invites", "invite", "list"],
    ["invites", "invite", "pending"],
  ])("hold all %s for me %s %s", async (rows, ...command) => {
    const { key } = (await server.call(ada.session, "apiKey.create", { name: `key-${crypto.randomUUID()}` })).result;
    const home = await makeHome({ ME_SERVER: server.url, ME_SPACE: slug, ME_API_KEY: key });
    const answer = (await meJson(home, command)) as Record<string, unknown[]>;
    expect(answer[rows]?.length).toBeGreaterThanOrEqual(MANY);
    expect(answer).not.toHaveProperty("next");
  });

  test("what a principal may do is cut where it would be too much, and says so", async () => {
    const sql = openDatabase(databaseUrl);
    await sql.unsafe(`insert into grants (id, space_id, principal_id, permission)
      select ('01890000-000c-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, (select id from spaces where slug = '${slug}'), made(0, 1),
             'read:tasks:' || repeat('y', 200) || i from generate_series(1, 9000) i`);
    await sql.end();
    const effective = async (principal?: string) =>
      (await server.call(ada.session, "access.effective", principal === undefined ? {} : { principal }, slug)).result;
    const cut = await effective("01890000-0000-7000-8000-000000000001");
    expect([cut.truncated, cut.permissions.length > 1000]).toEqual([true, true]);
    expect(Buffer.byteLength(JSON.stringify(cut))).toBeLessThan(PAGE_BYTES + 16_384);
    expect(await effective()).toMatchObject({ truncated: false, permissions: ["admin"] });
  });
});

test("a page costs at most one pass over a table, not one for each holder or owner", async () => {
  const counted = (call: (server: TestServer) => Promise<unknown>) => rowsRead(databaseUrl, call);
  /** What a call costs that reads no list: who she is, and where she stands. */
  const bare = {
    user: await counted((server) => server.call(ada.session, "whoami")),
    space: await counted((server) => server.call(ada.session, "space.get", {}, slug)),
  };
  const dear: string[] = [];
  for (const list of lists) {
    const read = await counted((server) => pageOf(server, list, { limit: 10 }));
    for (const [table, rows] of Object.entries(read)) {
      const own = rows - (bare[list.door as keyof typeof bare][table] ?? 0);
      // No table has more than four times as many rows.
      if (own > MANY * 4.5) dear.push(`${list.method}: ${own} rows of ${table}`);
    }
  }
  expect(dear).toEqual([]);
});
