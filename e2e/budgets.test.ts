import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { dial } from "./raw-http.ts";
import { until } from "./run.ts";

/** Calls a second that a credential may make for long: few, so that a flood is quickly made. */
const RATE = 20;
/** A credential may hold a twentieth of these open. */
const HELD = 60;
const PER_CREDENTIAL = HELD / 20;

let server: TestServer;
let ada: TestUser;
let ben: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer({ CALL_RATE: String(RATE), MAX_STREAMS: String(HELD), MAX_WAITS: String(HELD) });
  [ada, ben] = [await server.user("ada"), await server.user("ben")];
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
  await server.join(slug, ada, ben);
});
afterAll(() => server.close());

const makeKey = async (name: string): Promise<{ id: string; key: string }> =>
  (await server.call(ada.session, "apiKey.create", { name })).result;
const whoami = (credential: string) => server.post(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "whoami" }), bearer(credential));
const bearer = (credential: string) => ({ authorization: `Bearer ${credential}` });

test("every method that takes something away is marked so: no flood of other calls holds it up", () => {
  const marked = (api: Api) => Object.entries(api).flatMap(([name, { takesBack }]) => (takesBack ? [name] : []));
  const taking = (api: Api) => Object.keys(api).filter((name) => /\.(delete|revoke|remove|removeMember|leave|stop|close)$/.test(name));
  for (const api of [userApi, spaceApi]) expect(marked(api)).toEqual(taking(api));
});

test("a flood by one key is answered at its pace, or told when to come again; others notice nothing, and its owner ends it at once", async () => {
  const { id, key } = await makeKey("flood");
  let over = false;
  const statuses: number[] = [];
  const flood = Array.from({ length: 8 * RATE }, async () => {
    while (!over) {
      const answer = await whoami(key);
      statuses.push(answer.status);
      if (answer.status !== 429) continue;
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(JSON.parse(answer.text)).toMatchObject({ id: 1, error: { code: 429, data: { code: "RATE_LIMITED" } } });
      return;
    }
  });
  await until("the flood is refused a call", async () => statuses.includes(429));
  const allowed = statuses.filter((status) => status === 200).length;
  expect(allowed, "calls let in: a burst of two seconds, and those in line").toBeLessThan(5 * RATE);
  // In line behind nobody: neither another principal, nor the same one by another credential.
  expect((await whoami(ben.session)).status).toBe(200);
  expect((await server.call(ada.session, "apiKey.delete", { id })).status).toBe(200);
  expect((await whoami(key)).status).toBe(401);
  over = true;
  await Promise.all(flood);
  expect(statuses.at(-1)).not.toBe(200);
});

test("a principal whose calls are all used up takes keys back all the same", async () => {
  const { id } = await makeKey("to be revoked");
  const flood = Array.from({ length: 8 * RATE }, () => whoami(ada.session));
  const refused = Promise.any(flood.map(async (answer) => expect((await answer).status).toBe(429)));
  await refused;
  expect(await server.call(ada.session, "apiKey.delete", { id })).toMatchObject({ status: 200, result: { id } });
  await Promise.all(flood);
});

test("visitors' browsers use up nothing of whoever let them in", async () => {
  await server.call(ada.session, "access.grant", { principal: ben.id, permission: "write:tasks" }, slug);
  const tokens = await Promise.all(
    Array.from({ length: 3 }, async () => (await server.call(ben.session, "session.create", { task: "none" }, slug)).result),
  );
  let open = 0;
  const flood = tokens.flatMap(({ session, token }) =>
    Array.from({ length: RATE }, async () => {
      open++;
      const { status } = await server.call(token, "session.get", { session: session.id }, slug);
      open--;
      return status;
    }),
  );
  const statuses = await Promise.all(Array.from({ length: RATE }, async () => (await whoami(ben.session)).status));
  expect(statuses).toEqual(Array(RATE).fill(200));
  expect(open, "calls of browsers that still wait").toBeGreaterThan(RATE);
  expect(new Set(await Promise.all(flood))).toEqual(new Set([200, 429]));
});

test("a principal's credentials take turns, and so do a space's principals", async () => {
  const keys = await Promise.all(["one", "two", "three"].map((name) => makeKey(`turns ${name}`)));
  const order: string[] = [];
  const spaceGet = (credential: string, name: string) => server.call(credential, "space.get", {}, slug).then(() => order.push(name));
  // Each uses up its own; together they use up the principal's.
  const flood = keys.flatMap(({ key }) => Array.from({ length: 4 * RATE }, () => spaceGet(key, "flood")));
  const fourth = (await makeKey("turns four")).key;
  const other = Array.from({ length: 3 }, () => spaceGet(fourth, "fourth"));
  const guest = Array.from({ length: 3 }, () => spaceGet(ben.session, "guest"));
  await Promise.all([...flood, ...other, ...guest]);
  for (const name of ["fourth", "guest"]) expect(order.lastIndexOf(name), name).toBeLessThan(order.length - RATE);
});

