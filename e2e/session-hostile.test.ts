import { MAX_BODY_BYTES, MAX_EVENT_BYTES, spaceApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { routes } from "../packages/server/src/sessions/door.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { codeOf, rest } from "./session-rest.ts";

const TIMEOUT = 120_000;

let server: TestServer;
let ada: TestUser;
let slug: string;
/** A run that a worker holds, with its first turn under way. */
let held: { run: string; epoch: number };

beforeAll(async () => {
  server = await startTestServer({ LEASE_SECONDS: "300" });
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
  await must("task.register", { task: "echo" });
  await must("session.create", { task: "echo", externalId: "talk", message: "hello" });
  const { lease } = await must("run.lease", { tasks: ["echo"], worker: "w" });
  held = { run: lease.run, epoch: lease.epoch };
  await must("run.next", held);
}, TIMEOUT);
afterAll(() => server.close());

async function must(method: string, params: object) {
  const { result, error } = await server.call(ada.session, method, params, slug);
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

const headers = (more: Record<string, string> = {}) => ({
  authorization: `Bearer ${ada.session}`,
  "x-me-space": slug,
  "content-type": "application/json",
  ...more,
});
const send = (verb: string, path: string, body?: string | Uint8Array, more?: Record<string, string>) =>
  rest(server.url, { verb, path, headers: headers(more), ...(body !== undefined && { body }) });

/** Every route, and the stream, which is a route of no method. */
const all = [
  ...routes.map(({ verb, path, method }) => ({ verb, path, method })),
  { verb: "GET", path: "/sessions/:session/out", method: "session.get" as const },
];
const taking = routes.filter(({ verb }) => verb !== "GET");
const pathTo = (path: string, session = "talk", run = held.run) =>
  path.replace(":session", session).replace(":run", run).replace("*", "echo");

test.each(all)("$verb $path without a credential tells nothing, whatever is sent", { timeout: TIMEOUT }, async ({ verb, path }) => {
  for (const credential of [undefined, "Bearer me_pat_rubbish", "Basic eDp5"])
    for (const body of verb === "GET" ? [undefined] : [undefined, "{", "{}"]) {
      const answer = await rest(server.url, {
        verb,
        path: pathTo(path),
        headers: { "content-type": "application/json", "x-me-space": slug, ...(credential && { authorization: credential }) },
        ...(body && { body }),
      });
      expect(codeOf(answer, path)).toBe("UNAUTHENTICATED");
    }
});

const unreadable: Record<string, string | Uint8Array> = {
  "half an object": '{"message":',
  "an array": "[]",
  null: "null",
  "a number": "5",
  "a text": '"x"',
  "no UTF-8": new Uint8Array([0x7b, 0xff, 0x7d]),
  "two objects": "{}{}",
  "a comment": "{/**/}",
};
const ambiguous: Record<string, (path: string) => string> = {
  "a key that stands twice": () => '{"a":1,"a":2}',
  "what the path names already": (path) => (path.includes(":run") ? '{"run":"x"}' : '{"session":"x"}'),
  "a way into prototypes": () => '{"__proto__":{"x":1}}',
  "a way into prototypes, deeper": () => '{"metadata":{"__proto__":{"x":1}}}',
  "too much depth": () => `{"metadata":${'{"a":'.repeat(100)}1${"}".repeat(100)}}`,
  "params that are unknown": () => '{"nonsense":true}',
};

test.each(taking)(
  "$verb $path refuses bodies that can't be read, or in more than one way",
  { timeout: TIMEOUT },
  async ({ verb, path }) => {
    for (const [what, body] of Object.entries(unreadable))
      expect(codeOf(await send(verb, pathTo(path), body), what), what).toBe("PARSE_ERROR");
    for (const [what, body] of Object.entries(ambiguous))
      expect(codeOf(await send(verb, pathTo(path), body(path)), what), what).toBe("INVALID_PARAMS");
    expect(codeOf(await send(verb, pathTo(path), `{"x":"${"x".repeat(MAX_BODY_BYTES)}"}`), "too large")).toBe("PAYLOAD_TOO_LARGE");
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"])
      expect(codeOf(await send(verb, pathTo(path), "{}", { "content-type": type }), type)).toBe("UNSUPPORTED_MEDIA_TYPE");
    expect(codeOf(await send(verb, pathTo(path), "{}", { "content-encoding": "gzip" }), "gzip")).toBe("UNSUPPORTED_MEDIA_TYPE");
  },
);

/** Values that some type, size or place in the database does not take. */
const wrong: unknown[] = [
  null,
  true,
  -1,
  0.5,
  2 ** 31,
  9_007_199_254_740_991,
  1e300,
  "",
  "x".repeat(300),
  "\u0000",
  "\ud800",
  "é\u202e",
  [],
  [null],
  {},
  { a: "\u0000" },
  [{ type: "\ud800" }],
];

test.each(routes)("$verb $path takes no wrong value, and fails at none", { timeout: TIMEOUT }, async ({ verb, path, method }) => {
  const { shape } = spaceApi[method].params;
  const fine: Record<string, unknown> = {
    task: "echo",
    tasks: ["echo"],
    worker: "w",
    epoch: held.epoch,
    turn: 77,
    waitSeconds: 0,
    chunks: [{ type: "x" }],
    outcome: "complete",
  };
  for (const [param, schema] of Object.entries(shape)) {
    if (path.includes(`:${param}`) || (path.includes("*") && param === "task")) continue;
    for (const value of wrong) {
      const title = `${param} = ${JSON.stringify(value).slice(0, 40)}`;
      const params = Object.fromEntries(
        Object.entries({ ...fine, [param]: value }).filter(([name]) => name in shape && !path.includes(`:${name}`)),
      );
      // It must be about something of its own, where it goes through.
      const target = pathTo(path, method === "session.close" ? "nobody" : "talk");
      const query =
        verb === "GET"
          ? `?${new URLSearchParams({ [param]: typeof value === "string" ? value.toWellFormed() : JSON.stringify(value) })}`
          : "";
      const answer = await send(verb, target + query, verb === "GET" ? undefined : JSON.stringify(params));
      if (answer.status < 300) continue;
      const code = codeOf(answer, title);
      expect(["INTERNAL_ERROR", "UNAVAILABLE"], `${title}: ${answer.text}`).not.toContain(code);
      if (verb !== "GET" && !(schema as { safeParse(value: unknown): { success: boolean } }).safeParse(value).success)
        expect(code, title).toBe("INVALID_PARAMS");
      expect(answer.text, title).not.toContain("x".repeat(250));
    }
  }
});

/** What names nothing, or is no name; undefined: the address itself can't be read. */
const names: Record<string, string> = {
  "019f0000-0000-7000-8000-000000000000": "NOT_FOUND",
  "nobody-has-this": "NOT_FOUND",
  "..%2f..%2fspace%2frpc": "INVALID_PARAMS",
  "%2e%2e%2f": "INVALID_PARAMS",
  "%2e%2e": "INVALID_PARAMS",
  ".": "INVALID_PARAMS",
  "talk%2fout": "INVALID_PARAMS",
  "%00": "INVALID_PARAMS",
  "talk%00": "INVALID_PARAMS",
  "%C3%A9": "INVALID_PARAMS",
  "%F0%9F%92%A9": "INVALID_PARAMS",
  "a%20b": "INVALID_PARAMS",
  "'%20or%201=1--": "INVALID_PARAMS",
  "%3Cscript%3E": "INVALID_PARAMS",
  [`${"x".repeat(128)}`]: "NOT_FOUND",
  [`${"x".repeat(129)}`]: "INVALID_PARAMS",
  [`${"x".repeat(5000)}`]: "INVALID_PARAMS",
  "%zz": "NOT_FOUND",
  "%c0%ae": "NOT_FOUND",
};
const named = all.filter(({ path }) => path.includes(":"));

test.each(named)("$verb $path, of what is not there, or no name", { timeout: TIMEOUT }, async ({ verb, path, method }) => {
  const needs: Record<string, unknown> = { message: "x", epoch: 1, turn: 1, chunks: [{ type: "x" }], outcome: "complete" };
  const { shape } = spaceApi[method].params;
  const body = verb === "GET" ? undefined : JSON.stringify(Object.fromEntries(Object.entries(needs).filter(([name]) => name in shape)));
  for (const [name, code] of Object.entries(names)) {
    // A run has an id, and no other name.
    const wanted = path.includes(":run") && code === "NOT_FOUND" && !/^019f|^%/.test(name) ? "INVALID_PARAMS" : code;
    const answer = await send(verb, pathTo(path, name, name), body);
    expect(codeOf(answer, name), `${name}: ${answer.text}`).toBe(wanted);
  }
});

const anId = "019f0000-0000-7000-8000-000000000000";

test("an external id may have odd characters, and works in every address", { timeout: TIMEOUT }, async () => {
  for (const externalId of ["a.b", "~me@example.com:42", "100%", "a+b=c", "%2e%2e", "...", "-", "x".repeat(128)]) {
    const made = await send("POST", "/sessions", JSON.stringify({ task: "odd", externalId }));
    expect(made.status, externalId).toBe(201);
    for (const { verb, path } of named.filter(
      (route) => route.path.includes(":session") && !route.path.endsWith("/out") && route.verb !== "DELETE",
    )) {
      const body = path.endsWith("/in") ? '{"message":"x"}' : "{}";
      const answer = await send(verb, pathTo(path, encodeURIComponent(externalId)), verb === "GET" ? undefined : body);
      expect([path, answer.status], `${externalId}: ${answer.text}`).toEqual([path, 200]);
    }
    // It is closed by now: its stream is read to the end.
    const out = await send("GET", `/sessions/${encodeURIComponent(externalId)}/out`);
    expect([out.status, out.text]).toEqual([200, expect.stringContaining("event: end")]);
    const deleted = await send("DELETE", `/sessions/${encodeURIComponent(externalId)}`);
    expect(deleted.status, deleted.text).toBe(200);
  }
  for (const externalId of [".", "..", "a/b", "a b", "", "é", anId])
    expect(codeOf(await send("POST", "/sessions", JSON.stringify({ task: "odd", externalId })), externalId)).toBe("INVALID_PARAMS");
});

test("a place in the log is a whole number", { timeout: TIMEOUT }, async () => {
  for (const place of ["-1", "1.5", "1e3", "0x1", "abc", "1; drop", "9".repeat(16), " ", "1,2"]) {
    // Of a header, spaces around its value are no part of it: what is left is empty, and names no place.
    if (place.trim())
      expect(codeOf(await send("GET", "/sessions/talk/out", undefined, { "last-event-id": place }), place)).toBe("INVALID_PARAMS");
    expect(codeOf(await send("GET", `/sessions/talk/out?after=${encodeURIComponent(place)}`), place)).toBe("INVALID_PARAMS");
    expect(codeOf(await send("GET", `/sessions/talk/events?after=${encodeURIComponent(place)}`), place)).toBe("INVALID_PARAMS");
  }
  expect(codeOf(await send("GET", "/sessions/talk/events?after=1&after=2"), "twice")).toBe("INVALID_PARAMS");
  expect(codeOf(await send("GET", "/sessions/talk/events?limit=0"), "limit")).toBe("INVALID_PARAMS");
});

test("what is said may be large, but not too large, and holds no text that can't be kept", { timeout: TIMEOUT }, async () => {
  const say = (message: unknown) => send("POST", "/sessions/talk/in", JSON.stringify({ message }));
  expect((await say("x".repeat(MAX_EVENT_BYTES - 200))).status).toBe(200);
  const asAWhole = ({ detail, issues }: { detail: string; issues?: unknown }) => expect(issues).toEqual([{ path: "", message: detail }]);
  const large = await say("x".repeat(MAX_EVENT_BYTES));
  expect(codeOf(large, "too large")).toBe("INVALID_PARAMS");
  asAWhole(large.body);
  for (const text of ["a\u0000b", "half \ud83d", "\udca9 half"]) {
    const answer = await say(text);
    expect(codeOf(answer, text)).toBe("INVALID_PARAMS");
    expect(answer.body.detail).toContain("surrogate");
    asAWhole(answer.body);
  }
  const action = await send("POST", "/sessions/talk/in", JSON.stringify({ action: { name: "x", data: { a: "\u0000" } } }));
  expect(codeOf(action, "action")).toBe("INVALID_PARAMS");
  const emitted = await send(
    "POST",
    `/runs/${held.run}/emit`,
    JSON.stringify({ epoch: held.epoch, turn: 1, chunks: [{ type: "\u0000" }] }),
  );
  expect(codeOf(emitted, "chunks")).toBe("INVALID_PARAMS");
});
