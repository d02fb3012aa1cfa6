import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { until } from "./run.ts";

let server: TestServer;
/** Another server on the same database. */
let second: TestServer;
let ada: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  second = await startTestServer({ DATABASE_URL: server.databaseUrl });
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(async () => {
  await second.close();
  await server.close();
});

async function must(method: string, params: object = {}, at = server, credential = ada.session) {
  const { result, error } = await at.call(credential, method, params, slug);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}
const codeOf = async (method: string, params: object, at = server, credential = ada.session) =>
  (await at.call(credential, method, params, slug)).error?.data.code;

/** How many rows there are of a session. */
const rowsOf = async (id: string) => {
  const [row] = await server.sql<{ rows: number }[]>`
    select ((select count(*) from sessions where id = ${id}) + (select count(*) from session_events where session_id = ${id})
      + (select count(*) from runs where session_id = ${id}) + (select count(*) from turns where session_id = ${id})
      + (select count(*) from live_tokens where only_session_id = ${id}))::integer as rows`;
  return row?.rows;
};

test("a session that is deleted takes its log, its runs, its tokens and its streams along, on every server, and its worker has lost it", async () => {
  const externalId = "order-1";
  const { session, token } = await must("session.create", { task: "support", externalId, message: "hello" });
  const { lease } = await must("run.lease", { tasks: ["support"], worker: "w", waitSeconds: 5 });
  const hold = { run: lease.run, epoch: lease.epoch };
  const { input } = await must("run.next", { ...hold, waitSeconds: 5 });
  await must("run.emit", { ...hold, turn: input.turn, chunks: [{ type: "text-delta", id: "1", delta: "half" }] });
  const streams = await Promise.all(
    [server, second].map(({ url }) =>
      fetch(`${url}/api/v1/sessions/${externalId}/out`, { headers: { authorization: `Bearer ${ada.session}`, "x-me-space": slug } }),
    ),
  );
  const texts = streams.map((stream) => stream.text());
  const waits = server.call(ada.session, "run.heartbeat", { ...hold, turn: input.turn, waitSeconds: 20 }, slug);
  for (const at of [server, second]) await must("session.get", { session: externalId }, at);

  const headers = { authorization: `Bearer ${ada.session}`, "x-me-space": slug };
  const deleted = await fetch(`${server.url}/api/v1/sessions/${externalId}`, { method: "DELETE", headers });
  expect([deleted.status, await deleted.json()]).toEqual([200, { id: session.id }]);

  expect((await waits).error?.data.code).toBe("LEASE_LOST");
  expect(await codeOf("run.emit", { ...hold, turn: input.turn, chunks: [{ type: "x" }] })).toBe("LEASE_LOST");
  for (const text of texts) expect(await text).toContain('"why":"access ended"');
  expect(await rowsOf(session.id)).toBe(0);
  for (const at of [server, second]) {
    await until(
      () => "the other server heard of it",
      async () => (await codeOf("session.get", { session: externalId }, at)) === "NOT_FOUND",
    );
    for (const method of [
      "session.get",
      "session.events",
      "session.send",
      "session.stop",
      "session.update",
      "session.close",
      "session.delete",
    ]) {
      const params = { session: session.id, ...(method === "session.send" && { message: "more" }) };
      expect(await codeOf(method, params, at), method).toBe("NOT_FOUND");
    }
    expect((await at.call(token, "session.get", { session: session.id }, slug)).status).toBe(401);
  }
  const [entry] = (await must("audit.list", { method: "session.delete" })).entries;
  expect(entry).toMatchObject({ target: session.id, outcome: "OK" });
});

test("the external id of a session that was deleted names the next one, on every server", async () => {
  const externalId = "order-2";
  const { session } = await must("session.create", { task: "support", externalId });
  await must("session.get", { session: externalId }, second);
  await must("session.delete", { session: externalId });
  const again = await must("session.create", { task: "sales", externalId });
  expect(again).toMatchObject({ existing: false });
  expect(again.session.id).not.toBe(session.id);
  await until(
    () => "the other server knows the new one",
    async () => (await second.call(ada.session, "session.get", { session: externalId }, slug)).result?.id === again.session.id,
  );
});

test("who may write a session, and not its task, does not delete it", async () => {
  const { session, token } = await must("session.create", { task: "support" });
  expect(await codeOf("session.delete", { session: session.id }, server, token)).toBe("FORBIDDEN");
  const scope = ["write:sessions"];
  const narrow = (await server.call(ada.session, "token.create", { space: slug, scope })).result.token;
  expect(await codeOf("session.delete", { session: session.id }, server, narrow)).toBe("FORBIDDEN");
  expect((await must("session.get", { session: session.id })).id).toBe(session.id);
});

