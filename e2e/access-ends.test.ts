import { spaceApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { until } from "./run.ts";

let place: Workplace;
beforeAll(async () => {
  place = await makeWorkplace({ LEASE_SECONDS: "30" });
});
afterAll(() => place.close());

/** A worker's key of its own, and what is done by it. */
async function hire() {
  const agent = (await place.must("agent.create", { name: `w-${Math.random()}` }, null)).id;
  await place.must("principal.add", { principal: agent });
  await place.must("access.grant", { principal: agent, permission: "admin:tasks" });
  const { id, key } = await place.must("apiKey.create", { name: "worker", agent }, null);
  return {
    call: (method: string, params: object) => place.server.call(key, method, params, place.slug),
    fire: () => place.must("apiKey.delete", { id }, null),
  };
}
const idle = () =>
  until("the worker waits", async () => {
    const [row] = await place.server.sql<{ at: string | null }[]>`select max(idle_since) as at from runs where ended_at is null`;
    return row?.at;
  });

test("a worker that waits for work is given none once its key is revoked", async () => {
  const worker = await hire();
  const waiting = worker.call("run.lease", { tasks: ["late"], worker: "w", waitSeconds: 10 });
  // The bell rings when there is work: it waits by then, as one that came after it would have taken this.
  const { session: before } = await place.must("session.create", { task: "late-0", message: "not for it" });
  expect(before.task).toBe("late-0");
  await worker.fire();
  await place.must("session.create", { task: "late", message: "secret" });
  const { result, error } = await waiting;
  expect([result, error?.data.code]).toEqual([undefined, "UNAUTHENTICATED"]);
  expect(await place.must("run.lease", { tasks: ["late"], worker: "w" })).toMatchObject({ lease: { task: "late" } });
});

test("a worker that waits for what is said next hears nothing once its key is revoked", async () => {
  const worker = await hire();
  const { session } = await place.must("session.create", { task: "talk", message: "one" });
  const { lease } = (await worker.call("run.lease", { tasks: ["talk"], worker: "w" })).result;
  const hold = { run: lease.run, epoch: lease.epoch };
  const { input } = (await worker.call("run.next", hold)).result;
  await worker.call("run.endTurn", { ...hold, turn: input.turn, outcome: "complete" });
  const waiting = worker.call("run.next", { ...hold, waitSeconds: 10 });
  await idle();
  await worker.fire();
  await place.must("session.send", { session: session.id, message: "secret" });
  const { result, error } = await waiting;
  expect([result, error?.data.code]).toEqual([undefined, "UNAUTHENTICATED"]);
});

/** Methods that add something. A lease passes by runs that are held; a heartbeat adds nothing. */
const adding = Object.entries(spaceApi)
  .filter(([name, { effect }]) => effect === "append" && name !== "run.lease" && name !== "run.heartbeat")
  .map(([name]) => name);

test.each(adding)("%s adds nothing that waited for somebody's lock until its key was revoked", async (method) => {
  const { sql } = place.server;
  const worker = await hire();
  const task = `held/${method.replace(".", "-").toLowerCase()}`;
  const { session } = await place.must("session.create", { task, message: "one" });
  const { lease } = (await worker.call("run.lease", { tasks: [task], worker: "w" })).result;
  const hold = { run: lease.run, epoch: lease.epoch };
  const turn = method === "run.next" ? 0 : (await worker.call("run.next", hold)).result.input.turn;
  const params: Record<string, object> = {
    "session.send": { session: session.id, message: "late" },
    "session.stop": { session: session.id },
    "run.next": hold,
    "run.emit": { ...hold, turn, chunks: [{ type: "x" }] },
    "run.endTurn": { ...hold, turn, outcome: "complete" },
    "run.end": { ...hold, reason: "handover" },
    "task.register": { task, description: "late" },
  };
  // Its task goes with the key: the end of the key waits for whoever holds the task.
  const registers = method === "task.register";
  if (registers) await worker.call("task.register", { task, description: "before" });
  const log = () => sql`select seq, kind from session_events where session_id = ${session.id} order by seq`;
  const before = await log();
  const waiting = await sql.begin(async (tx) => {
    await tx`select from sessions where id = ${session.id} for update`;
    await tx`select from tasks where path = ${task} for update`;
    const answer = worker.call(method, params[method] as object);
    await until("it waits in a transaction", async () => {
      const waits = await sql`
        select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and now() - xact_start > interval '0.3 s'`;
      return waits.length > 0;
    });
    const fired = worker.fire();
    if (!registers) await fired;
    return { answer, fired };
  });
  await waiting.fired;
  const { result, error } = await waiting.answer;
  if (!registers) expect([result, error?.data.code]).toEqual([undefined, "UNAUTHENTICATED"]);
  expect(await sql`select from tasks where path = ${task}`).toEqual([]);
  expect(await log()).toEqual(before);
  const [run] = await sql`select ended_at from runs where id = ${hold.run}`;
  expect(run).toEqual({ endedAt: null });
});

test("a stream ends within a second of when its token expires, on a server where nothing else happens", async () => {
  const { session } = await place.must("session.create", { task: "quiet", message: "one" });
  const expiresAt = new Date(Date.now() + 3000).toISOString();
  const { key } = await place.must("apiKey.create", { name: "short", expiresAt }, null);
  const answered = await fetch(`${place.server.url}/api/v1/sessions/${session.id}/out`, {
    headers: { authorization: `Bearer ${key}`, "x-me-space": place.slug },
  });
  expect(answered.status).toBe(200);
  expect(await answered.text()).toContain("access ended");
  const late = Date.now() - Date.parse(expiresAt);
  expect(late).toBeGreaterThanOrEqual(0);
  // The second that is promised, and another for a machine that is busy.
  expect(late).toBeLessThan(2000);
});

test("what is limited learns no names, unless it is said: not by the token of a session, in somebody's browser", async () => {
  const { token } = await place.must("session.create", { task: "late" });
  const { key } = await place.must("apiKey.create", { name: "limited", ceiling: ["write:tasks"] }, null);
  const { key: said } = await place.must("apiKey.create", { name: "told", ceiling: ["read:members", "read:groups"] }, null);
  const asks: [string, object][] = [
    ["space.members", {}],
    ["principal.resolve", { name: "bot" }],
    ["principal.lookup", { ids: [] }],
    ["group.list", {}],
  ];
  for (const [method, params] of asks) {
    for (const limited of [token, key])
      expect((await place.server.call(limited, method, params, place.slug)).error?.data, method).toMatchObject({ code: "FORBIDDEN" });
    for (const open of [said, place.ada.session])
      expect((await place.server.call(open, method, params, place.slug)).error?.data.code, method).not.toBe("FORBIDDEN");
  }
});
