import { spaceApi } from "@gatehouse/protocol";
import { policyTable } from "@gatehouse/server/policy";
import { afterAll, beforeAll, expect, test } from "vitest";
import { routes } from "../packages/server/src/sessions/door.ts";
import { codeOf, type RestAnswer, rest } from "./session-rest.ts";
import { makeTurns, type Turns } from "./turns.ts";

let turns: Turns;
beforeAll(async () => {
  turns = await makeTurns({ LEASE_SECONDS: "300" });
});
afterAll(() => turns.server.close());

const api = (verb: string, path: string, body?: object, credential = turns.credential): Promise<RestAnswer> =>
  rest(turns.server.url, {
    verb,
    path,
    headers: { authorization: `Bearer ${credential}`, "x-me-space": turns.slug, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });

/** Written as UUIDs are: of no version, of no variant, all of one digit. */
const likeIds = [
  "00020810-0000-0000-c000-000000000046",
  "12345678-1234-1234-1234-123456789012",
  "00000000-0000-0000-0000-000000000000",
  "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
];

test.each(likeIds)("an external id that is written like an id, such as %s, is refused; one there has been is found", async (name) => {
  const refused = await api("POST", "/sessions", { task: "echo", externalId: name });
  expect([codeOf(refused, name), refused.body.issues]).toMatchObject(["INVALID_PARAMS", [{ path: "externalId" }]]);
  expect(codeOf(await api("GET", `/sessions/${name}`), name)).toBe("NOT_FOUND");
  const { session } = await turns.must("session.create", { task: "echo" });
  await turns.server.sql`update sessions set external_id = ${name} where id = ${session.id}`;
  expect((await api("GET", `/sessions/${name}`)).body.id).toBe(session.id);
  expect((await api("POST", `/sessions/${name}/in`, { message: "x" })).status).toBe(200);
  expect((await api("GET", `/sessions/${name}/events`)).body.lastSeq).toBe(2);
});

test("an id is the session that has it, before one of which it is the external id", async () => {
  const { session } = await turns.must("session.create", { task: "echo" });
  const { session: other } = await turns.must("session.create", { task: "echo" });
  await turns.server.sql`update sessions set external_id = ${session.id} where id = ${other.id}`;
  expect((await api("GET", `/sessions/${session.id}`)).body.id).toBe(session.id);
});

/** A session's row, and how long its log is. */
const rowOf = async (id: string) => (await turns.server.sql`select * from sessions where id = ${id}`)[0];

test("a session that is there is answered with as it is, closed with 409, another task's with 403, and nothing of it changes", async () => {
  const made = await api("POST", "/sessions", { task: "mine", externalId: "kept", metadata: { plan: "pro" }, tags: ["a"], message: "one" });
  expect([made.status, made.body.existing]).toEqual([201, false]);
  const { id } = made.body.session;
  const other = { externalId: "kept", metadata: { plan: "free" }, tags: ["b"], idleTimeoutSeconds: 7, expiresAt: "2999-01-01T00:00:00Z" };
  const scope = (task: string) =>
    turns.server.call(turns.credential, "token.create", { space: turns.slug, scope: [`write:tasks:${task}`] });
  const [mine, others] = await Promise.all([scope("mine"), scope("others")]).then((both) => both.map(({ result }) => result.token));
  const before = await rowOf(id);

  const again = await api("POST", "/sessions", { task: "mine", ...other }, mine);
  expect([again.status, again.body.existing, again.body.session.id, again.body.session.metadata]).toEqual([200, true, id, { plan: "pro" }]);
  const foreign = await api("POST", "/sessions", { task: "others", ...other, message: "two" }, others);
  expect([foreign.status, codeOf(foreign, "another task's")]).toEqual([403, "FORBIDDEN"]);
  // Who may write both is told that the name is taken.
  expect(codeOf(await api("POST", "/sessions", { task: "others", ...other, message: "two" }), "taken")).toBe("CONFLICT");
  expect(await rowOf(id)).toEqual(before);

  await api("POST", "/sessions/kept/close");
  const closed = await rowOf(id);
  for (const more of [{}, { message: "one" }, { message: "three" }]) {
    const late = await api("POST", "/sessions", { task: "mine", ...other, ...more }, mine);
    expect([late.status, codeOf(late, "closed")]).toEqual([409, "SESSION_CLOSED"]);
  }
  expect(await rowOf(id)).toEqual(closed);
});

test("when a session is to end is a moment to come, with any offset", async () => {
  const create = (expiresAt: unknown) => api("POST", "/sessions", { task: "echo", expiresAt });
  const { session } = await turns.must("session.create", { task: "echo" });
  const update = (expiresAt: unknown) => api("PATCH", `/sessions/${session.id}`, { expiresAt });
  // The last: by the offset, a year that has five digits.
  const never = ["0000-01-01T00:00:00Z", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00+01:00", "soon", "2999-02-30T00:00:00Z", 5];
  for (const at of [...never, "9999-12-31T23:59:59-01:00"]) {
    expect(codeOf(await create(at), `create ${at}`)).toBe("INVALID_PARAMS");
    expect(codeOf(await update(at), `update ${at}`)).toBe("INVALID_PARAMS");
  }
  expect((await api("GET", `/sessions/${session.id}`)).body).toMatchObject({ status: "open", expiresAt: null });
  for (const at of ["2999-01-01T00:00:00+01:00", "2999-01-01T22:00:00+23:00", "2998-12-31T23:00:00Z", "2998-12-31T23:00:00.000Z"]) {
    expect((await create(at)).body.session.expiresAt, at).toBe("2998-12-31T23:00:00.000Z");
    expect((await update(at)).body.expiresAt, at).toBe("2998-12-31T23:00:00.000Z");
  }
  expect((await update(null)).body.expiresAt).toBeNull();
  const key = await turns.server.call(turns.credential, "apiKey.create", { name: "k", expiresAt: "2999-01-01T00:00:00+01:00" });
  expect(key.error).toBeUndefined();
});

test("a tag that holds half of a surrogate pair is refused", async () => {
  for (const tag of ["half \\ud83d", "\\udca9"]) {
    const body = `{"task":"echo","tags":["${tag}"]}`;
    const headers = { authorization: `Bearer ${turns.credential}`, "x-me-space": turns.slug, "content-type": "application/json" };
    expect(codeOf(await rest(turns.server.url, { verb: "POST", path: "/sessions", headers, body }), tag)).toBe("INVALID_PARAMS");
  }
  expect((await api("POST", "/sessions", { task: "echo", tags: ["whole 💩"] })).body.session.tags).toEqual(["whole 💩"]);
});

test("the token of a session tells nothing of another: as if there were none, by id and by external id, read and written", async () => {
  const mine = await turns.must("session.create", { task: "echo", externalId: "mine" });
  const other = await turns.must("session.create", { task: "echo", externalId: "order-43", message: "secret" });
  const { token } = mine;
  const nobody = { id: "019f0000-0000-7000-8000-000000000000", name: "order-44" };
  /** What is the same each time, whoever is asked about. */
  const told = ({ status, body }: RestAnswer) => ({ status, ...body, requestId: undefined });
  const about = [
    ...routes.filter(({ path }) => path.includes(":session")),
    { verb: "GET", path: "/sessions/:session/out", method: "session.get" as const },
  ];
  for (const { verb, path, method } of about) {
    const open = policyTable().some((row) => row.method === method && row.who.includes("browser"));
    const body = verb === "GET" ? undefined : method === "session.send" ? { message: "x" } : {};
    const ask = (name: string) => api(verb, path.replace(":session", name), body, token);
    const call = async (session: string) => (await turns.server.call(token, method, { session, ...body }, turns.slug)).error;
    for (const [missing, there] of [
      [nobody.id, other.session.id],
      [nobody.name, "order-43"],
      [nobody.name, "mine"],
    ] as const) {
      const answer = await ask(missing);
      const refused = open ? ([404, "NOT_FOUND"] as const) : ([403, "FORBIDDEN"] as const);
      expect([answer.status, codeOf(answer, path)], `${verb} ${path}`).toEqual(refused);
      expect(told(await ask(there)), `${verb} ${path} of ${there}`).toEqual(told(answer));
      const error = await call(missing);
      expect(error?.data.code).toBe(refused[1]);
      expect(await call(there)).toEqual({ ...error, data: { ...error?.data, requestId: expect.any(String) } });
    }
    // Its own, by its id, it may read, and say something in it; the stream would not end.
    if (!path.endsWith("/out")) expect((await ask(mine.session.id)).status, `${verb} ${path} of its own`).toBe(open ? 200 : 403);
  }
  const run = (id: string) => api("GET", `/runs/${id}`, undefined, token);
  expect(told(await run(other.run.id))).toEqual(told(await run(nobody.id)));
  // Of its own it is told what it lacks.
  const { result } = await turns.server.call(turns.credential, "token.create", {
    space: turns.slug,
    scope: [`read:sessions:${mine.session.id}`],
  });
  expect(codeOf(await api("POST", "/sessions/mine/in", { message: "x" }, result.token), "to read alone")).toBe("FORBIDDEN");
  // Whose permissions are for tasks may know that a name is taken.
  const { result: task } = await turns.server.call(turns.credential, "token.create", { space: turns.slug, scope: ["write:tasks:sales"] });
  expect(codeOf(await api("GET", "/sessions/order-43", undefined, task.token), "by task")).toBe("FORBIDDEN");
});

test("an address says what it takes, to whoever asks something else of it", async () => {
  const paths = Map.groupBy([...routes, { verb: "GET", path: "/sessions/:session/out" }], ({ path }) => path);
  for (const [path, some] of paths) {
    const address = path.replace(":session", "e1").replace(":run", "019f0000-0000-7000-8000-000000000000").replace("*", "a/b");
    const taken = some.map(({ verb }) => verb);
    const head = taken.includes("GET");
    for (const verb of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]) {
      if (taken.includes(verb) || (verb === "HEAD" && head)) continue;
      const answer = await fetch(`${turns.server.url}/api/v1${address}`, { method: verb });
      expect([answer.status, answer.headers.get("allow")?.split(", ").sort()], `${verb} ${path}`).toEqual([
        405,
        [...taken, ...(head ? ["HEAD"] : [])].sort(),
      ]);
      if (verb !== "HEAD") expect(await answer.json()).toMatchObject({ status: 405, code: "METHOD_NOT_ALLOWED" });
    }
  }
  expect(codeOf(await api("DELETE", "/session/e1"), "no address")).toBe("NOT_FOUND");
});

/** A member who may do all there is with tasks, and a key of Ada's that is limited to some permissions. */
async function keyWithin(...ceiling: string[]) {
  const { server, slug, credential, must } = turns;
  const member = await server.user("Bob");
  await server.acquaint({ session: credential, id: turns.worker } as Parameters<typeof server.acquaint>[0], member);
  await must("principal.add", { principal: member.id });
  await must("access.grant", { principal: member.id, permission: "admin:tasks" });
  const { key } = (await server.call(credential, "apiKey.create", { name: crypto.randomUUID().slice(0, 20), ceiling })).result;
  return { member, ask: (method: string, params: object) => server.call(key, method, params, slug) };
}

/** Other params that these methods take. */
const more = { epoch: 1, turn: 1, chunks: [{ type: "x" }], outcome: "complete", message: "x", reason: "handover" };
/** Methods whose params name a session, or a run. */
const naming = (param: "session" | "run") =>
  Object.entries(spaceApi).flatMap(([method, { params }]) => (param in params.shape ? [{ method, takes: Object.keys(params.shape) }] : []));

test("who may ask what others may do learns by it of no session, and of no run, that they may not know themselves", async () => {
  const { session } = await turns.must("session.create", { task: "support/secret", externalId: "customer-4711", message: "hello" });
  const [run] = (await turns.must("run.list", { session: session.id })).runs;
  const { member, ask } = await keyWithin("read:grants");
  const names = {
    session: [
      [session.id, member.id],
      [session.externalId, "customer-4712"],
    ],
    run: [[run.id, member.id]],
  } as const;
  for (const param of ["session", "run"] as const) {
    expect(naming(param).length).toBeGreaterThan(5);
    for (const { method, takes } of naming(param))
      for (const question of ["access.explain", "access.check"])
        for (const principal of [member.id, undefined]) {
          const fitting = Object.fromEntries(Object.entries(more).filter(([name]) => takes.includes(name)));
          const asked = (name: string) => ask(question, { principal, method, params: { ...fitting, [param]: name } });
          const answered = async (name: string) => {
            const { result, error } = await asked(name);
            return result ?? { code: error?.data.code, message: error?.message };
          };

          for (const [name, other] of names[param]) expect(await answered(name), `${question} ${method}`).toEqual(await answered(other));
        }
  }
  expect(
    (await ask("access.explain", { principal: member.id, method: "session.get", params: { session: "customer-4711" } })).error?.data.code,
  ).toBe("NOT_FOUND");
  // Whoever may know of sessions is told as before.
  expect(
    (await turns.must("access.explain", { principal: member.id, method: "session.get", params: { session: session.id } })).allowed,
  ).toBe(true);
});

test("whoever may not read a session is told neither its task nor its id, by a refusal or by an explanation", async () => {
  const { session } = await turns.must("session.create", { task: "merger/acme-corp", externalId: "order-50", message: "hello" });
  const [run] = (await turns.must("run.list", { session: session.id })).runs;
  const { member, ask } = await keyWithin("read:grants", "admin:tasks:echo");
  for (const param of ["session", "run"] as const)
    for (const { method, takes } of naming(param)) {
      const fitting = Object.fromEntries(Object.entries(more).filter(([name]) => takes.includes(name)));
      const params = { ...fitting, [param]: param === "run" ? run.id : "order-50" };
      const { error } = await ask(method, params);
      expect(error?.data, method).toMatchObject({
        code: "FORBIDDEN",
        missing: expect.arrayContaining([expect.stringMatching(/^\w+:tasks$/)]),
      });
      const explained = [];
      for (const principal of [member.id, undefined]) explained.push(await ask("access.explain", { principal, method, params }));
      expect(explained.map(({ result }) => result.allowed)).toEqual([true, false]);
      expect(JSON.stringify([error, explained])).not.toMatch(new RegExp(`merger|${session.id}`));
    }
  const { error } = await ask("session.create", { task: "echo", externalId: "order-50" });
  expect(error?.data).toMatchObject({ code: "FORBIDDEN", missing: ["write:tasks", "write:sessions"] });
  // A caller who may read the session is told everything they lack.
  const reader = await keyWithin("read:tasks:merger", "write:tasks:echo");
  const { missing } = (await reader.ask("session.close", { session: "order-50" })).error?.data ?? {};
  expect(missing).toEqual(["write:tasks:merger/acme-corp", `write:sessions:${session.id}`]);
});

test("a credential that may not read who is in the space is not told who started a session", async () => {
  const { session } = await turns.must("session.create", { task: "named", externalId: "named" });
  const told = async (ask: (method: string, params: object) => ReturnType<typeof turns.call>) => [
    (await ask("session.get", { session: session.id })).result.createdBy,
    (await ask("session.update", { session: session.id, tags: ["x"] })).result.createdBy,
    (await ask("session.create", { task: "named", externalId: "named" })).result.session.createdBy,
    ...(await ask("session.list", { task: "named" })).result.sessions.map(({ createdBy }: { createdBy: unknown }) => createdBy),
  ];
  expect(await told((await keyWithin("write:tasks")).ask)).toEqual([null, null, null, null]);
  const ada = expect.objectContaining({ id: turns.worker });
  expect(await told((await keyWithin("write:tasks", "read:members")).ask)).toEqual([ada, ada, ada, ada]);
  expect(await told(turns.call)).toEqual([ada, ada, ada, ada]);
});