class RolledBack extends Error {}
/** Runs a statement, counts the rows that are left right after it, and rolls it back. */
async function leftAfter(statement: string, left: string): Promise<number> {
  let n = -1;
  await server.sql
    .begin(async (sql) => {
      await sql.unsafe(statement);
      const [row] = await sql.unsafe<{ n: number }[]>(`select (${left})::integer as n`);
      n = row?.n as number;
      throw new RolledBack();
    })
    .catch((thrown) => {
      if (!(thrown instanceof RolledBack)) throw thrown;
    });
  return n;
}
const remains = async () => (await server.sql`select from remains`).length;

test("a long log is not removed by the call that deletes its session, which would hold its credential, but soon after", async () => {
  const { session } = await must("session.create", { task: "support" });
  await server.sql.unsafe(`
    insert into session_events (session_id, seq, direction, kind, data) select '${session.id}', i, 'out', 'chunks', '[]' from generate_series(1, 12000) i`);
  await server.sql.unsafe(`
    insert into turns (session_id, turn, input_id, input_seq, status, ended_at) select '${session.id}', i, i, i, 'complete', now() from generate_series(1, 6000) i`);
  const rows = `select (select count(*) from session_events where session_id = '${session.id}') + (select count(*) from turns where session_id = '${session.id}')`;
  expect(await leftAfter(`delete from sessions where id = '${session.id}'`, rows)).toBe(17_000);
  await must("session.delete", { session: session.id });
  expect(await codeOf("session.events", { session: session.id })).toBe("NOT_FOUND");
  await until("nothing is left of it", async () => (await rowsOf(session.id)) === 0 && (await remains()) === 0);
});

test("the sessions of a space go with it: nobody reaches them any more, and they are removed soon after, with their logs", async () => {
  const { slug: large } = (await server.call(ada.session, "space.create", { name: "Large" })).result;
  const { id: space } = (await server.call(ada.session, "space.get", {}, large)).result;
  await server.sql.unsafe(`
    with s as (insert into sessions (id, space_id, task, idle_timeout_seconds) select new_id(), '${space}', 'support', 5 from generate_series(1, 100) returning id)
    insert into session_events (session_id, seq, direction, kind, data) select id, i, 'out', 'chunks', '[]' from s, generate_series(1, 1500) i`);
  const { session, token } = (await server.call(ada.session, "session.create", { task: "support", message: "hello" }, large)).result;
  const headers = { authorization: `Bearer ${ada.session}`, "x-me-space": large };
  const stream = await fetch(`${second.url}/api/v1/sessions/${session.id}/out`, { headers });
  const streamed = stream.text();
  const waits = server.call(ada.session, "run.lease", { tasks: ["other"], worker: "w", waitSeconds: 2 }, large);
  const sessions = `select count(*) from sessions where space_id = '${space}'`;
  expect(await leftAfter(`delete from spaces where id = '${space}'`, sessions)).toBe(81);
  expect((await server.call(ada.session, "space.delete", { slug: large, confirm: large })).error).toBeUndefined();
  expect((await server.call(ada.session, "session.get", { session: session.id }, large)).error?.data.code).toBe("NOT_FOUND");
  expect((await server.call(token, "session.get", { session: session.id }, large)).status).toBe(401);
  expect(await streamed).toContain('"why":"access ended"');
  await until("nothing is left of it", async () => {
    const [row] = await server.sql.unsafe<{ n: number }[]>(`
      select ((${sessions}) + (select count(*) from session_events e where not exists (select from sessions s where s.id = e.session_id)))::integer as n`);
    return row?.n === 0 && (await remains()) === 0;
  });
  expect((await waits).error?.data.code).toBe("NOT_FOUND");
  const begun = server.sql`insert into sessions (id, space_id, task, idle_timeout_seconds) values (new_id(), ${space}, 'support', 5)`;
  await expect(begun).rejects.toMatchObject({ code: "23503" });
});

test("an agent that has started and served sessions is deleted without a look at them, and they are nobody's then", async () => {
  const { id: agent } = (await server.call(ada.session, "agent.create", { name: "starter" })).result;
  const { key } = (await server.call(ada.session, "apiKey.create", { name: "starter", agent })).result;
  await must("principal.add", { principal: agent });
  await must("access.grant", { principal: agent, permission: "admin:tasks" });
  const { session } = await must("session.create", { task: "started", message: "hello" }, server, key);
  await must("run.lease", { tasks: ["started"], worker: "w", waitSeconds: 5 }, server, key);
  expect((await must("session.get", { session: session.id })).createdBy).toMatchObject({ id: agent });
  expect((await server.call(ada.session, "agent.delete", { id: agent })).error).toBeUndefined();
  expect((await must("session.get", { session: session.id })).createdBy).toBeNull();
  expect((await must("session.list", { task: "started" })).sessions).toMatchObject([{ id: session.id, createdBy: null }]);
  expect((await must("run.list", { session: session.id })).runs).toHaveLength(1);
});
