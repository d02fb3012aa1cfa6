import { isDeepStrictEqual } from "node:util";
import { applyEdits, modify, type ParseError, parse as parseJson } from "jsonc-parser";
import { parse as parseToml } from "smol-toml";

/** How a client starts an MCP server on this machine. */
export interface Launch {
  command: string;
  args: readonly string[];
}

/** Where a server's entry stands: under which name, in which table of servers. */
interface Place {
  table: string;
  name: string;
  /** True for a file in a folder that others may have written: an entry that is there is replaced whole. */
  foreign: boolean;
}
type Table = Record<string, unknown>;
type Tables = Record<string, Table>;

/**
 * Puts a server's entry into a JSON text; comments, order, and all that the entry or the rest says besides stay.
 * @returns undefined where that can't be done: the text can't be read, or what came of it does not say what it should
 */
export function editJson(text: string, place: Place, entry: Launch & { type?: string }): string | undefined {
  // Some editors begin each file with a byte order mark, which no parser of JSON takes.
  if (!text.startsWith(MARK)) return editPlainJson(text, place, entry);
  const edited = editPlainJson(text.slice(MARK.length), place, entry);
  return edited === undefined ? undefined : MARK + edited;
}

const MARK = "\ufeff";

function editPlainJson(text: string, { table, name, foreign }: Place, entry: Launch & { type?: string }): string | undefined {
  const source = text.trim() === "" ? "{}\n" : text;
  const before = readJson(source);
  if (!before || !mayHold(before, table)) return undefined;
  const old = before[table]?.[name];
  const stays = foreign ? undefined : staying(old);
  const wanted = { ...stays, ...entry };
  if (isDeepStrictEqual(old, wanted)) return text;
  const indent = /^([ \t]+)\S/m.exec(source)?.[1] ?? "  ";
  const formattingOptions = {
    insertSpaces: !indent.startsWith("\t"),
    tabSize: indent.length,
    eol: source.includes("\r\n") ? "\r\n" : "\n",
  };
  const put = (into: string, path: string[], value: unknown) => applyEdits(into, modify(into, path, value, { formattingOptions }));
  const edited =
    stays === undefined
      ? put(source, [table, name], entry)
      : Object.entries(entry).reduce((into, [field, value]) => put(into, [table, name, field], value), source);
  // A name that stands there twice counts where it stands last, and is changed where it stands first.
  return isDeepStrictEqual(readJson(edited), { ...before, [table]: { ...before[table], [name]: wanted } }) ? edited : undefined;
}

/**
 * The same in a TOML text, under a heading of its own; every other line stays as it is. No library writes TOML back with its
 * comments: so statements are changed, and what came of it is read to see that it is right.
 */
export function editToml(text: string, { table, name, foreign }: Place, { command, args }: Launch): string | undefined {
  const before = readToml(text);
  if (!before || !mayHold(before, table)) return undefined;
  const old = before[table]?.[name];
  const stays = foreign ? undefined : staying(old);
  const entry = { command, args: [...args] };
  const wanted = { ...stays, ...entry };
  if (isDeepStrictEqual(old, wanted)) return text;
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const ours = [`command = ${JSON.stringify(command)}`, `args = [${args.map((arg) => JSON.stringify(arg)).join(", ")}]`];
  const all = statements(text);
  const heading = all.findIndex((each) => isHeading(each) && isDeepStrictEqual(readToml(each), { [table]: { [name]: {} } }));
  const gone = (each: string) => Object.keys(readToml(each) ?? {}).some((key) => stays === undefined || key in entry);
  const next = all.findIndex((each, at) => at > heading && isHeading(each));
  const end = next === -1 ? all.length : next;
  const edited =
    heading === -1
      ? [...(text.trim() === "" ? [] : [text.trimEnd(), ""]), `[${table}.${name}]`, ...ours, ""].join(eol)
      : [
          ...all.slice(0, heading),
          [(all[heading] as string).trimEnd(), ...ours, ""].join(eol),
          ...all.slice(heading + 1, end).filter((each) => !gone(each)),
          ...all.slice(end),
        ].join("");
  return isDeepStrictEqual(readToml(edited), { ...before, [table]: { ...before[table], [name]: wanted } }) ? edited : undefined;
}

const isTable = (value: unknown): value is Table => typeof value === "object" && value !== null && !Array.isArray(value);

const mayHold = (tables: Tables, table: string): boolean => tables[table] === undefined || isTable(tables[table]);

/** What of an entry stays besides what is put in; nothing of one that is reached at an address, as it is another thing. */
const staying = (entry: unknown): Table | undefined => (isTable(entry) && !("url" in entry) ? entry : undefined);

function readJson(text: string): Tables | undefined {
  const errors: ParseError[] = [];
  const read: unknown = parseJson(text, errors, { allowTrailingComma: true });
  return errors.length === 0 && isTable(read) ? (read as Tables) : undefined;
}

function readToml(text: string): Tables | undefined {
  try {
    return JSON.parse(JSON.stringify(parseToml(text))) as Tables;
  } catch {
    return undefined;
  }
}

const isHeading = (statement: string): boolean => statement.trimStart().startsWith("[");

/** A TOML text in statements, each of whole lines: a heading, a name with its value, a comment, or nothing. */
function statements(text: string): string[] {
  const made: string[] = [];
  let open = "";
  for (const line of text.split(/(?<=\n)/)) {
    open += line;
    if (readToml(open) === undefined) continue;
    made.push(open);
    open = "";
  }
  return made;
}
