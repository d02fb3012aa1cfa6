/** Signs of scripts that suppress a vowel, and so join letters: canonical combining class 9 (Virama). */
const VIRAMA =
  "[\\u094d\\u09cd\\u0a4d\\u0acd\\u0b4d\\u0bcd\\u0c4d\\u0ccd\\u0d3b\\u0d3c\\u0d4d\\u0dca\\u0e3a\\u0eba\\u0f84\\u1039\\u103a\\u1714\\u1715\\u1734\\u17d2" +
  "\\u1a60\\u1b44\\u1baa\\u1bab\\u1bf2\\u1bf3\\u2d7f\\ua806\\ua82c\\ua8c4\\ua953\\ua9c0\\uaaf6\\uabed\\u{10a3f}\\u{11046}\\u{11070}\\u{1107f}\\u{110b9}" +
  "\\u{11133}\\u{11134}\\u{111c0}\\u{11235}\\u{112ea}\\u{1134d}\\u{113ce}-\\u{113d0}\\u{11442}\\u{114c2}\\u{115bf}\\u{1163f}\\u{116b6}\\u{1172b}\\u{11839}" +
  "\\u{1193d}\\u{1193e}\\u{119e0}\\u{11a34}\\u{11a47}\\u{11a99}\\u{11c3f}\\u{11d44}\\u{11d45}\\u{11d97}\\u{11f41}\\u{11f42}\\u{1612f}]";
/** Letters of scripts that join their letters. What of them joins to which side, JavaScript does not know. */
const CURSIVE = `[${["Arabic", "Syriac", "Mandaic", "Mongolian", "Nko", "Adlam", "Hanifi_Rohingya", "Phags_Pa"].map((name) => `\\p{Script=${name}}`).join("")}]`;

/** Characters that are not seen, where they are part of a word or of an emoji. What may be long is bounded: so it is looked at in linear time. */
const PARTS = [
  // Zero width (non-)joiners in words: UAX #31, 2.3, rules A1, A2 and B.
  `\\u200c(?<=${CURSIVE}\\p{M}{0,8}\\u200c)(?=${CURSIVE})`,
  `\\u200c(?<=\\p{L}\\p{M}{0,8}${VIRAMA}\\p{M}{0,8}\\u200c)(?=\\p{L})`,
  `\\u200d(?<=\\p{L}\\p{M}{0,8}${VIRAMA}\\p{M}{0,8}\\u200d)`,
  // Emoji of several (UTS #51, ED-16), and how one is shown.
  "(?<=\\p{ExtPict}(?:\\p{EMod}|\\ufe0f)?)\\u200d(?=\\p{ExtPict})",
  "(?<=\\p{ExtPict})[\\ufe0e\\ufe0f]",
  "(?<=[#*0-9])\\ufe0f(?=\\u20e3)",
  "(?<=[\\u1820-\\u18aa])[\\u180b-\\u180d\\u180f]",
];
/** Variants of ideographs, as in Japanese family names. They are so many that a long text of them could hide another. */
const VARIANTS = "(?<=\\p{Script=Han})[\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]";
/** Control characters, bidirectional ones and tags among them; others that are not seen; and blanks that are no space, or a musical sign. */
const UNSEEN = "\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}\\u2800\\u{16fe4}\\u{1d159}";

const IN_NAMES = new RegExp(`(${[...PARTS, VARIANTS].join("|")})|[\\p{C}${UNSEEN}]`, "gu");
const IN_TEXTS = new RegExp(`([\\t\\n\\r]|${PARTS.join("|")})|[${UNSEEN}]`, "gu");
const replaced = (text: string, pattern: RegExp, by: string) => text.replace(pattern, (_, part: string | undefined) => part ?? by);

/** Whether a name holds nothing that can't be seen, but what is part of a word or of an emoji. */
export const isSeen = (name: string): boolean => replaced(name, IN_NAMES, "") === name;

/** A text of any length, with each character that can't be seen replaced: but tabs, ends of lines, and what is part of a word or of an emoji. */
export const replaceUnseen = (text: string, by: string): string => replaced(text, IN_TEXTS, by);
