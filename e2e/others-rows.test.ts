import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { rowsRead } from "./rows-read.ts";
import { until } from "./run.ts";

// A call costs no more for what others have on the server, and their deletions wait for nobody.

/** Rows that others have of each kind. */
const MANY = 3000;

let server: TestServer;
let closed = false;
let ada: TestUser;
let eve: TestUser;
let mine: { id: string; slug: string };
let theirs: { id: string; slug: string };
beforeAll(async () => {
  server = await startTestServer({ DATABASE_URL: await makeDatabase() });
  [ada, eve] = [await server.user("Ada"), await server.user("Eve")];
  mine = await must(server, ada.session, "space.create", { name: "Mine" });
  theirs = await must(server, eve.session, "space.create", { name: "Theirs" });
  await server.sql.unsafe(`
    insert into principals (id, kind, name, space_id) select new_id(), 'g', 'Größe ' || i, '${theirs.id}' from generate_series(1, ${MANY}) i;
    with s as (
      insert into sessions (id, space_id, task, idle_timeout_seconds) select new_id(), '${theirs.id}', 'support', 60 from generate_series(1, ${MANY}) returning id)
    insert into runs (id, session_id, number, reason) select new_id(), id, 1, 'initial' from s;
    analyze`);
});
afterAll(() => closed || server.close());

test("runs are leased oldest first, over all tasks asked for, and each to one worker", async () => {
  const make = async (task: string) =>
    (await must(server, ada.session, "session.create", { task, message: "go" }, mine.slug)).session.id as string;
  const made = [await make("b"), await make("a"), await make("c"), await make("a")];
  const lease = async (tasks: string[]) => (await must(server, ada.session, "run.lease", { tasks, worker: "w" }, mine.slug)).lease?.session;
  expect([await lease(["a", "b"]), await lease(["a", "b"]), await lease(["a", "b"]), await lease(["a", "b"])]).toEqual([
    made[0],
    made[1],
    made[3],
    undefined,
  ]);
  const rest = await Promise.all(Array.from({ length: 5 }, () => lease(["c", "a"])));
  expect(rest.filter(Boolean)).toEqual([made[2]]);
});

test("a run whose worker is lost goes to the next soon, however many others were lost before", async () => {
  const { session } = await must(server, ada.session, "session.create", { task: "mine", message: "go" }, mine.slug);
  const lost = (space: string, since: string) => server.sql`
    update runs set leased_until = clock_timestamp() - ${since}::interval, leased_at = now(), epoch = nextval('run_epoch'), worker = 'gone', worker_id = ${eve.id}
    where space_id = ${space} and ended_at is null and leased_until is null`;
  await lost(theirs.id, "1 hour");
  await lost(mine.id, "1 second");
  const waiting = await must(server, ada.session, "run.lease", { tasks: ["mine"], worker: "next", waitSeconds: 10 }, mine.slug);
  expect(waiting.lease?.session).toBe(session.id);
  await until(
    "all are over",
    async () => (await server.sql`select from runs where ended_at is null and leased_until < now()`).length === 0,
  );
});

test("a session's rows are removed however many keys were deleted before", async () => {
  const { session } = await must(server, ada.session, "session.create", { task: "long" }, mine.slug);
  await server.sql`
    insert into session_events (session_id, seq, direction, kind, data) select ${session.id}, i, 'in', 'note', '{}' from generate_series(100, 6000) i`;
  await server.sql`insert into remains (of, kind) select new_id(), 'key' from generate_series(1, 20000)`;
  await must(server, ada.session, "session.delete", { session: session.id }, mine.slug);
  await until(
    "its events are gone",
    async () => (await server.sql`select from session_events where session_id = ${session.id} limit 1`).length === 0,
  );
  expect((await server.sql`select from remains limit 1`).length, "the keys' turn comes, too").toBe(1);
  await server.sql`delete from remains where kind = 'key'`;
});

test("to revoke a key waits for nobody whom it let in, whatever they are doing", async () => {
  const { id, key } = await must(server, ada.session, "apiKey.create", { name: "lets Eve in" });
  await server.acquaint(ada, eve);
  await must(server, key, "principal.add", { principal: eve.id }, mine.slug);
  await must(server, key, "access.grant", { principal: eve.id, permission: "read:tasks" }, mine.slug);
  await server.sql.begin(async (tx) => {
    await tx`select from principals where id = ${eve.id} for update`;
    await tx`select from grants where principal_id = ${eve.id} for update`;
    await must(server, ada.session, "apiKey.delete", { id });
    expect((await server.call(key, "whoami")).status).toBe(401);
    expect((await server.call(eve.session, "task.list", {}, mine.slug)).error?.data.code).toBe("NOT_FOUND");
  });
  await until("nothing is left", async () => (await server.sql`select from members where key_id = ${id}`).length === 0);
  await until("nor to be removed", async () => (await server.sql`select from remains`).length === 0);
});

test("a server starts, and tidies up, however many tokens have expired", async () => {
  await server.sql`
    insert into tokens (id, principal_id, space_id, scope, expires_at) select new_id(), ${ada.id}, ${mine.id}, array['read'], now() - interval '1 hour'
    from generate_series(1, 4500)`;
  const other = await startTestServer({ DATABASE_URL: server.databaseUrl });
  await until("they are gone", async () => (await server.sql`select from tokens where expires_at < now() limit 1`).length === 0);
  await other.close();
});

test("what reads of other spaces nothing", async () => {
  await server.close();
  closed = true;
  const calls: [string, object][] = [
    ["principal.resolve", { name: "nobody" }],
    ["principal.lookup", { ids: [ada.id] }],
    ["run.lease", { tasks: ["none"], worker: "w" }],
  ];
  for (const [method, params] of calls) {
    const read = await rowsRead(server.databaseUrl, (at) => must(at, ada.session, method, params, mine.slug));
    const much = Object.entries(read).filter(
      ([table, rows]) => rows > 300 && ["principals", "runs", "members", "sessions"].includes(table),
    );
    expect([method, much]).toEqual([method, []]);
  }
});
