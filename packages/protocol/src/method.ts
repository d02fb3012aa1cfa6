import { z } from "zod";
import type { ErrorCode } from "./errors.ts";

/** The contract of one method: all that a client, a document or a command line needs to know of it. */
export interface Method<P extends z.ZodObject = z.ZodObject, R extends z.ZodType = z.ZodType> {
  /** One sentence, for people. */
  readonly summary: string;
  /**
   * A `read` changes nothing and may be retried. A `write` runs in a transaction and is recorded. An `append` adds to
   * the log of a session, which is a record itself.
   */
  readonly effect: "read" | "write" | "append";
  /** Strict, by name; by position in the order of its keys, those that are required first. */
  readonly params: P;
  readonly result: R;
  /** What it may answer besides the errors any call may get. */
  readonly errors: readonly ErrorCode[];
  /** What a call costs of its caller's budget; left out, it follows from the effect. */
  readonly cost?: number;
  /** It takes authority back: no flood of other calls may hold it up. */
  readonly takesBack?: true;
  /** The name of the tool that it is to MCP clients; left out, it is none. What makes or shows a secret is never one. */
  readonly tool?: string;
}

/** Declares a method with its types inferred. */
export const method = <P extends z.ZodObject, R extends z.ZodType>(contract: Method<P, R>): Method<P, R> => contract;

/** Most bytes of JSON in a page of a list: 256 KiB. A page has at least one row, however large that is. */
export const PAGE_BYTES = 262_144;

/**
 * What JSON takes where it is kept, in bytes of UTF-8: there numbers are written out in full, 1e300 with 301 digits.
 * @param text as JSON.stringify writes it
 */
export function storedBytes(text: string): number {
  let bytes = new TextEncoder().encode(text).length;
  for (const [, exponent] of text.matchAll(/\de[+-](\d{1,3})/g)) bytes += Number(exponent);
  return bytes;
}

/** A UUID version 7 (RFC 9562 §5.7): the id of everything that Gatehouse makes. */
export const Id = z.uuidv7().describe("UUIDv7");

/** A moment: RFC 3339, UTC. */
export const Timestamp = z.iso.datetime().describe("RFC 3339, UTC");
/** A moment that a caller names: RFC 3339, in UTC or with an offset. */
export const Moment = z.iso.datetime({ offset: true }).describe("RFC 3339");

/**
 * Params of a method that answers page by page, in the order of ids: pages of at most `limit` rows, and of {@link PAGE_BYTES}.
 * A page of a list that leaves rows out may hold fewer, or none, though more follow: it ends after so many that were looked at.
 */
export const page = {
  after: Id.optional().describe("the `next` of the page before; left out = the first page"),
  limit: z.number().int().min(1).max(1000).default(200).describe("most rows of a page"),
};

/** The `after` of the next page; null on the last one alone. */
export const Next = Id.nullable();

/** Whether a value is one of JSON: one walk, where zod's own schema tries a union at each value. */
function isJson(value: unknown): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (Array.isArray(value)) return value.every(isJson);
  return z.core.util.isPlainObject(value) && Object.values(value).every(isJson);
}

/** Any JSON value, of no more levels than the stack holds: servers bound them before. */
export const Json = z.custom<z.core.util.JSONType>(isJson);
// JSON Schema's word for that is {}.
Json._zod.toJSONSchema = () => ({});
