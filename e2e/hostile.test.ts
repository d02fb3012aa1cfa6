import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { startTestServer, type TestServer } from "./harness.ts";

// What a body may hold to confuse whoever reads it. What is wrong with the bytes around it: hostile-http.test.ts.

let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer();
  session = (await server.user("Mallory")).session;
});
afterAll(() => server.close());
afterEach(async () => {
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  expect((await server.call(session, "whoami")).result).toBeDefined();
});

async function ask(body: string | Uint8Array): Promise<unknown> {
  const { status, text } = await server.post(body, { authorization: `Bearer ${session}` });
  expect(status).toBe(200);
  expectClean(text);
  return JSON.parse(text);
}
const refused = (code: number, id: unknown = 1) => ({ jsonrpc: "2.0", id, error: expect.objectContaining({ code }) });
const call = (method: string, params: string) => `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`;
const create = (params: string) => ask(call("agent.create", params));

const [PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS] = [-32700, -32600, -32601, -32602];

describe("bytes that are not UTF-8", () => {
  const utf8 = new TextEncoder();
  const bad: [string, number[]][] = [
    ["a lone continuation", [0x80]],
    ["a byte that never occurs", [0xff]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["an overlong NUL", [0xc0, 0x80]],
    ["a sequence that is cut off", [0xe2, 0x82]],
    ["a surrogate", [0xed, 0xa0, 0x80]],
    ["a character beyond the last", [0xf5, 0x80, 0x80, 0x80]],
  ];
  test.each(bad)("%s", async (_what, bytes) => {
    const [before, after] = call("agent.create", '{"name":"|"}').split("|") as [string, string];
    expect(await ask(Uint8Array.from([...utf8.encode(before), ...bytes, ...utf8.encode(after)]))).toEqual(refused(PARSE_ERROR, null));
  });

  test("UTF-16 is no JSON here", async () => {
    expect(await ask(new Uint8Array(Buffer.from(call("whoami", "{}"), "utf16le")))).toEqual(refused(PARSE_ERROR, null));
  });
});

describe("nesting", () => {
  const DEPTH = 10_000;
  const arrays = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  const objects = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;

  test.each([
    ["arrays", arrays(DEPTH)],
    ["objects", objects(DEPTH)],
    ["a name", `{"name":${arrays(DEPTH)}}`],
    ["both", `{"name":${`[{"a":`.repeat(DEPTH)}1${"}]".repeat(DEPTH)}}`],
  ])("10,000 deep in params, of %s", async (_what, params) => {
    // Refused for its depth, before the schema, which must not have to walk down there.
    const issues = [{ path: "", message: expect.stringMatching(/^nested deeper than \d+$/) }];
    const data = { code: "INVALID_PARAMS", requestId: expect.any(String), issues };
    expect(await create(params)).toEqual({ jsonrpc: "2.0", id: 1, error: { code: INVALID_PARAMS, message: expect.any(String), data } });
  });

  test("in the envelope, but not in params", async () => {
    expect(await ask(`{"jsonrpc":"2.0","id":${arrays(DEPTH)},"method":"whoami"}`)).toEqual(refused(INVALID_REQUEST, null));
    expect(await ask(`{"jsonrpc":"2.0","id":1,"method":${objects(DEPTH)}}`)).toEqual(refused(INVALID_REQUEST));
  });

  test("10,000 deep as the whole body", async () => {
    expect(await ask(arrays(DEPTH))).toEqual([refused(INVALID_REQUEST, null)]);
    expect(await ask("[".repeat(DEPTH))).toEqual(refused(PARSE_ERROR, null));
    expect(await ask(objects(DEPTH / 5))).toEqual(refused(INVALID_REQUEST, null));
  });

  test("500,000 deep as the whole body: too many values, before anybody parses them", async () => {
    for (const body of [arrays(500_000), "[".repeat(500_000), objects(100_000)]) {
      const { status, text } = await server.post(body, { authorization: `Bearer ${session}` });
      expect([status, JSON.parse(text).error.data.code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
    }
  });
});

describe("keys that stand twice", () => {
  test.each([
    ['{"jsonrpc":"2.0","id":1,"method":"whoami","method":"agent.list"}', 1],
    ['{"jsonrpc":"2.0","id":1,"method":"whoami","params":{},"params":[]}', 1],
    ['{"jsonrpc":"2.0","id":1,"m\\u0065thod":"whoami","method":"whoami"}', 1],
    ['{"jsonrpc":"2.0","method":"whoami","jsonrpc":"2.0"}', null],
  ])("in the envelope: %s", async (body, id) => {
    expect(await ask(body)).toEqual(refused(INVALID_REQUEST, id));
    expect(await ask(`[${body},{"jsonrpc":"2.0","id":2,"method":"whoami"}]`)).toEqual([
      refused(INVALID_REQUEST, id),
      expect.objectContaining({ id: 2, result: expect.anything() }),
    ]);
  });

  test.each(['{"name":"a","name":"b"}', '{"name":"a","n\\u0061me":"a"}', '{"name":"a","x":{"y":1,"y":1}}', '[{"a":1,"a":1}]'])(
    "in params: %s",
    async (params) => {
      expect(await create(params)).toEqual(refused(INVALID_PARAMS));
      expect((await server.call(session, "agent.list")).result.agents).toEqual([]);
    },
  );
});

describe("keys that reach into prototypes", () => {
  test.each(["__proto__", "\\u005f_proto__"])("%s in the envelope, also when it brings all that is needed", async (key) => {
    const member = `"${key}":{"polluted":true,"method":"whoami","jsonrpc":"2.0","id":1}`;
    expect(await ask(`{${member}}`)).toEqual(refused(INVALID_REQUEST, null));
    expect(await ask(`{"jsonrpc":"2.0","id":1,"method":"whoami",${member}}`)).toEqual(refused(INVALID_REQUEST));
  });

  test.each([
    '{"__proto__":{"name":"x","polluted":true}}',
    '{"name":"x","__proto__":null}',
    '{"name":{"__proto__":{"polluted":true}}}',
    '[{"__proto__":{"polluted":true}}]',
    '{"name":"x","constructor":{"prototype":{"polluted":true}}}',
    '{"name":"x","toString":1}',
  ])("in params: %s", async (params) => {
    expect(await create(params)).toEqual(refused(INVALID_PARAMS));
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "rpc", "agent", "", " whoami", "whoami\\u0000", "WHOAMI"])(
    "as the name of a method: %s",
    async (method) => {
      expect(await ask(call(method, "{}"))).toEqual(refused(METHOD_NOT_FOUND));
    },
  );
});

describe("text that a database or a terminal chokes on", () => {
  const bad = [
    "\\u0000",
    "a\\u0000b",
    "\\ud800",
    "a\\udfffb",
    "\\ude00\\ud83d",
    "a\\nb",
    "\\u001b[31m",
    "\\u202eabc",
    "\\u200b",
    "\\ufeff",
    " a",
    "",
    "a".repeat(65),
  ];
  test.each(bad)("%s is no name", async (name) => {
    expect(await create(`{"name":"${name}"}`)).toEqual(refused(INVALID_PARAMS));
    expect(await ask(call("space.create", `["${name}"]`))).toEqual(refused(INVALID_PARAMS));
    expect(await ask(call("apiKey.create", `{"name":"${name}"}`))).toEqual(refused(INVALID_PARAMS));
  });

  test.each(["\\u0000", "' or 1=1 --", "\\ud800", "00000000-0000-0000-0000-000000000000", "%", "../../etc/passwd"])(
    "%s is no id",
    async (id) => {
      for (const method of ["agent.get", "agent.delete", "apiKey.get", "apiKey.rotate"])
        expect(await ask(call(method, `{"id":"${id}"}`))).toEqual(refused(INVALID_PARAMS));
    },
  );

  test("a million characters are no method, and are not repeated", async () => {
    const answer = await ask(call("x".repeat(1_000_000), "{}"));
    expect(answer).toEqual(refused(METHOD_NOT_FOUND));
    expect(JSON.stringify(answer).length).toBeLessThan(1000);
  });
});

describe("bodies that are no JSON, or no request", () => {
  test.each([
    "",
    " ",
    "{",
    "}",
    "[",
    '{"jsonrpc"',
    "NaN",
    "undefined",
    "{'jsonrpc':'2.0'}",
    "[1,]",
    "01",
    '"\\x"',
    "\u0000",
    "{}{}",
    "[]]",
  ])("%j is no JSON", async (body) => {
    expect(await ask(body)).toEqual(refused(PARSE_ERROR, null));
  });

  test.each([
    "null",
    "1",
    '"whoami"',
    "true",
    "{}",
    '{"jsonrpc":"1.0","method":"whoami"}',
    '{"jsonrpc":2.0,"method":"whoami"}',
    '{"method":"whoami"}',
  ])("%s is no request", async (body) => {
    expect(await ask(body)).toEqual(refused(INVALID_REQUEST, null));
  });
});
