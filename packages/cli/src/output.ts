import { styleText } from "node:util";
import Table from "cli-table3";

/** Rows of text in columns, with a heading; or a sentence, when there are no rows. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return none;
  const made = new Table({
    head: heading.map((text) => styleText("bold", text)),
    chars: Object.fromEntries(
      [
        "top",
        "top-mid",
        "top-left",
        "top-right",
        "bottom",
        "bottom-mid",
        "bottom-left",
        "bottom-right",
        "left",
        "left-mid",
        "mid",
        "mid-mid",
        "right",
        "right-mid",
      ].map((part) => [part, ""]),
    ),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
  });
  made.options.chars.middle = "";
  made.push(...rows.map((row) => [...row]));
  return lines(made.toString());
}

/** Facts, one a line: `Name:  value`. Those that are undefined are left out. */
export function facts(entries: Record<string, string | undefined>): string {
  const present = Object.entries(entries).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const width = Math.max(...present.map(([label]) => label.length)) + 1;
  return present.map(([label, value]) => `${styleText("bold", `${label}:`.padEnd(width))} ${value}`).join("\n");
}

/** A moment, as people read it: to the minute, UTC. */
export const moment = (at: string | null, never = "never"): string => (at === null ? never : `${at.slice(0, 16).replace("T", " ")}Z`);

/** Says something to the person, beside the result. */
export const note = (text: string): void => {
  process.stderr.write(`${safeLines(text)}\n`);
};

const STEERING = /[\p{Cc}\p{Bidi_Control}]/gu;

/** What other people named, and other servers answer, may hold anything: nothing of it may steer the terminal. */
export const safe = (text: string): string => text.replace(STEERING, "\ufffd");

const PLAIN_WORD = /^[\w@%+:,./][\w@%+=:,./-]*$/;

/**
 * One word of a command to be copied, quoted for a shell: it may hold what somebody else wrote. A principal is named by its
 * id there, not by its name, which may be an option's, or somebody else's too.
 */
export const word = (text: string): string => {
  const shown = safe(text);
  return PLAIN_WORD.test(shown) ? shown : `'${shown.replaceAll("'", "'\\''")}'`;
};

/** The same of text of several lines, such as an answer: its line ends and tabs stay. */
export const safeLines = (text: string): string => text.replace(STEERING, (char) => (char === "\n" || char === "\t" ? char : "\ufffd"));

/** A whole result, with every text in it made safe. */
export const allSafe = <T>(result: T): T =>
  JSON.parse(JSON.stringify(result ?? null), (_key, value: unknown) => (typeof value === "string" ? safe(value) : value)) as T;

/** A result as JSON; what JSON itself leaves as it is, but a terminal obeys, is escaped. */
export const json = (result: unknown, indent = 2): string =>
  (JSON.stringify(result, null, indent) ?? "").replace(STEERING, (char) =>
    char === "\n" ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
