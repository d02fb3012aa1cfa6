/** Characters that steer a terminal: control characters, and those that change the direction of text. */
const STEERING = /[\p{Cc}\p{Bidi_Control}]/gu;

/** A text by other people or servers, without the characters that steer a terminal. */
export const safe = (text: string): string => text.replace(STEERING, "\ufffd");

/** The same of text of several lines, such as an answer: its line ends and tabs stay. */
export const safeLines = (text: string): string => text.replace(STEERING, (char) => (char === "\n" || char === "\t" ? char : "\ufffd"));

/** A whole value as JSON has it, with every text in it made safe, the keys of its objects as well. */
export const allSafe = <T>(value: T, made = safe): T => {
  const safely = (_key: string, part: unknown): unknown => {
    if (typeof part === "string") return made(part);
    if (part === null || typeof part !== "object" || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, held]) => [safe(key), held]));
  };
  return JSON.parse(JSON.stringify(value ?? null), safely) as T;
};

/** A value as JSON; what JSON itself leaves as it is, but a terminal obeys, is escaped. */
export const safeJson = (value: unknown, indent = 2): string =>
  (JSON.stringify(value, null, indent) ?? "").replace(STEERING, (char) =>
    char === "\n" ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
