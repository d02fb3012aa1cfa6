import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { codeOf, countBy, whileLocked } from "./rivals.ts";

let server: TestServer;
let alice: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  alice = await server.user("Alice");
});
afterAll(() => server.close());

const call = (method: string, params: object) => server.call(alice.session, method, params);

/** Writes a name in one of many ways that differ in nothing but case. */
const inSomeCase = (name: string, i: number) => [...name].map((char, bit) => ((i >> bit) & 1 ? char.toUpperCase() : char)).join("");

test.each(["agent.create", "apiKey.create"])("200 × %s of one name at once make one, and 199 conflicts", async (method) => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => call(method, { name: inSomeCase("many-at-once", i) })));
  expect(countBy(answers.map(codeOf))).toEqual({ ok: 1, CONFLICT: 199 });
  const table = method === "agent.create" ? "principals" : "api_keys";
  const rows = await server.sql`select id from ${server.sql(table)} where lower(name) = 'many-at-once'`;
  expect(rows.map(({ id }) => id)).toEqual([answers.find(({ result }) => result)?.result.id]);
});

const createThenDelete = ["apiKey.create", "agent.delete"];
test.each([
  { first: "apiKey.create", answers: ["ok", "ok"] },
  { first: "agent.delete", answers: ["NOT_FOUND", "ok"] },
])("a key made while its agent is being deleted is no key: $first is first", async ({ first, answers }) => {
  const { result: agent } = await call("agent.create", { name: `raced by ${first}` });
  const params: Record<string, object> = { "apiKey.create": { name: "k", agent: agent.id }, "agent.delete": { id: agent.id } };
  const started: Record<string, ReturnType<typeof call>> = {};
  // Both calls have seen the agent, and may have it, before either of them does anything to it.
  await whileLocked(server.sql, "select from principals where id = $1 for update", agent.id, async (waiting) => {
    for (const [i, method] of [first, ...createThenDelete.filter((method) => method !== first)].entries()) {
      started[method] = call(method, params[method] as object);
      await waiting(i + 1);
    }
  });
  const [created, deleted] = await Promise.all(createThenDelete.map((method) => started[method]));
  expect([created, deleted].map((answer) => codeOf(answer as object))).toEqual(answers);
  expect(await server.sql`select from api_keys where principal_id = ${agent.id}`).toHaveLength(0);
  if (created?.result) expect((await server.call(created.result.key, "whoami")).status).toBe(401);
});

test("keys made in a crowd around the deletion of their agent are none of them good", async () => {
  const { result: agent } = await call("agent.create", { name: "in a crowd" });
  const make = (i: number) => call("apiKey.create", { name: `k${i}`, agent: agent.id });
  const crowd = Array.from({ length: 60 }, (_, i) => (i === 30 ? call("agent.delete", { id: agent.id }) : make(i)));
  const answers = await Promise.all(crowd);
  expect(codeOf(answers[30] as object)).toBe("ok");
  expect(new Set(answers.map(codeOf)).difference(new Set(["ok", "NOT_FOUND"]))).toEqual(new Set());
  for (const { result } of answers) if (result?.key) expect((await server.call(result.key, "whoami")).status).toBe(401);
});

test.each([
  { overlapHours: 1, good: 2 },
  { overlapHours: 0, good: 1 },
])("20 rotations of one key at once, overlap $overlapHours h, leave $good of its secrets good", async ({ overlapHours, good }) => {
  const { result: original } = await call("apiKey.create", { name: `rotated ${overlapHours}` });
  const rotated = await Promise.all(Array.from({ length: 20 }, () => call("apiKey.rotate", { id: original.id, overlapHours })));
  expect(countBy(rotated.map(codeOf))).toEqual({ ok: 20 });
  const secrets: string[] = [original.key, ...rotated.map(({ result }) => result.key)];
  expect(new Set(secrets).size).toBe(21);
  const whoami = await Promise.all(secrets.map((secret) => server.call(secret, "whoami")));
  const ends = whoami.filter(({ status }) => status === 200).map(({ result }) => result.credential.expiresAt);
  expect(ends, "secrets that are good").toHaveLength(good);
  expect(
    ends.filter((end) => end === null),
    "secrets that are current",
  ).toHaveLength(1);
});
