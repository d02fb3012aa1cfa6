import { z } from "zod";

/** Signs of scripts that suppress a vowel, and so join letters: canonical combining class 9 (Virama). */
const VIRAMA =
  "[\\u094d\\u09cd\\u0a4d\\u0acd\\u0b4d\\u0bcd\\u0c4d\\u0ccd\\u0d3b\\u0d3c\\u0d4d\\u0dca\\u0e3a\\u0eba\\u0f84\\u1039\\u103a\\u1714\\u1715\\u1734\\u17d2" +
  "\\u1a60\\u1b44\\u1baa\\u1bab\\u1bf2\\u1bf3\\u2d7f\\ua806\\ua82c\\ua8c4\\ua953\\ua9c0\\uaaf6\\uabed\\u{10a3f}\\u{11046}\\u{11070}\\u{1107f}\\u{110b9}" +
  "\\u{11133}\\u{11134}\\u{111c0}\\u{11235}\\u{112ea}\\u{1134d}\\u{113ce}-\\u{113d0}\\u{11442}\\u{114c2}\\u{115bf}\\u{1163f}\\u{116b6}\\u{1172b}\\u{11839}" +
  "\\u{1193d}\\u{1193e}\\u{119e0}\\u{11a34}\\u{11a47}\\u{11a99}\\u{11c3f}\\u{11d44}\\u{11d45}\\u{11d97}\\u{11f41}\\u{11f42}\\u{1612f}]";
/** Letters of scripts that join their letters. What of them joins to which side, JavaScript does not know. */
const CURSIVE = `[${["Arabic", "Syriac", "Mandaic", "Mongolian", "Nko", "Adlam", "Hanifi_Rohingya", "Phags_Pa"].map((name) => `\\p{Script=${name}}`).join("")}]`;

/** Characters that are not seen, where they are part of a word or of an emoji. */
const MEANT = new RegExp(
  [
    // Zero width (non-)joiners in words: UAX #31, 2.3, rules A1, A2 and B.
    `(?<=${CURSIVE}\\p{M}*)\\u200c(?=${CURSIVE})`,
    `(?<=\\p{L}\\p{M}*${VIRAMA}\\p{M}*)(?:\\u200c(?=\\p{L})|\\u200d)`,
    // Emoji of several (UTS #51, ED-16), and how one is shown.
    "(?<=\\p{ExtPict}(?:\\p{EMod}|\\ufe0f)?)\\u200d(?=\\p{ExtPict})",
    "(?<=\\p{Emoji})[\\ufe0e\\ufe0f]",
    // Variants of ideographs, as in Japanese family names, and of Mongolian letters.
    "(?<=\\p{Script=Han})[\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]",
    "(?<=\\p{Script=Mongolian})[\\u180b-\\u180d\\u180f]",
  ].join("|"),
  "gu",
);
/** Control characters, bidirectional ones and tags among them; others that are not seen; and a blank that is no space. */
const UNSEEN = /[\p{C}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** Those of MEANT: they tell no names apart. */
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
  .refine((name) => !UNSEEN.test(name.replace(MEANT, "")), "must not hold control characters, nor others that can't be seen")
  .refine((name) => !looksLikeId(nameKey(name)), "must not look like an id")
  .describe("A name of 1 to 64 characters");
