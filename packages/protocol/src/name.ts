import { z } from "zod";
import { isSeen } from "./unseen.ts";

/** Characters that are not seen, but may be part of a word or of an emoji: they tell no names apart. */
const DROPPED = /\u200c|\u200d|[\u180b-\u180d\u180f]|[\ufe00-\ufe0f]|[\u{e0100}-\u{e01ef}]/gu;

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
  .refine((name) => !looksLikeId(nameKey(name)), "must not look like an id")
  .describe("A name of 1 to 64 characters");
