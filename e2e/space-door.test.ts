import type { RpcResponse } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashKey, makeKey } from "../packages/server/src/key.ts";
import { covered, isMember, may, ownerIsThere } from "./authority-model.ts";
import { knocks, letsThrough } from "./gate-model.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { anyWorld, callers, named, newId, type Placed, place } from "./worlds.ts";

const WORLDS = 300;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

async function keyOf(id: string, kind: "pat" | "agent_key", ceiling: string[] | null): Promise<string> {
  const key = makeKey(kind);
  await server.sql`
    insert into api_keys (id, principal_id, name, hash, hint, ceiling) values (${newId()}, ${id}, ${newId()}, ${hashKey(key)}, '', ${ceiling})`;
  return key;
}

/** Makes calls in one request. @returns for each its result, or why not */
async function batch(key: string, slug: string, calls: { method: string; params: object }[]) {
  const body = calls.map((call, id) => ({ jsonrpc: "2.0", id, ...call }));
  const { text } = await server.post(JSON.stringify(body), { authorization: `Bearer ${key}`, "x-me-space": slug });
  return (JSON.parse(text) as RpcResponse[]).map((answer) => ("error" in answer ? answer.error.data : answer)) as {
    code?: string;
    reason?: string;
    // biome-ignore lint/suspicious/noExplicitAny: results of many methods
    result?: any;
  }[];
}

/** What one caller of a world is answered by every way of asking. */
async function checkCaller({ world, id, slug }: Placed, who: string): Promise<"stranger" | "owner-left" | "inside"> {
  const ceiling = world.ceiling;
  const key = await keyOf(id[who] as string, who.startsWith("a") ? "agent_key" : "pat", ceiling?.map((text) => named(text, id)) ?? null);
  const permissions = world.questions.map((text) => named(text, id));
  const nobody = newId();
  const knocked = knocks.map(({ method, params }) => ({ method, params: params(id, nobody) }));
  const answers = await batch(key, slug, [
    { method: "access.effective", params: {} },
    ...permissions.map((permission) => ({ method: "access.check", params: { permission } })),
    ...permissions.map((permission) => ({ method: "access.explain", params: { permission } })),
    ...knocked.map((params) => ({ method: "access.check", params })),
    ...knocked,
  ]);
  if (!isMember(world, who, false)) {
    for (const answer of answers) expect(answer).toMatchObject({ code: "NOT_FOUND", reason: "stranger" });
    return "stranger";
  }
  if (!ownerIsThere(world, who)) {
    for (const answer of answers) expect(answer).toMatchObject({ code: "FORBIDDEN", reason: "owner-left" });
    return "owner-left";
  }
  const effective = answers.shift()?.result.permissions;
  const [checks, explanations, asked, gate] = [permissions, permissions, knocks, knocks].map(({ length }) => answers.splice(0, length));
  for (const [i, question] of world.questions.entries()) {
    const expected = may(world, who, ceiling, question);
    expect(checks?.[i]?.result, `${who} checks ${question}`).toEqual({ allowed: expected });
    expect(explanations?.[i]?.result, `${who} has ${question} explained`).toMatchObject({ allowed: expected });
    expect(covered(effective, permissions[i] as string), `${who} finds ${question} among what is effective`).toBe(expected);
  }
  for (const [i, knock] of knocks.entries()) {
    const expected = letsThrough(world, who, ceiling, knock);
    expect(asked?.[i]?.result, `${who} checks ${knock.method}`).toEqual({ allowed: expected });
    expect(gate?.[i]?.code !== "FORBIDDEN", `${who} calls ${knock.method}: ${gate?.[i]?.reason}`).toBe(expected);
  }
  return "inside";
}

/** An admin is told the same about anybody as they are told themselves, but for the key they come with. */
async function checkAbout({ world, id, slug }: Placed, root: string): Promise<void> {
  const questions = callers.flatMap((who) => world.questions.map((question) => ({ who, question })));
  const answers = await batch(
    root,
    slug,
    questions.map(({ who, question }) => ({ method: "access.check", params: { principal: id[who], permission: named(question, id) } })),
  );
  for (const [i, { who, question }] of questions.entries())
    if (isMember(world, who, false))
      expect(answers[i]?.result, `of ${who}: ${question}`).toEqual({ allowed: may(world, who, null, question) });
    else expect(answers[i]).toMatchObject({ code: "NOT_FOUND" });
}

test(`at the door, in ${WORLDS} worlds, check, explain, effective and the gate say what the model says`, async () => {
  const came = { stranger: 0, "owner-left": 0, inside: 0 };
  for (let seen = 0; seen < WORLDS; )
    await fc.assert(
      fc.asyncProperty(fc.array(anyWorld, { minLength: 1, maxLength: 150, size: "max" }), async (worlds) => {
        seen += worlds.length;
        const placed = await place(server.sql, worlds);
        const root = await keyOf(placed[0]?.id.root as string, "pat", null);
        for (const [i, each] of placed.entries()) {
          came[await checkCaller(each, callers[i % callers.length] as string)]++;
          await checkAbout(each, root);
        }
      }),
      { numRuns: 1 },
    );
  expect(Math.min(...Object.values(came)), JSON.stringify(came)).toBeGreaterThan(0);
});
