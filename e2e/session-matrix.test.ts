import { covers, type ErrorCode, judge, type Layer, parsePermission, type RpcResponse } from "@gatehouse/protocol";
import { policyTable } from "@gatehouse/server/policy";
import { afterAll, beforeAll, expect, test } from "vitest";
import { routes } from "../packages/server/src/sessions/door.ts";
import { table } from "./grid.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { codeOf, rest } from "./session-rest.ts";

/** Callers who are gone through at once. */
const AT_ONCE = 8;
const TASK = "support/billing";

/** A conversation as permissions and addresses name it. */
interface Named {
  id: string;
  externalId: string;
}

let server: TestServer;
let slug: string;
/** One that is answered, with the run that answers it; one that is over; one of another task. */
let live: Named & { run: string };
let over: Named;
let other: Named;
/** Conversations of the task, each to be deleted by one call. */
let doomed: Named[];
let callers: Caller[];

interface Caller {
  /** Whose credential, and of what kind. */
  means: string;
  limit: string;
  credential: string;
  layers: Layer[];
  /** It is a browser's token, which comes with a session. */
  browser?: true;
}

/** What a credential is limited to: the ceiling of a key, the scope of a token. */
const limits = (): Record<string, string[]> => ({
  nothing: ["read:docs"],
  "read:sessions": ["read:sessions"],
  "write:sessions": ["write:sessions"],
  "read:sessions:this": [live, over].map(({ id }) => `read:sessions:${id}`),
  "write:sessions:this": [live, over].map(({ id }) => `write:sessions:${id}`),
  "write:sessions:name": [live, over].map(({ externalId }) => `write:sessions:${externalId}`),
  "write:sessions:other": [`write:sessions:${other.id}`],
  "read:tasks:this": [`read:tasks:${TASK}`],
  "write:tasks:this": [`write:tasks:${TASK}`],
  "write:tasks:other": ["write:tasks:sales"],
  "write:tasks:above": ["write:tasks:support"],
  "write:tasks:like": ["write:tasks:support/bill"],
  "admin:tasks:this": [`admin:tasks:${TASK}`],
  "write:tasks:other read:sessions:this": ["write:tasks:sales", ...[live, over].map(({ id }) => `read:sessions:${id}`)],
  admin: ["admin"],
});

