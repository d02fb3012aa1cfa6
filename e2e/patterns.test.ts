import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { tools } from "@gatehouse/mcp";
import { type Api, spaceApi, toJsonSchema, userApi } from "@gatehouse/protocol";
import { KEY_PATTERN } from "@gatehouse/server";
import { loadPyodide } from "pyodide";
import { RE2JS } from "re2js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestServer, type TestServer } from "./harness.ts";
import { connectHttp } from "./mcp.ts";
import { unportable } from "./portable.ts";

let server: TestServer;
let published: Record<string, unknown>;
beforeAll(async () => {
  server = await startTestServer();
  const { session } = await server.user("Ada");
  const call = async (method: string, params: object = {}, space?: string) => (await server.call(session, method, params, space)).result;
  const { slug } = await call("space.create", { name: "Home" });
  const { key } = await call("apiKey.create", { name: "ide" });
  const mcp = await connectHttp(new URL(`/mcp?space=${slug}`, server.url), key);
  const wellKnown = ["oauth-authorization-server", "oauth-protected-resource", "authzen-configuration", "jwks.json"];
  published = {
    "user RPC": await call("rpc.discover"),
    "space RPC": await call("rpc.discover", {}, slug),
    "MCP tools": (await mcp.listTools()).tools,
    ...Object.fromEntries(
      await Promise.all(wellKnown.map(async (name) => [name, await (await fetch(`${server.url}/.well-known/${name}`)).json()])),
    ),
  };
});
afterAll(() => server.close());

/** All regular expressions in a document of JSON Schemas. */
function patternsIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  const { pattern, patternProperties } = value as { pattern?: unknown; patternProperties?: object };
  return [
    ...(typeof pattern === "string" ? [pattern] : []),
    ...Object.keys(patternProperties ?? {}),
    ...Object.values(value).flatMap(patternsIn),
  ];
}

/** The schema of the contracts behind each pattern that is published. */
function schemasByPattern(): Map<string, z.core.$ZodType> {
  const found = new Map<string, z.core.$ZodType>();
  const apis: Api[] = [userApi, spaceApi];
  const contracts = [...apis.flatMap((api) => Object.values(api)), ...tools];
  for (const { params, result } of contracts)
    for (const [io, schema] of Object.entries({ input: params, output: result }) as ["input" | "output", z.core.$ZodType][])
      z.toJSONSchema(schema, {
        io,
        override({ zodSchema, jsonSchema }) {
          if (jsonSchema.pattern !== undefined) found.set(toJsonSchema(zodSchema, { io }).pattern as string, zodSchema);
        },
      });
  return found;
}

test.each([
  "(?<name>a)",
  "a(?:b)",
  "a(?=b)",
  "a(?<!b)",
  "(?i)a",
  "\\p{L}",
  "(a)\\1",
  "a\\d",
  "[\\w]",
  "[a--b]",
  "[[:alpha:]]",
  "a.b",
  "a++",
  "a*+",
  "(a",
  "a)",
  "a{,3}",
])("%s is more than JSON Schema recommends of a pattern", (pattern) => {
  expect(unportable(pattern)).toBeDefined();
});

test("every published pattern is no more than JSON Schema 2020-12 §6.4 recommends", () => {
  for (const [document, value] of Object.entries(published))
    for (const pattern of patternsIn(value)) expect([document, pattern, unportable(pattern)]).toEqual([document, pattern, undefined]);
  expect(new Set(patternsIn(published)).size).toBeGreaterThan(5);
  expect(unportable(KEY_PATTERN)).toBeUndefined();
});

test("every published pattern is that of a schema of the contracts, and none of these is left out", () => {
  expect([...new Set(patternsIn(published))].sort()).toEqual([...schemasByPattern().keys()].sort());
});

test("the docs hold no pattern of a schema, nor a regular expression of one dialect alone", async () => {
  const docs = join(import.meta.dirname, "..", "docs");
  for (const file of (await readdir(docs)).filter((name) => name.endsWith(".md"))) {
    const text = await readFile(join(docs, file), "utf8");
    expect([file, /"pattern"\s*:|\(\?[:<=!P]/.exec(text)?.[0]]).toEqual([file, undefined]);
  }
});

/** What fits one schema or another; from each of these many more are made that nearly do. */
const SEEDS = [
  "0190a0b0-1c2d-7e3f-8a4b-0123456789ab",
  "0190A0B0-1C2D-7E3F-BA4B-0123456789AB",
  "550e8400-e29b-41d4-a716-446655440000",
  "00000000-0000-0000-0000-000000000000",
  "ffffffff-ffff-ffff-ffff-ffffffffffff",
  "2024-02-29T23:59:59Z",
  "2023-02-29T00:00:00Z",
  "2026-11-30T12:00:00.123456Z",
  "2026-12-31T12:00:00+05:30",
  "read",
  "write:tasks:support/billing",
  "admin:my_type-2:a~@%+=-/b.c",
  "abc123def456",
  "first.o'last+tag@mail.example.com",
  "a..b@example.com",
  ".a@example.com",
  "Order:42@shop~x%2F",
];
/** Each of these is a digit, a letter, a space or an end of a line to one dialect and not to another, or has a meaning in a pattern. */
const ODD = [
  "\n",
  "\r",
  "\u2028",
  "\u00a0",
  "\ufeff",
  "\u001c",
  "٣",
  "７",
  "ſ",
  "K",
  "é",
  "😀",
  "",
  " ",
  "-",
  ".",
  "/",
  "\\",
  "]",
  "^",
  "A",
  "z",
  "0",
];
const samples = [
  ...new Set([
    "",
    ...SEEDS.flatMap((seed) => [
      seed,
      ...[...seed].flatMap((_, place) => ODD.map((odd) => seed.slice(0, place) + odd + seed.slice(place + 1))),
      ...ODD.flatMap((odd) => [odd + seed, seed + odd]),
      ...SEEDS.map((other) => seed + other),
    ]),
  ]),
  // To Python's $, a line feed at the end is no part of the text: it has no other anchor that JSON Schema recommends.
].filter((sample) => !sample.endsWith("\n"));

test("to Python, Go and JavaScript every published pattern says the same of a text as the schema that is enforced", async () => {
  const python = await loadPyodide();
  const search = python.runPython(`
import json, re
def search(pattern, samples):
    compiled = re.compile(pattern)
    return json.dumps([compiled.search(sample) is not None for sample in json.loads(samples)])
search`) as (pattern: string, samples: string) => string;
  for (const [pattern, schema] of schemasByPattern()) {
    const inPython = JSON.parse(search(pattern, JSON.stringify(samples))) as boolean[];
    const inGo = RE2JS.compile(pattern);
    const inJavaScript = [new RegExp(pattern), new RegExp(pattern, "u")];
    const fitting = samples.filter((sample, i) => {
      // What a schema asks besides its pattern, such as a length, is in the document by another word, or in its description.
      const fits = !z.safeParse(schema, sample).error?.issues.some(({ code }) => code === "invalid_format");
      const said = { Python: inPython[i], Go: inGo.matcher(sample).find(), JavaScript: inJavaScript.map((each) => each.test(sample)) };
      expect([pattern, sample, said]).toEqual([pattern, sample, { Python: fits, Go: fits, JavaScript: [fits, fits] }]);
      return fits;
    });
    expect([pattern, fitting.length > 0, fitting.length < samples.length]).toEqual([pattern, true, true]);
  }
});
