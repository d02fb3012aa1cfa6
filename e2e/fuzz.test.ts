import { userApi } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { startTestServer, type TestServer } from "./harness.ts";

// Bodies that nobody thought of. Whatever is sent with a good credential: the answer is one of the
// protocol's, it tells nothing of the server's insides, and the server goes on.

const RUNS = 400;

let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer();
  session = (await server.user("Mallory")).session;
});
afterAll(() => server.close());

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.constantFrom("", "__proto__", "constructor", "\u0000", "\ud800", "null"),
);
const json = fc.jsonValue({ maxDepth: 4, stringUnit: "binary" });
const anyMethod = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...Object.keys(userApi)) }, { weight: 1, arbitrary: text });

/** Params that are nearly right: names that some method has, with values of the right kind or of any. */
const names = [...new Set(Object.values(userApi).flatMap(({ params }) => Object.keys(params.shape)))];
const value = fc.oneof(
  text,
  fc.uuid({ version: 7 }),
  fc.stringMatching(/^[a-z0-9]{12}$/),
  fc.integer(),
  fc.double(),
  fc.date().map(String),
  fc.array(text),
  json,
);
const params = fc.oneof(fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 4 }), fc.array(value, { maxLength: 6 }), json);

const request = fc.record(
  {
    jsonrpc: fc.oneof({ weight: 9, arbitrary: fc.constant("2.0") }, { weight: 1, arbitrary: json }),
    id: fc.oneof(fc.integer(), text, fc.double(), fc.constant(null), json),
    method: fc.oneof({ weight: 9, arbitrary: anyMethod }, { weight: 1, arbitrary: json }),
    params,
    extra: json,
  },
  { requiredKeys: [] },
);
const batch = fc.oneof(request, request, fc.array(fc.oneof(request, json), { maxLength: 12 }), json);

/** Damage to the bytes of a body: where, what to put there, and how many bytes to take away. */
const damage = fc.array(fc.record({ at: fc.nat(), put: fc.uint8Array({ maxLength: 3 }), take: fc.nat(3) }), { maxLength: 3 });
const mutated = fc.tuple(batch, damage).map(([value, damages]) => {
  const bytes = [...new TextEncoder().encode(JSON.stringify(value))];
  for (const { at, put, take } of damages) bytes.splice(at % (bytes.length + 1), take, ...put);
  return Uint8Array.from(bytes);
});
const body = fc.oneof({ weight: 8, arbitrary: mutated }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) });

const PROTOCOL = new Set([-32700, -32600, -32601, -32602, 403, 404, 409]);

test(`${RUNS} mutated bodies get answers of the protocol, and never an internal error`, async () => {
  const seen = new Map<number | "result" | "none", number>();
  const count = (what: number | "result" | "none") => void seen.set(what, (seen.get(what) ?? 0) + 1);

  await fc.assert(
    fc.asyncProperty(body, async (bytes) => {
      const { status, text } = await server.post(bytes, { authorization: `Bearer ${session}` });
      if (status === 204) {
        expect(text).toBe("");
        return count("none");
      }
      expect(status).toBe(200);
      const parsed = JSON.parse(text);
      for (const answer of Array.isArray(parsed) ? parsed : [parsed]) {
        expect(answer).toMatchObject({ jsonrpc: "2.0" });
        expect(answer).toHaveProperty("id");
        if (!("error" in answer)) {
          count("result");
          continue;
        }
        expect(PROTOCOL).toContain(answer.error.code);
        // Keys are told as they came; nothing else of what was sent may be in a message that is searched for leaks.
        const { issues: _issues, ...data } = answer.error.data;
        expectClean(JSON.stringify({ ...data, message: answer.error.code === -32602 ? "" : answer.error.message }));
        count(answer.error.code);
      }
    }),
    // By chance alone, seldom is one of them answered.
    { numRuns: RUNS, examples: [[new TextEncoder().encode('{"jsonrpc":"2.0","id":1,"method":"whoami"}')]] },
  );

  // The bodies must have got past the parser, the envelope and the schema, or this tested nothing.
  for (const outcome of ["result", "none", -32700, -32600, -32601, -32602] as const)
    expect([outcome, seen.get(outcome) ?? 0]).not.toEqual([outcome, 0]);
  expect((await server.call(session, "whoami")).result.name).toBe("Mallory");
});