test("a batch is bounded by what its calls cost, and not by their number alone", async () => {
  const { key } = await makeKey("costly");
  const times = (count: number, method: string) =>
    JSON.stringify(Array.from({ length: count }, (_, id) => ({ jsonrpc: "2.0", id, method })));
  const discover = (count: number) => server.post(times(count, "rpc.discover"), bearer(key));
  const effective = (count: number) => server.post(times(count, "access.effective"), { ...bearer(key), "x-me-space": slug });
  for (const over of [await discover(51), await effective(11)])
    expect(JSON.parse(over.text)).toMatchObject({ id: null, error: { data: { code: "INVALID_REQUEST" } } });
  const answers = JSON.parse((await discover(3)).text);
  expect(answers.map(({ result }: { result: object }) => JSON.stringify(result))).toEqual(Array(3).fill(JSON.stringify(answers[0].result)));
});

test.each(["/api/v1/sessions", "/api/v1/sessions/none/in", "/access/v1/evaluations"])(
  "large bodies that lead to no call count, too: %s",
  async (path) => {
    const { key } = await makeKey(`bodies ${path}`);
    const body = `[${"1,".repeat(20_000).padEnd(200_000)}`;
    const init = { method: "POST", headers: { ...bearer(key), "content-type": "application/json", "x-me-space": slug }, body };
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(server.url + path, init)).status));
    expect([...new Set(statuses)].toSorted()).toEqual([413, 429]);
  },
);

test("an answer counts by its size: few calls with large answers use up what many small ones may", async () => {
  const { key } = await makeKey("answers");
  const { session } = (await server.call(ada.session, "session.create", { task: "large" }, slug)).result;
  await server.sql`select log_event(${session.id}, 'out', 'chunks', null, null, null, to_jsonb(array[repeat('x', 250000)])) from generate_series(1, 2)`;
  // One after the other: what an answer has cost is known when it is made.
  const read = async () => (await server.call(key, "session.events", { session: session.id }, slug)).status;
  const startedAt = performance.now();
  const statuses: number[] = [];
  while (statuses.length < 6) statuses.push(await read());
  const LARGE = Math.floor(250_000 / 8192);
  // The first answers use up the savings; the rest are let in at the pace of the share.
  expect(performance.now() - startedAt).toBeGreaterThan(((5 * LARGE - 2 * RATE) / RATE) * 1000 - 100);
  expect(new Set(statuses)).toEqual(new Set([200]));
});

test("a call that waits has no place among the calls, and a credential has so many waits", async () => {
  const { key } = await makeKey("waits");
  const lease = (waitSeconds: number) => server.call(key, "run.lease", { tasks: ["none"], worker: "w", waitSeconds }, slug);
  const answers = await Promise.all([
    ...Array.from({ length: PER_CREDENTIAL + 1 }, () => lease(4)),
    // By another credential one may wait, and by this one do anything else.
    server.call(ada.session, "run.lease", { tasks: ["none"], worker: "w", waitSeconds: 0.1 }, slug),
    server.call(key, "space.get", {}, slug),
  ]);
  const refused = answers.filter(({ error }) => error);
  expect(refused).toMatchObject([{ status: 429, error: { data: { code: "RATE_LIMITED", retryAfter: expect.any(Number) } } }]);
  expect((await lease(0.1)).result).toEqual({ lease: null });
});

test("an owner's agents have no more together, however many there are", async () => {
  const AGENTS = HELD / 2 / PER_CREDENTIAL + 1;
  const agents = await Promise.all(
    Array.from({ length: AGENTS }, async (_, i) => {
      const agent = (await server.call(ben.session, "agent.create", { name: `fleet ${i}` })).result;
      await server.call(ada.session, "principal.add", { principal: agent.id }, slug);
      await server.call(ada.session, "access.grant", { principal: agent.id, permission: "admin:tasks" }, slug);
      return (await server.call(ben.session, "apiKey.create", { name: `fleet ${i}`, agent: agent.id })).result.key;
    }),
  );
  await server.call(ada.session, "access.grant", { principal: ben.id, permission: "admin:tasks" }, slug);
  const lease = (key: string) => server.call(key, "run.lease", { tasks: ["none"], worker: "w", waitSeconds: 4 }, slug);
  const answers = await Promise.all(agents.flatMap((key) => Array.from({ length: PER_CREDENTIAL }, () => lease(key))));
  const refused = answers.filter(({ error }) => error);
  expect(refused.map(({ error }) => error?.data.code)).toEqual(Array(PER_CREDENTIAL).fill("RATE_LIMITED"));
});

