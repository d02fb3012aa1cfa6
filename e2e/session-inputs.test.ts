import { MAX_INPUTS_PER_MINUTE, MAX_QUEUED_TURNS } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOf } from "./events.ts";
import { until } from "./run.ts";
import { makeTurns, type Turns } from "./turns.ts";

let turns: Turns;
beforeAll(async () => {
  turns = await makeTurns({ LEASE_SECONDS: "300" });
});
afterAll(() => turns.server.close());

const api = (verb: string, path: string, body?: object) =>
  fetch(`${turns.server.url}/api/v1${path}`, {
    method: verb,
    headers: { authorization: `Bearer ${turns.credential}`, "x-me-space": turns.slug, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
const logOf = async (session: string) => (await turns.must("session.events", { session, limit: 1000 })).events;
const kindsOf = async (session: string): Promise<string[]> => (await logOf(session)).map(({ kind }: { kind: string }) => kind);
const said = async (session: string): Promise<string[]> =>
  (await logOf(session))
    .filter(({ kind }: { kind: string }) => kind === "message")
    .map(({ data }: { data: { parts: { text: string }[] } }) => data.parts[0]?.text);
/** How turns ended, in the order of the log. */
const endsOf = async (session: string): Promise<string[]> =>
  (await logOf(session))
    .filter(({ kind }: { kind: string }) => kind === "turn-end")
    .map(({ turn, data }: { turn: number; data: { outcome: string } }) => `${turn} ${data.outcome}`);

test("a session that is started again by its external id, with the same message, has it once; another message is the next", async () => {
  const start = (message: unknown, more: object = {}) =>
    api("POST", "/sessions", { task: "echo", externalId: "order-42", message, ...more });
  expect((await start("Where is it?")).status).toBe(201);
  const again = await start("Where is it?");
  expect([again.status, await again.json()]).toMatchObject([200, { existing: true }]);
  // The same in the words of the AI SDK; and at once, as from two servers.
  await Promise.all(Array.from({ length: 4 }, () => start({ role: "user", parts: [{ type: "text", text: "Where is it?" }] })));
  expect(await said("order-42")).toEqual(["Where is it?"]);
  expect((await start("And now?")).status).toBe(200);
  expect(await said("order-42")).toEqual(["Where is it?", "And now?"]);
  // Who names it, means another.
  expect((await start("Where is it?", { inputId: "second" })).status).toBe(200);
  expect(await said("order-42")).toEqual(["Where is it?", "And now?", "Where is it?"]);
  // Without a name of its own a session is another one each time.
  const first = await turns.must("session.create", { task: "echo", message: "Where is it?" });
  const second = await turns.must("session.create", { task: "echo", message: "Where is it?" });
  expect(first.session.id).not.toBe(second.session.id);
});

test("a turn that is named is stopped also while it waits: once, and no other", async () => {
  const { session, hold, turn } = await turns.begun("waiting");
  const { turn: second } = await turns.must("session.send", { session, message: "second", inputId: "second" });
  const { turn: third } = await turns.must("session.send", { session, message: "third" });
  expect(await turns.must("session.stop", { session, turn: second })).toEqual({ turn: second });
  expect(await turns.must("session.stop", { session, turn: second }), "it is over").toEqual({ turn: null });
  expect(await turns.must("session.stop", { session, turn: 99 })).toEqual({ turn: null });
  expect(await endsOf(session)).toEqual([`${second} stopped`]);
  expect((await kindsOf(session)).filter((kind) => kind === "stop")).toHaveLength(1);
  // What was kept is told of as before.
  const again = await turns.must("session.send", { session, message: "second", inputId: "second" });
  expect(again).toMatchObject({ turn: second, duplicate: true, run: { id: hold.run } });
  await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" });
  expect((await turns.must("run.next", hold)).input.turn).toBe(third);
  // One that is being answered is its worker's to end.
  expect(await turns.must("session.stop", { session })).toEqual({ turn: third });
  expect(await turns.must("run.heartbeat", { ...hold, turn: third })).toMatchObject({ stop: true });
  await turns.must("run.endTurn", { ...hold, turn: third, outcome: "stopped" });
  expect(await endsOf(session)).toEqual([`${second} stopped`, `${turn} complete`, `${third} stopped`]);
  expect(await turns.must("session.stop", { session }), "none waits").toEqual({ turn: null });
});

test("without its number, no turn that waits is stopped", async () => {
  const { session } = await turns.must("session.create", { task: "nobody", message: "hello" });
  expect(await turns.must("session.stop", { session: session.id })).toEqual({ turn: null });
  expect(await kindsOf(session.id)).toEqual(["message", "run"]);
});

test.each(["the stop", "the worker"])("a turn that is stopped while a worker takes it ends once: %s comes first", async (first) => {
  const { session, hold, turn } = await turns.begun(`race-${first.slice(4)}`);
  const { turn: second } = await turns.must("session.send", { session, message: "second" });
  await turns.must("run.endTurn", { ...hold, turn, outcome: "complete" });
  const started: Promise<object>[] = [];
  // Both wait for whoever holds the session, in the order in which they came.
  await turns.server.sql.begin(async (tx) => {
    await tx`select from sessions where id = ${session} for update`;
    const asked = [() => turns.must("session.stop", { session, turn: second }), () => turns.must("run.next", hold)];
    for (const ask of first === "the stop" ? asked : asked.reverse()) {
      started.push(ask());
      await until("it waits", async () => {
        const [row] = await tx`select count(*)::integer as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and query not ilike '%pg_stat_activity%'`;
        return row?.waiting === started.length;
      });
    }
  });
  const [stopped, next] = first === "the stop" ? await Promise.all(started) : (await Promise.all(started)).reverse();
  expect(stopped).toEqual({ turn: second });
  if (first === "the worker") {
    expect(next).toMatchObject({ input: { turn: second } });
    expect(await turns.must("run.heartbeat", { ...hold, turn: second })).toMatchObject({ stop: true });
    await turns.must("run.endTurn", { ...hold, turn: second, outcome: "stopped" });
  } else expect(next).toEqual({ input: null, ended: null });
  expect(await endsOf(session)).toEqual([`${turn} complete`, `${second} stopped`]);
});

test("a stop may be posted where messages are: it does what the stop does, and is nothing besides", async () => {
  const { session, hold, turn } = await turns.begun("posted");
  const { turn: second } = await turns.must("session.send", { session, message: "second" });
  const post = async (body: object) => {
    const answer = await api("POST", `/sessions/${session}/in`, body);
    return [answer.status, await answer.json()] as const;
  };
  expect(await post({ stop: true })).toEqual([200, { turn }]);
  expect(await turns.must("run.heartbeat", { ...hold, turn })).toMatchObject({ stop: true });
  expect(await post({ stop: true, turn: second })).toEqual([200, { turn: second }]);
  expect(await endsOf(session)).toEqual([`${second} stopped`]);
  for (const body of [
    { stop: true, message: "x" },
    { stop: true, action: { name: "x" } },
    { stop: true, inputId: "x" },
    { stop: false },
    { stop: null },
    { message: "x", turn: 1 },
    { turn: 1 },
    {},
  ])
    expect(await post(body), JSON.stringify(body)).toMatchObject([400, { code: "INVALID_PARAMS" }]);
  expect((await kindsOf(session)).filter((kind) => kind === "message")).toHaveLength(2);
});

/** What is refused with 429 says for how long, in the header and in the body alike. */
async function refusedFor(answer: Response): Promise<number> {
  const { code, retryAfter } = (await answer.json()) as { code: string; retryAfter: number };
  expect([answer.status, code, answer.headers.get("retry-after")]).toEqual([429, "RATE_LIMITED", String(retryAfter)]);
  expect(retryAfter).toBeGreaterThan(0);
  return retryAfter;
}

test("so many inputs wait in a session and no more, until one of them is over", async () => {
  const { session } = await turns.must("session.create", { task: "backlog" });
  const send = (n: number) => api("POST", `/sessions/${session.id}/in`, { message: `${n}`, inputId: `input-${n}` });
  for (let n = 1; n <= MAX_QUEUED_TURNS; n++) expect((await send(n)).status, `${n}`).toBe(200);
  expect(await refusedFor(await send(0))).toBeLessThan(60);
  const { error } = await turns.call("session.send", { session: session.id, message: "more" });
  expect(error?.data).toMatchObject({ code: "RATE_LIMITED", retryAfter: expect.any(Number) });
  expect((await (await send(7)).json()) as object, "what is there already").toMatchObject({ duplicate: true, turn: 7 });
  expect(await said(session.id)).toHaveLength(MAX_QUEUED_TURNS);
  await turns.must("session.stop", { session: session.id, turn: 50 });
  expect((await send(0)).status).toBe(200);
});

test("a session takes so many inputs in a minute and no more; what comes twice counts once", async () => {
  const { session } = await turns.must("session.create", { task: "rate" });
  const send = (n: number) => api("POST", `/sessions/${session.id}/in`, { message: `${n}`, inputId: `input-${n}` });
  for (let n = 1; n <= MAX_INPUTS_PER_MINUTE; n++) {
    for (let twice = 0; twice < 2; twice++) expect((await send(n)).status, `${n}`).toBe(200);
    await turns.must("session.stop", { session: session.id, turn: n });
  }
  expect(await refusedFor(await send(0))).toBeLessThanOrEqual(60);
  const { error } = await turns.call("session.send", { session: session.id, message: "more" });
  expect(error).toMatchObject({
    message: expect.stringContaining(`${MAX_INPUTS_PER_MINUTE} inputs`),
    data: { code: "RATE_LIMITED", retryAfter: expect.any(Number) },
  });
  expect((await send(1)).status, "what is there already").toBe(200);
  const other = await turns.must("session.create", { task: "rate", message: "another session" });
  expect(other.run).not.toBeNull();
  // Of a place that is free again one is taken, and not a whole minute's. The log takes no update: it was said earlier.
  await turns.server.sql.begin(async (tx) => {
    await tx`alter table session_events disable trigger append_only`;
    await tx`update session_events set at = at - interval '1 minute' where session_id = ${session.id} and turn = 1`;
    await tx`alter table session_events enable trigger append_only`;
  });
  expect((await send(0)).status).toBe(200);
  await refusedFor(await send(-1));
});

test("who reads is told of a turn that was stopped while it waited", async () => {
  const { session } = await turns.must("session.create", { task: "told", message: "one" });
  const reader = eventsOf(await api("GET", `/sessions/${session.id}/out?after=2`));
  await turns.must("session.stop", { session: session.id, turn: 1 });
  expect((await reader.next()).value).toMatchObject({ event: "stop" });
  expect((await reader.next()).value).toMatchObject({ event: "turn-end", data: expect.stringContaining('"stopped"') });
  await reader.return(undefined);
});
