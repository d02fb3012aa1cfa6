import { styleText } from "node:util";
import { safe, safeLines } from "@gatehouse/protocol";
import Table from "cli-table3";

export { allSafe, safe, safeJson as json, safeLines } from "@gatehouse/protocol";

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

const PLAIN_WORD = /^[\w@%+:,./][\w@%+=:,./-]*$/;

/**
 * One word of a command to be copied, quoted for a shell: it may hold what somebody else wrote. A principal is named by its
 * id there, not by its name, which may be an option's, or somebody else's too.
 */
export const word = (text: string): string => {
  const shown = safe(text);
  return PLAIN_WORD.test(shown) ? shown : `'${shown.replaceAll("'", "'\\''")}'`;
};

const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