test("an account's spaces bring no more to their services, however many there are", async () => {
  const SPACES = HELD / 2 / PER_CREDENTIAL + 1;
  const spaces = await Promise.all(
    Array.from({ length: SPACES }, async (_, i) => {
      const { slug: own } = (await server.call(ben.session, "space.create", { name: `Own ${i}` })).result;
      const { key } = (await server.call(ben.session, "secretKey.create", { name: "service" }, own)).result;
      const { id } = (await server.call(key, "whoami")).result;
      await server.call(ben.session, "access.grant", { principal: id, permission: "admin:tasks" }, own);
      return { own, key };
    }),
  );
  const answers = await Promise.all(
    spaces.flatMap(({ own, key }) =>
      Array.from({ length: PER_CREDENTIAL }, () => server.call(key, "run.lease", { tasks: ["none"], worker: "w", waitSeconds: 4 }, own)),
    ),
  );
  const refused = answers.filter(({ error }) => error);
  expect(refused.map(({ error }) => error?.data.code)).toEqual(Array(PER_CREDENTIAL).fill("RATE_LIMITED"));
});

test("a credential has so many open streams; one that is closed makes room", async () => {
  const { key } = await makeKey("streams");
  const { session } = (await server.call(ada.session, "session.create", { task: "none" }, slug)).result;
  const open = (credential: string) => {
    const leaving = new AbortController();
    const answer = fetch(`${server.url}/api/v1/sessions/${session.id}/out`, {
      headers: { ...bearer(credential), "x-me-space": slug },
      signal: leaving.signal,
    });
    return answer.then(({ status, headers }) => ({ status, headers, leave: () => leaving.abort() }));
  };
  const opened = [];
  for (let i = 0; i < PER_CREDENTIAL; i++) opened.push(await open(key));
  expect(opened.map(({ status }) => status)).toEqual(Array(PER_CREDENTIAL).fill(200));
  const over = await open(key);
  expect([over.status, Number(over.headers.get("retry-after")) > 0]).toEqual([429, true]);
  const other = await open(ada.session);
  expect(other.status).toBe(200);
  opened[0]?.leave();
  const again = await until("there is room again", async () => {
    const one = await open(key);
    return one.status === 200 ? one : undefined;
  });
  for (const { leave } of [...opened, other, again]) leave();
});

test("a HEAD of a stream holds nothing open", async () => {
  const { key } = await makeKey("heads");
  const { session } = (await server.call(ada.session, "session.create", { task: "none" }, slug)).result;
  const ask = (method: string) =>
    fetch(`${server.url}/api/v1/sessions/${session.id}/out`, { method, headers: { ...bearer(key), "x-me-space": slug } });
  for (let i = 0; i <= PER_CREDENTIAL; i++) {
    const head = await ask("HEAD");
    expect([head.status, head.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
  }
  const opened = await ask("GET");
  expect(opened.status).toBe(200);
  await opened.body?.cancel();
});

test("a reader who hangs up while their stream is being opened leaves nothing open", async () => {
  const { key } = await makeKey("hangs up");
  const { session } = (await server.call(ada.session, "session.create", { task: "none" }, slug)).result;
  const path = `/api/v1/sessions/${session.id}/out`;
  await server.sql.begin(async (tx) => {
    await tx`lock table sessions in access exclusive mode`;
    const sockets = [];
    for (let i = 0; i < PER_CREDENTIAL; i++) {
      const socket = await dial(server.url);
      socket.on("error", () => {}).write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nX-Me-Space: ${slug}\r\n\r\n`);
      sockets.push(socket);
    }
    await until("all wait for the session", async () => {
      const waiting = await tx`select from pg_locks where not granted and relation = 'sessions'::regclass`;
      return waiting.length > 0;
    });
    for (const socket of sockets) socket.destroy();
    const gone = await server.call(key, "whoami");
    expect(gone.status, "a later request, so the server has heard that they hung up").toBe(200);
  });
  const opened = await until(
    "all places are free",
    async () => {
      const answers = await Promise.all(
        Array.from({ length: PER_CREDENTIAL }, () => fetch(server.url + path, { headers: { ...bearer(key), "x-me-space": slug } })),
      );
      if (answers.every(({ status }) => status === 200)) return answers;
      for (const { body } of answers) await body?.cancel();
      return undefined;
    },
    10_000,
  );
  for (const { body } of opened) await body?.cancel();
});
