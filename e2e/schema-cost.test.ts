import { tools } from "@gatehouse/mcp";
import { Json, MAX_BODY_BYTES, spaceApi, userApi } from "@gatehouse/protocol";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { examine, readJson } from "../packages/server/src/json.ts";
import { Metadata, RedirectUri } from "../packages/server/src/oauth/register.ts";
import { mustFit } from "../packages/server/src/refusal.ts";
import { startTestServer } from "./harness.ts";
import { openJar } from "./jar.ts";
import { routes } from "./people-routes.ts";

/** Most milliseconds that a text may keep the event loop while a schema looks at it. */
const MAX_MS = 20;

/** Bytes of each text: of this many, what takes more than linear time takes seconds. */
const LENGTH = 131_072;

/** All schemas that a schema is made of. */
function partsOf(schema: z.core.$ZodType, found = new Set<z.core.$ZodType>()): Set<z.core.$ZodType> {
  if (found.has(schema)) return found;
  found.add(schema);
  const within = (value: unknown): void => {
    if (value instanceof z.core.$ZodType) partsOf(value, found);
    else if (Array.isArray(value)) value.forEach(within);
  };
  const { shape = {}, checks: _, ...def } = schema._zod.def as { shape?: object; checks?: unknown };
  for (const value of [...Object.values(def), ...Object.values(shape)]) within(value);
  return found;
}

/** Texts of any length of which patterns make much: runs of one or two characters, also after a first and before a last one. */
const RUNS = [
  ...'a0 .-/:@\\"A\u0301\u094d\u200d\ufdfa\u3164\u0390\u0646',
  "\u{1f468}",
  "\ud800",
  "a.",
  "a@",
  "a-",
  "a/",
  "a:",
  "\u0646\u200c",
  "\u094d\u200d",
];
const EDGES = ["", "a", "/", "read:tasks:", "2026-11-29T00:00:00."];
const ENDS = ["", "\u200d"];
function* texts() {
  for (const run of RUNS) {
    const many = run.repeat(LENGTH / Buffer.byteLength(run));
    for (const edge of EDGES) for (const end of ENDS) yield edge + many + end;
  }
}

/** Least milliseconds of a few tries: what else the computer does meanwhile does not count. */
function took(work: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 5 && least > MAX_MS / 4; n++) {
    const before = performance.now();
    work();
    least = Math.min(least, performance.now() - before);
  }
  return least;
}

/** Milliseconds within which the server answers what costs it nothing, also on a computer that is busy. */
const ANSWERED_MS = 300;

async function fastest(ask: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 5 && least > ANSWERED_MS / 4; n++) {
    const before = performance.now();
    await ask();
    least = Math.min(least, performance.now() - before);
  }
  return least;
}

const contracts = [...Object.entries({ ...userApi, ...spaceApi }), ...tools.map((tool) => [tool.name, tool] as const)];
const taken: [string, z.core.$ZodType][] = [
  ...contracts.map(([name, { params }]): [string, z.core.$ZodType] => [name, params]),
  ...routes.map(({ path, takes }): [string, z.core.$ZodType] => [path, takes]),
  ["register", Metadata],
];

test("no schema of a text that anybody sends looks long at one that is too long", () => {
  const seen = new Map<z.core.$ZodType, string>();
  for (const [name, schema] of taken) for (const part of partsOf(schema)) if (!seen.has(part)) seen.set(part, name);
  const kinds = [...seen].filter(([part]) => part instanceof z.core.$ZodString);
  expect(kinds.length).toBeGreaterThan(50);
  expect(kinds.some(([part]) => part === (RedirectUri as z.core.$ZodType))).toBe(true);
  const slow: string[] = [];
  for (const text of texts())
    for (const [part, name] of kinds) {
      const ms = took(() => void z.safeParse(part, text));
      if (ms > MAX_MS) slow.push(`${name}: ${JSON.stringify(text.slice(0, 20))} ${Math.round(ms)} ms`);
      if (slow.length > 10) break;
    }
  expect(slow).toEqual([]);
});

