import fc from "fast-check";

/** Keys that reach into prototypes, and those that methods really take. */
const KEYS = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "id", "name", "slug", "agent", "ceiling", ""];

const key = fc.oneof(fc.constantFrom(...KEYS), fc.string({ maxLength: 8 }));
const scalar = fc.oneof(
  fc.constantFrom("null", "true", "false", "0", "-0", "1e400", "1.0000000000000000000001", '""', '"\\u0000"', '"\\ud800"'),
  fc.string().map((text) => JSON.stringify(text)),
  fc.double().map((number) => (Number.isFinite(number) ? String(number) : "0")),
);

/** The text of an object, whose keys may stand in it twice: no value in memory could say that. */
const object = (value: fc.Arbitrary<string>) =>
  fc
    .array(fc.tuple(key, value), { maxLength: 6 })
    .map((members) => `{${members.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`);
const array = (value: fc.Arbitrary<string>) => fc.array(value, { maxLength: 12 }).map((items) => `[${items.join(",")}]`);

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof({ depthSize: "small", withCrossShrink: true }, scalar, object(tie("value")), array(tie("value"))),
}));

const deep = (depth: number) =>
  fc.constantFrom("[".repeat(depth) + "]".repeat(depth), '{"id":'.repeat(depth) + "null".padEnd(depth + 4, "}"));
const huge = fc.integer({ min: 100_000, max: 300_000 }).chain((size) =>
  fc.constantFrom(
    `"${"x".repeat(size)}"`,
    `{"name":"${"x".repeat(size)}"}`,
    // Of no more values than a request may have.
    `[${`"${"x".repeat(size / 9000)}",`.repeat(9000)}0]`,
    `{${Array.from({ length: 9000 }, (_, i) => `"key-${i}":["${"x".repeat(size / 18_000)}"]`).join(",")}}`,
  ),
);

/** Text that a failing test shows the beginning of: some of it is very long. */
export class Junk {
  readonly text: string | undefined;
  constructor(text: string | undefined) {
    this.text = text;
  }
  [fc.toStringMethod](): string {
    const { text } = this;
    return text === undefined || text.length < 200 ? String(text) : `${text.slice(0, 200)}… (${text.length} characters)`;
  }
}
const junk = (text: string | undefined) => new Junk(text);

/** Whatever may stand as `params` in the text of a request: most of it is no params at all. Undefined = left out. */
export const anyParams: fc.Arbitrary<Junk> = fc
  .oneof(
    { weight: 12, arbitrary: value },
    { weight: 1, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: deep(10_000) },
    { weight: 1, arbitrary: huge },
  )
  .map(junk);

/** One of each kind of what generators may not come upon in every run. */
export const worstParams: Junk[] = [
  undefined,
  "null",
  "{}",
  "[]",
  '{"__proto__":{"kind":"u"}}',
  '{"constructor":{"prototype":{"kind":"u"}}}',
  '{"id":"1","id":"2"}',
  "[1,2,3,4,5,6,7,8,9]",
  "[".repeat(10_000) + "]".repeat(10_000),
  '{"id":'.repeat(10_000) + "null".padEnd(10_004, "}"),
  `{"name":"${"x".repeat(900_000)}"}`,
].map(junk);

/** Any request body: a call, a batch, or no JSON at all. */
export const anyBody: fc.Arbitrary<Junk> = fc
  .oneof(
    anyParams.map(({ text }) => callText("whoami", text)),
    fc.string().map((method) => callText(method, undefined)),
    fc.array(anyParams, { maxLength: 3 }).map((batch) => `[${batch.map(({ text }) => callText("agent.create", text)).join(",")}]`),
    fc.string(),
  )
  .map(junk);

/** Bodies of one byte too few, or of bytes that are no text. */
export const worstBodies: (string | Uint8Array)[] = [
  "",
  "{",
  "[]",
  "null",
  new Uint8Array([0xff, 0xfe]),
  new Uint8Array([0x22, 0xc3, 0x22]),
];

/** The text of a call, its members in either order. */
export function callText(method: string, params: string | undefined, paramsFirst = false): string {
  const named = `"jsonrpc":"2.0","id":1,"method":${JSON.stringify(method)}`;
  if (params === undefined) return `{${named}}`;
  return paramsFirst ? `{"params":${params},${named}}` : `{${named},"params":${params}}`;
}
