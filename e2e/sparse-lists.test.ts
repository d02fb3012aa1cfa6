import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { connectHttp } from "./mcp.ts";
import { rowsRead } from "./rows-read.ts";
import { makeHome, meJson } from "./run.ts";

/** Rows that one page looks through at most. */
const LOOKED_AT = 5000;
const MANY = 12_000;
let server: TestServer;
let measured = false;
let ada: TestUser;
let slug: string;

/** The id of a row: each of a millisecond of its own, the first of them the oldest. */
const idOf = (i: number) => `01890000-${i.toString(16).padStart(4, "0")}-7000-8000-000000abcdef`;

beforeAll(async () => {
  const databaseUrl = await makeDatabase();
  server = await startTestServer({ DATABASE_URL: databaseUrl });
  ada = await server.user("Ada");
  ({ slug } = (await server.call(ada.session, "space.create", { name: "Home" })).result);
  const { id: space } = (await server.call(ada.session, "space.get", {}, slug)).result;
  const sql = openDatabase(databaseUrl);
  const made = `('01890000-' || lpad(to_hex(i), 4, '0') || '-7000-8000-000000abcdef')::uuid`;
  await sql.unsafe(`
    insert into sessions (id, space_id, task, tags, idle_timeout_seconds, created_by, close_reason, closed_at)
    select ${made}, '${space}', case when i in (1, 2) then 'rare/one' else 'usual/' || i % 100 end,
           case when i in (1, 7000) then array['rare'] else '{}'::text[] end, 60, '${ada.id}',
           case when i = 3 then 'closed' end, case when i = 3 then now() end
    from generate_series(1, ${MANY}) i`);
  await sql.unsafe(`
    insert into audit (id, place, space_id, actor_id, actor_kind, actor_name, credential_id, via, method, outcome, request_id)
    select ${made}, i, '${space}', '${ada.id}', 'u', 'Ada', '${ada.id}', 'session', case when i in (100, ${MANY}) then 'test.rare' else 'test.usual' end, 'OK', 'test'
    from generate_series(1, ${MANY}) i`);
  await sql.unsafe("analyze");
  await sql.end();
});
afterAll(() => measured || server.close());

interface Page {
  ids: string[];
  next: string | null;
}

async function pagesOf(credential: string, method: "session.list" | "audit.list", params: object): Promise<Page[]> {
  const pages: Page[] = [];
  for (let after: string | null | undefined; after !== null; after = (pages.at(-1) as Page).next) {
    const { result, error } = await server.call(credential, method, { ...params, ...(after !== undefined && { after }) }, slug);
    if (error) throw new Error(JSON.stringify(error));
    pages.push({ ids: (result.sessions ?? result.entries).map(({ id }: { id: string }) => id), next: result.next });
  }
  return pages;
}

const keyFor = async (...ceiling: string[]): Promise<string> =>
  (await server.call(ada.session, "apiKey.create", { name: `key-${crypto.randomUUID()}`, ceiling })).result.key;

test.each<[string, "session.list" | "audit.list", object, string[]]>([
  ["a tag", "session.list", { tag: "rare" }, [idOf(7000), idOf(1)]],
  ["a task", "session.list", { task: "rare" }, [idOf(2), idOf(1)]],
  ["a status", "session.list", { status: "closed" }, [idOf(3)]],
  ["a method", "audit.list", { method: "test.rare" }, [idOf(MANY), idOf(100)]],
  ["what nobody did", "audit.list", { method: "test.rare", outcome: "FORBIDDEN" }, []],
])("asked for %s that is rare, pages end after so many rows, and hold all there is together", async (_what, method, params, wanted) => {
  for (const limit of [1, 200]) {
    const pages = await pagesOf(ada.session, method, { ...params, limit });
    expect(pages.flatMap(({ ids }) => ids)).toEqual(wanted);
    expect(pages.length).toBeGreaterThanOrEqual(Math.ceil(MANY / LOOKED_AT));
  }
});

test("a page that is found without looking through others reads no more than it holds", async () => {
  const pages = await pagesOf(await keyFor(`read:sessions:${idOf(1)}`), "session.list", {});
  expect(pages).toEqual([{ ids: [idOf(1)], next: null }]);
});

test("where a list goes on tells the id of no session that the caller may not read", async () => {
  const pages = await pagesOf(await keyFor("read:tasks:rare"), "session.list", {});
  expect(pages.length).toBe(Math.ceil(MANY / LOOKED_AT));
  expect(pages.flatMap(({ ids }) => ids)).toEqual([idOf(2), idOf(1)]);
  for (const { next } of pages) expect(next ?? "").not.toContain("abcdef");
});

test("nor where all were made in one millisecond", async () => {
  const { slug: other } = (await server.call(ada.session, "space.create", { name: "Busy" })).result;
  const { id: space } = (await server.call(ada.session, "space.get", {}, other)).result;
  const ids = Array.from({ length: LOOKED_AT + 2 }, (_, i) => `01890000-0001-7000-8000-c${(i * 37).toString(16).padStart(11, "0")}`);
  await server.sql`
    insert into sessions (id, space_id, task, idle_timeout_seconds, created_by)
    select id, ${space}, case when id = ${ids[0] as string}::uuid then 'rare' else 'usual' end, 60, ${ada.id} from unnest(${ids}::uuid[]) id`;
  const key = await keyFor("read:tasks:rare");
  const first = (await server.call(key, "session.list", {}, other)).result;
  expect([first.sessions, ids.includes(first.next)]).toEqual([[], false]);
  const second = (await server.call(key, "session.list", { after: first.next }, other)).result;
  expect([second.sessions.map(({ id }: { id: string }) => id), second.next]).toEqual([[ids[0]], null]);
});

test("`me` and the tools of MCP read on behind an empty page", async () => {
  const key = await keyFor("admin");
  const home = await makeHome({ ME_SERVER: server.url, ME_SPACE: slug, ME_API_KEY: key });
  const rows = ((await meJson(home, ["session", "list", "--tag", "rare"])) as { sessions: { id: string }[] }).sessions;
  expect(rows.map(({ id }) => id)).toEqual([idOf(7000), idOf(1)]);
  const { entries } = (await meJson(home, ["audit", "--method", "test.rare", "--limit", "2"])) as { entries: { id: string }[] };
  expect(entries.map(({ id }) => id)).toEqual([idOf(MANY), idOf(100)]);
  const client = await connectHttp(new URL(`/mcp?space=${slug}`, server.url), key);
  const { structuredContent } = await client.callTool({ name: "list_agent_chats", arguments: { task: "rare" } });
  expect((structuredContent as { chats: { chatId: string }[] }).chats.map(({ chatId }) => chatId)).toEqual([idOf(2), idOf(1)]);
  await client.close();
});

test("a page reads at most as many rows as it may look through", async () => {
  const key = await keyFor("read:tasks:rare");
  measured = true;
  await server.close();
  for (const [credential, method, params, table] of [
    [ada.session, "session.list", { tag: "none" }, "sessions"],
    [key, "session.list", {}, "sessions"],
    [ada.session, "audit.list", { method: "none" }, "audit"],
  ] as const) {
    const { [table]: read } = await rowsRead(server.databaseUrl, (other) => other.call(credential, method, params, slug));
    expect(read).toBeGreaterThanOrEqual(LOOKED_AT);
    expect(read).toBeLessThan(2 * LOOKED_AT + 100);
  }
});