test("a name that is too long is refused as fast as any other, and not read where nobody may sign up", async () => {
  const server = await startTestServer();
  try {
    const { session } = await server.user("Ada");
    const marks = `a${"\u0301".repeat(16_000)}`;
    const viramas = `${"\u094d".repeat(1500)}\u200d`;
    const { post } = openJar(server.url);
    const account = { email: "x@example.com", password: "a password long enough" };
    let told: unknown;
    for (const name of [marks, viramas]) {
      const asked = async () => {
        told = (await server.call(session, "space.create", { name })).error?.data;
      };
      expect(await fastest(asked)).toBeLessThan(ANSWERED_MS);
      expect(told).toMatchObject({ issues: [{ path: "name", message: "must have at most 64 characters" }] });
    }
    expect((await post("/api/auth/sign-up/email", { ...account, name: viramas })).body.code).toBe("FORBIDDEN");
  } finally {
    await server.close();
  }
});

describe("a body of as many values and bytes as are taken is looked at quickly", () => {
  /** Objects of many members: nearly as many values as a body may hold. */
  const members = [1, 2, 3, 4].map((n) => Object.fromEntries(Array.from({ length: 6000 }, (_, i) => [`k${n}${i}`, i])));
  const backslashes = "\\".repeat(MAX_BODY_BYTES / 2);
  const bodies = {
    members,
    arrays: [1, 2, 3].map(() => Array.from({ length: 4000 }, () => [])),
    numbers: [1, 2].map(() => Array.from({ length: 9900 }, () => 1e300)),
    backslashes,
    "backslashes before a NUL": `${backslashes}\u0000`.slice(8),
    "names of NULs": "\\u0000".repeat(MAX_BODY_BYTES / 8),
  };
  test.each(Object.entries(bodies))("%s", (what, data) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "session.send", params: { session: "s", action: { name: "x", data } } });
    const { text, value } = readJson(Buffer.from(body));
    expect(took(() => void examine(text))).toBeLessThan(MAX_MS * 3);
    const { params } = value as { params: { action: { data: unknown } } };
    expect(Json.safeParse(params.action.data).success).toBe(true);
    expect(took(() => void Json.safeParse(params.action.data))).toBeLessThan(MAX_MS);
    expect(took(() => void spaceApi["session.send"].params.safeParse(params))).toBeLessThan(MAX_MS);
    const metadata = { metadata: { data: params.action.data } };
    expect(took(() => void spaceApi["session.update"].params.safeParse({ session: "s", ...metadata }))).toBeLessThan(MAX_MS);
    const fits = () => {
      try {
        mustFit(body);
        return true;
      } catch {
        return false;
      }
    };
    expect(fits()).toBe(what !== "backslashes before a NUL");
    expect(took(() => void fits())).toBeLessThan(MAX_MS);
  });

  test("there may be no more of them", () => {
    const many = [1, 2, 3].map(() => Array(9000).fill(1));
    expect(() => readJson(Buffer.from(JSON.stringify(many)))).toThrow(/more than 25000 values/);
  });

  test("JSON is what JSON.parse makes, whatever its names, and nothing else", () => {
    for (const value of [
      null,
      1,
      "x",
      true,
      [],
      {},
      { constructor: 1, toString: [{ valueOf: null }] },
      JSON.parse('{"__proto__":{"a":1}}'),
    ])
      expect(Json.safeParse(value).success).toBe(true);
    for (const value of [
      undefined,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1n,
      () => 1,
      new Date(),
      { a: undefined },
      [undefined],
      new Map(),
    ])
      expect(Json.safeParse(value).success).toBe(false);
    expect(z.toJSONSchema(Json)).toEqual({ $schema: expect.any(String) });
  });
});