async function must(credential: string, method: string, params: object = {}, space?: string) {
  const { result, error } = await server.call(credential, method, params, space);
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

beforeAll(async () => {
  server = await startTestServer({ LEASE_SECONDS: "300" });
  const { session } = await server.user("Ada");
  slug = (await must(session, "space.create", { name: "Acme" })).slug;
  const inside = (method: string, params: object) => must(session, method, params, slug);
  await inside("task.register", { task: TASK });
  // Older than the others, which a list shows first.
  doomed = await server.sql<Named[]>`
    insert into sessions (id, space_id, task, external_id, idle_timeout_seconds)
    select new_id(), s.id, ${TASK}, 'doomed-' || n, 5 from spaces s, generate_series(1, 2000) n where s.slug = ${slug}
    returning id, external_id`;
  const make = async (externalId: string, task: string, message?: string): Promise<Named> => ({
    id: (await inside("session.create", { task, externalId, message })).session.id,
    externalId,
  });
  const answered = await make("live", TASK, "hello");
  const { lease } = await inside("run.lease", { tasks: [TASK], worker: "w" });
  live = { ...answered, run: lease.run };
  over = await make("over", TASK);
  await inside("session.close", { session: over.id });
  other = await make("other", "sales");
  const { id: agent } = await must(session, "agent.create", { name: "bot" });
  await inside("principal.add", { principal: agent });
  const service = await must((await inside("secretKey.create", { name: "first" })).key, "whoami");
  for (const principal of [agent, service.id]) await inside("access.grant", { principal, permission: "admin" });

  /** Each kind of credential: how one is made, and what stands behind it. */
  const kinds: Record<string, { key?: (name: string, ceiling?: string[]) => Promise<string>; behind: Layer["name"][] }> = {
    session: { behind: ["grants"] },
    PAT: { key: async (name, ceiling) => (await must(session, "apiKey.create", { name, ceiling })).key, behind: ["grants"] },
    "agent key": {
      key: async (name, ceiling) => (await must(session, "apiKey.create", { name, ceiling, agent })).key,
      behind: ["grants", "owner"],
    },
    "secret key": { key: async (name, ceiling) => (await inside("secretKey.create", { name, ceiling })).key, behind: ["grants"] },
  };
  callers = [];
  for (const [kind, { key, behind }] of Object.entries(kinds)) {
    const layers = behind.map((name): Layer => ({ name, permissions: [parsePermission("admin")] }));
    const whole = (await key?.("whole")) ?? session;
    callers.push({ means: kind, limit: "unlimited", credential: whole, layers });
    const { token: ofLive } = await must(whole, "session.create", { task: TASK, externalId: live.externalId }, slug);
    const scope = ["read", "write"].map((action) => parsePermission(`${action}:sessions:${live.id}`));
    const browserLayers: Layer[] = [...layers, { name: "token", permissions: scope }];
    callers.push({ means: `${kind}'s token for a browser`, limit: "this", credential: ofLive, layers: browserLayers, browser: true });
    for (const [limit, texts] of Object.entries(limits())) {
      const permissions = texts.map(parsePermission);
      if (key)
        callers.push({
          means: kind,
          limit,
          credential: await key(limit, texts),
          layers: [...layers, { name: "ceiling", permissions }],
        });
      const { token } = await must(whole, "token.create", { space: slug, scope: texts });
      callers.push({ means: `${kind}'s token`, limit, credential: token, layers: [...layers, { name: "token", permissions }] });
    }
  }
});
afterAll(() => server.close());

/** A call that can be made any number of times, by however many. */
interface Asking {
  title: string;
  method: string;
  params: Record<string, unknown>;
  /** The session it is about. */
  about?: Named;
  /** It names the session by its own name: to a browser there is no such one. */
  byName?: true;
  /** What comes of it where it is allowed, if not a result. */
  comesTo?: ErrorCode;
}

let made = 0;
/** Every method of tasks, sessions and runs. */
function askings(): Asking[] {
  const hold = { run: live.run, epoch: 0 };
  const params: Record<string, Omit<Asking, "title" | "method">> = {
    "task.list": { params: {} },
    "task.get": { params: { task: TASK } },
    "task.register": { params: { task: TASK } },
    "task.delete": { params: { task: `${TASK}/gone` }, comesTo: "NOT_FOUND" },
    "session.create": { params: { task: TASK, externalId: `made-${made++}` } },
    "session.list": { params: { limit: 1000 } },
    "session.get": { params: {}, about: live },
    "session.update": { params: { tags: ["x"] }, about: live },
    "session.send": { params: { message: "more", inputId: "once" }, about: live },
    "session.stop": { params: {}, about: live },
    "session.close": { params: {}, about: over },
    "session.delete": { params: {}, about: doomed.pop() as Named },
    "session.events": { params: {}, about: live },
    "run.list": { params: {}, about: live },
    "run.get": { params: { run: live.run } },
    "run.lease": { params: { tasks: [TASK], worker: "w" } },
    // Of a hold that nobody has: whoever may serve the task is told so, and nothing changes.
    "run.next": { params: hold, comesTo: "LEASE_LOST" },
    "run.emit": { params: { ...hold, turn: 1, chunks: [{ type: "x" }] }, comesTo: "LEASE_LOST" },
    "run.endTurn": { params: { ...hold, turn: 1, outcome: "complete" }, comesTo: "LEASE_LOST" },
    "run.end": { params: hold, comesTo: "LEASE_LOST" },
    "run.heartbeat": { params: hold, comesTo: "LEASE_LOST" },
  };
  const methods = policyTable().filter(({ door, method }) => door === "space" && /^(task|session|run)\./.test(method));
  return methods.flatMap(({ method }): Asking[] => {
    const asking = params[method];
    if (!asking) throw new Error(`say in session-matrix.test.ts how ${method} is called`);
    if (!asking.about) return [{ title: method, method, ...asking }];
    const { id } = asking.about;
    const { externalId } = method === "session.delete" ? (doomed.pop() as Named) : asking.about;
    return [
      { title: method, method, ...asking, params: { session: id, ...asking.params } },
      { title: method, method, ...asking, byName: true, params: { session: externalId, ...asking.params } },
      { title: `${method}, not there`, method, params: { session: "nobody", ...asking.params }, comesTo: "NOT_FOUND" },
    ];
  });
}

/** What the policy asks for, read from its table, and judged as the protocol judges. */
function predicted(
  { method, params, about, byName, comesTo }: Asking,
  { layers, browser }: Pick<Caller, "layers" | "browser">,
): ErrorCode | "OK" {
  const row = policyTable().find((each) => each.door === "space" && each.method === method);
  if (browser && !row?.admits.browser) return "FORBIDDEN";
  const needs = row?.needs;
  if (!needs) return comesTo ?? "OK";
  const outlines = needs.replace(" each", "").split(" or ");
  // Before the params are read: whoever holds nothing of the kind is refused, whatever they name.
  const kinds = outlines.map((text) => parsePermission(text.replace(":…", "")));
  const some = layers.every(({ permissions }) =>
    permissions.some((held) =>
      kinds.some((kind, i) =>
        covers(outlines[i]?.endsWith(":…") ? { action: held.action, ...(held.type && { type: held.type }) } : held, kind),
      ),
    ),
  );
  if (!some) return "FORBIDDEN";
  if (params.session === "nobody" || (browser && byName)) return "NOT_FOUND";
  const { id } = about ?? live;
  // Where all that a layer opens of sessions are those it names, there are no others.
  const others = layers.some(({ permissions }) => {
    const opening = permissions.filter(({ type }) => type === undefined || type === "tasks" || type === "sessions");
    return opening.every(({ type, path }) => type === "sessions" && path !== undefined && path !== id);
  });
  if (others) return "NOT_FOUND";
  const paths: Record<string, string> = { tasks: TASK, sessions: id };
  const needed = outlines.map((text) => parsePermission(text.replace("…", paths[text.split(":")[1] as string] as string)));
  return judge(layers, needed).allowed ? (comesTo ?? "OK") : "FORBIDDEN";
}

/** The same call as a request of plain HTTP: what the path names is not said again. */
function asRequest({ method, params }: Asking): { verb: string; path: string; body?: string } {
  const route = routes.find((each) => each.method === method);
  if (!route) throw new Error(`${method} has no route`);
  const left = { ...params };
  const path = route.path.replace(/:(\w+)|\*/g, (_all, name = "task") => {
    const value = String(left[name]);
    delete left[name];
    return name === "task" ? value : encodeURIComponent(value);
  });
  return route.verb === "GET"
    ? { verb: route.verb, path: `${path}?${new URLSearchParams(left as Record<string, string>)}` }
    : { verb: route.verb, path, body: JSON.stringify(left) };
}

/** Makes every call, over JSON-RPC and over plain HTTP, and compares. @returns cells by row */
async function row({ means, limit, credential, layers, browser }: Caller): Promise<Map<string, string>> {
  const cells = new Map<string, string>();
  const headers = { authorization: `Bearer ${credential}`, "x-me-space": slug, "content-type": "application/json" };
  const asked = askings();
  const calls = asked.map(({ method, params }, id) => ({ jsonrpc: "2.0", id, method, params }));
  const { text } = await server.post(JSON.stringify(calls), headers);
  const answers = (JSON.parse(text) as RpcResponse[]).sort((a, b) => Number(a.id) - Number(b.id));
  const note = (title: string, code: string, result?: Record<string, { id?: string; path?: string }[]>) => {
    const cell =
      code === "FORBIDDEN" ? "-" : code === "OK" || code === "LEASE_LOST" ? listed(result, layers, `${means}, ${limit}: ${title}`) : code;
    expect(cells.get(title) ?? cell, `${means}, ${limit}: ${title}, by its id or its own name`).toBe(cell);
    cells.set(title, cell);
  };
  for (const [i, asking] of asked.entries()) {
    const title = `${means}, ${limit}: ${JSON.stringify(asking)}`;
    const wanted = predicted(asking, { layers, ...(browser && { browser }) });
    const answer = answers[i] as RpcResponse;
    const code = "error" in answer ? answer.error.data.code : "OK";
    expect(code, title).toBe(wanted);
    // What was made, or deleted, by the first call is not there to be made or deleted by the second.
    const next = asking.method === "session.delete" && asking.about ? doomed.pop() : undefined;
    const anew: Record<string, unknown> = {
      ...(asking.method === "session.create" && { externalId: `made-${made++}` }),
      ...(next && { session: asking.params.session === asking.about?.id ? next.id : next.externalId }),
    };
    const request = asRequest({ ...asking, params: { ...asking.params, ...anew } });
    const overHttp = await rest(server.url, { headers, ...request });
    const same = overHttp.status < 300 ? "OK" : codeOf(overHttp, title);
    expect(same, `${title} over HTTP`).toBe(wanted);
    if (same === "OK") expect(overHttp.status).toBe(asking.method === "session.create" ? 201 : 200);
    if (!(browser && asking.byName)) note(asking.title, code, "result" in answer ? (answer.result as never) : undefined);
  }
  for (const ref of [over.id, over.externalId]) {
    const stream = await rest(server.url, { verb: "GET", path: `/sessions/${ref}/out`, headers });
    const code = stream.status === 200 ? "OK" : codeOf(stream, "the stream");
    expect(code, `${means}, ${limit}: the stream`).toBe(
      predicted(
        { title: "", method: "session.get", params: {}, about: over, ...(ref === over.externalId && { byName: true }) },
        { layers, ...(browser && { browser }) },
      ),
    );
    note("the stream", code);
  }
  return cells;
}

/** A list shows what may be read, and nothing besides. */
function listed(result: Record<string, { id?: string; path?: string }[]> | undefined, layers: readonly Layer[], title: string): string {
  if (result?.sessions) {
    const may = (task: string, { id }: Named) => judge(layers, [`read:tasks:${task}`, `read:sessions:${id}`].map(parsePermission)).allowed;
    const shown = (session: Named) => result.sessions?.some(({ id }) => id === session.id);
    expect([shown(live), shown(over), shown(other)], title).toEqual([may(TASK, live), may(TASK, over), may("sales", other)]);
    return [shown(live) && "this", shown(other) && "other"].filter(Boolean).join(", ") || "none";
  }
  if (!result?.tasks) return "ok";
  const may = judge(layers, [parsePermission(`read:tasks:${TASK}`)]).allowed;
  expect(
    result.tasks.map(({ path }) => path),
    title,
  ).toEqual(may ? [TASK] : []);
  return may ? "this" : "none";
}

test("every credential, however limited, may do in sessions what the policy says, over JSON-RPC and over plain HTTP alike", async () => {
  const found = new Map<Caller, Map<string, string>>();
  const queue = callers.values();
  const work = async () => {
    for (const caller of queue) found.set(caller, await row(caller));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));

  // Kinds of credentials that are told the same stand together.
  const tables = Map.groupBy(new Set(callers.map(({ means }) => means)), (means) => {
    const columns = callers.filter((caller) => caller.means === means);
    const rows = [...new Set([...found.values()].flatMap((cells) => [...cells.keys()]))];
    return table(
      ["method", ...columns.map(({ limit }) => limit)],
      rows.map((title) => [title, ...columns.map((caller) => found.get(caller)?.get(title) ?? "")]),
    );
  });
  const counts = Map.groupBy(
    [...found.values()].flatMap((cells) => [...cells.values()]),
    (cell) => (cell === "-" ? "no" : "yes"),
  );
  expect(Math.min(counts.get("no")?.length ?? 0, counts.get("yes")?.length ?? 0)).toBeGreaterThan(500);
  await expect(`# What each credential may do in sessions, by what it is limited to

Written by e2e/session-matrix.test.ts, from real calls, over JSON-RPC and over plain HTTP, by id and by external id. Whoever
calls holds everything in the space, so that the limit alone decides: the ceiling of a key, the scope of a token.
"This" is the session asked about, or its task; "name", its external id, which permissions do not go by; "above", the task
that its task lies beneath; "like", one whose name begins alike. A dash is FORBIDDEN; a list tells whom it shows.

${[...tables].map(([text, means]) => `## By ${means.join(", ")}\n\n${text}`).join("\n\n")}
`).toMatchFileSnapshot("./session-matrix.snapshot.md");
});
