import { isDeepStrictEqual } from "node:util";
import { applyEdits, modify, type ParseError, parse as parseJson } from "jsonc-parser";
import { parse as parseToml } from "smol-toml";
import { CliError } from "../exit.ts";

/** How a client starts an MCP server on this machine. */
export interface Launch {
  command: string;
  args: readonly string[];
}

const UNREADABLE = "can't be read as it is. Mend it, or put in what --print shows by hand. Nothing was changed.";

/** Puts a value into a JSON text, at a path; comments, order and all else stay. @throws CliError */
export function editJson(text: string, path: readonly [string, string], value: object): string {
  const source = text.trim() === "" ? "{}\n" : text;
  const errors: ParseError[] = [];
  const before = parseJson(source, errors, { allowTrailingComma: true }) as Record<string, Record<string, unknown>> | undefined;
  if (errors.length > 0 || typeof before !== "object" || Array.isArray(before)) throw new CliError("error", `The file ${UNREADABLE}`);
  const [table, name] = path;
  if (isDeepStrictEqual(before[table]?.[name], value)) return text;
  const indent = /^([ \t]+)\S/m.exec(source)?.[1] ?? "  ";
  const formattingOptions = {
    insertSpaces: !indent.startsWith("\t"),
    tabSize: indent.length,
    eol: source.includes("\r\n") ? "\r\n" : "\n",
  };
  return applyEdits(source, modify(source, [...path], value, { formattingOptions }));
}

/**
 * Puts a table into a TOML text, in place of the one by that name, or at the end; every other line stays as it is. No
 * library writes TOML back with its comments: so lines are changed, and what came of it is read to see that it is right.
 * @throws CliError where the text can't be read, or has the table in a form that lines do not show
 */
export function editToml(text: string, [table, name]: readonly [string, string], { command, args }: Launch): string {
  const before = readToml(text);
  const entry = { command, args: [...args] };
  if (isDeepStrictEqual(before[table]?.[name], entry)) return text;
  const lines = [
    `[${table}.${name}]`,
    `command = ${JSON.stringify(command)}`,
    `args = [${args.map((arg) => JSON.stringify(arg)).join(", ")}]`,
  ];
  const kept = without(text, `${table}.${name}`);
  const edited = `${kept === "" ? "" : `${kept.trimEnd()}\n\n`}${lines.join("\n")}\n`;
  const wanted = { ...before, [table]: { ...before[table], [name]: entry } };
  if (!isDeepStrictEqual(readToml(edited), wanted)) throw new CliError("error", `The file ${UNREADABLE}`);
  return edited;
}

type Tables = Record<string, Record<string, unknown>>;

function readToml(text: string): Tables {
  try {
    return JSON.parse(JSON.stringify(parseToml(text))) as Tables;
  } catch {
    throw new CliError("error", `The file ${UNREADABLE}`);
  }
}

/** Without the table of a name, and those beneath it: from its heading up to the next one. */
function without(text: string, name: string): string {
  let inside = false;
  return text
    .split("\n")
    .filter((line) => {
      const heading = /^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$/.exec(line)?.[1];
      if (heading !== undefined) inside = heading === name || heading.startsWith(`${name}.`);
      return !inside;
    })
    .join("\n");
}
