import { z } from "zod";
import { isSeen } from "./unseen.ts";

/** Characters that are not seen, but may be part of a word or of an emoji: they tell no names apart. */
const DROPPED = /\u200c|\u200d|[\u180b-\u180d\u180f]|[\ufe00-\ufe0f]|[\u{e0100}-\u{e01ef}]/gu;

/**
 * Characters of Unicode 15 to 17 that are written in several ways: they are decomposed, or marks that stand in an order.
 * Postgres 15 goes by Unicode 14, and leaves them as they are: what is one name here would be two there.
 */
const TOO_NEW = [
  "\\u0897\\u1acf-\\u1add\\u1ae0-\\u1aeb\\ua7f1\\u{105c9}\\u{105e4}\\u{10d69}-\\u{10d6d}\\u{10efa}\\u{10efb}\\u{10efd}-\\u{10eff}\\u{11383}\\u{11385}\\u{1138e}\\u{11391}",
  "\\u{113c5}\\u{113c7}\\u{113c8}\\u{113ce}-\\u{113d0}\\u{11f41}\\u{11f42}\\u{16121}-\\u{16128}\\u{1612f}\\u{16d68}-\\u{16d6a}\\u{1ccd6}-\\u{1ccf9}",
  "\\u{1e030}-\\u{1e06d}\\u{1e08f}\\u{1e4ec}-\\u{1e4ef}\\u{1e5ee}\\u{1e5ef}\\u{1e6e3}\\u{1e6e6}\\u{1e6ee}\\u{1e6ef}\\u{1e6f5}",
].join("");
const IS_TOO_NEW = new RegExp(`[${TOO_NEW}]`, "u");

const fold = (character: string) => character.toLowerCase().toUpperCase().toLowerCase();

/**
 * The key by which names are compared: NFKC_Casefold (Unicode 5.18, D146 and D147), but that a dotless i counts as an i.
 * The database has the same as `name_key()`, which its unique indexes are made of.
 */
export const nameKey = (name: string): string => Array.from(name.normalize("NFKD"), fold).join("").replace(DROPPED, "").normalize("NFKC");

/** Whether two names count as one: they differ in nothing that can be seen but case. */
export const sameName = (one: string, other: string): boolean => nameKey(one) === nameKey(other);

const UUID_SHAPE = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text is written as UUIDs are, be it one of RFC 9562 or not: it would be taken for an id. */
export const looksLikeId = (text: string): boolean => UUID_SHAPE.test(text);

/** A display name: 1 to 64 characters that can be seen; it may not look like an id. */
export const Name = z
  .string()
  // What is too long meets no pattern and is not normalized: that takes far longer than its length tells.
  .max(64, { error: "must have at most 64 characters", abort: true })
  // No patterns, so not in the published schema: what a space or a control character is differs between dialects.
  .refine((name) => /^\S(.*\S)?$/u.test(name), "must not be empty, nor begin or end with a space")
  // Pages show a run of spaces as one.
  .refine((name) => !/\p{Zs}{2}/u.test(name), "must not hold two spaces in a row")
  .refine(isSeen, "must not hold control characters, nor others that can't be seen")
  .refine((name) => !IS_TOO_NEW.test(name), "must not hold marks, nor letters of several forms, that are newer than Unicode 14")
  .refine((name) => !looksLikeId(nameKey(name)), "must not look like an id")
  .describe("A name of 1 to 64 characters");
