/** Types of Postgres, by the numbers they have in `pg_type`. */
const oid = {
  bool: 16,
  bytea: 17,
  json: 114,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  jsonb: 3802,
};
const TEXT_ARRAYS = [1001, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1182, 1185, 1231, 2951];
const BOOL_ARRAY = 1000;
const NUMBER_ARRAYS = new Set([1005, 1007, 1021, 1022]);
const JSON_ARRAYS = [199, 3807];

type Codec = { to: number; from: number[]; serialize: (value: unknown) => string; parse: (text: string) => unknown };

const same = (text: string) => text;
const bytes = (value: Uint8Array) => `\\x${Buffer.from(value).toString("hex")}`;

/** A value of JavaScript as the text of one of Postgres. */
function textOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return bytes(value);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

const arrayOf = (value: unknown): string =>
  Array.isArray(value) ? `{${value.map((each) => (each === null ? "NULL" : quoted(textOf(each)))).join(",")}}` : textOf(value);
const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** The elements of an array of one dimension. */
const elementsOf = (read: (text: string) => unknown) => (text: string) =>
  Array.from(text.matchAll(/"((?:[^"\\]|\\.)*)"|[^,{}]+/gs), ([whole, inQuotes]) => {
    if (inQuotes !== undefined) return read(inQuotes.replace(/\\(.)/gs, "$1"));
    return whole === "NULL" ? null : read(whole);
  });

const arrays = (to: number, read: (text: string) => unknown): Codec => ({ to, from: [to], serialize: arrayOf, parse: elementsOf(read) });

/** Bytes in hex; or escaped, where a pooler keeps us from setting `bytea_output`. */
function readBytes(text: string): Buffer {
  if (text.startsWith("\\x")) return Buffer.from(text.slice(2), "hex");
  return Buffer.from(
    text.replace(/\\(\d{3}|\\)/g, (_all, code: string) => (code === "\\" ? code : String.fromCharCode(Number.parseInt(code, 8)))),
    "latin1",
  );
}

/**
 * How values go to Postgres and come back, as an option of postgres.js. Its own types differ in two ways: it knows arrays only
 * if each new connection asks the database for their types, and it converts text that is JSON or a moment already once more.
 * @param readMoment what a `timestamptz` becomes
 */
export const valueTypes = (readMoment: (text: string) => unknown): Record<string, Codec> => ({
  bool: { to: oid.bool, from: [oid.bool], serialize: textOf, parse: (text) => text === "t" },
  bytea: { to: oid.bytea, from: [oid.bytea], serialize: textOf, parse: readBytes },
  json: { to: oid.json, from: [oid.json, oid.jsonb], serialize: textOf, parse: (text) => JSON.parse(text) },
  timestamptz: { to: oid.timestamptz, from: [oid.timestamptz], serialize: textOf, parse: readMoment },
  timestamp: { to: oid.timestamp, from: [oid.timestamp, oid.date], serialize: textOf, parse: same },
  boolArray: arrays(BOOL_ARRAY, (text) => text === "t"),
  ...Object.fromEntries(TEXT_ARRAYS.map((type) => [`array${type}`, arrays(type, NUMBER_ARRAYS.has(type) ? Number : same)])),
  ...Object.fromEntries(JSON_ARRAYS.map((type) => [`array${type}`, arrays(type, (text) => JSON.parse(text))])),
});
