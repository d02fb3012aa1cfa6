import { mkdir, readFile, readlink, realpath, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { replaceFile } from "../replace.ts";
import { runtimeArgs } from "../runtime.ts";
import { type McpClient, mcpClients } from "./clients.ts";
import { editJson, editToml, type Launch } from "./edit.ts";

/** What was asked for besides the client. */
export interface Install {
  /** Arguments of `me mcp`. */
  args: readonly string[];
  project?: boolean | undefined;
  print?: boolean | undefined;
}

/** What became of a client's configuration. */
export interface Installed {
  client: string;
  file: string;
  changed: boolean;
  /** The file as it was before, if there was one and it was changed. */
  backup: string | null;
  /** With --print: the lines of an otherwise empty file. */
  lines: string[] | null;
  next: string;
}

const NAME = "gatehouse";

/** How a client starts `me`: without PATH, and without settings of the folder that the client has open. */
export const launchOf = (args: readonly string[]): Launch => ({
  command: process.execPath,
  args: [...runtimeArgs, resolve(process.argv[1] as string), "mcp", ...args],
});

/**
 * Writes the configuration of an MCP client, in which no secret ever stands: `me mcp` finds its login by itself. All else
 * in the file stays, and it is kept as it was beside it. Done again, it changes nothing.
 * @throws CliError for a client that it does not know, or a file that it can't read or change
 */
export async function install(me: Me, name: string, { args, project, print }: Install): Promise<Installed> {
  const client = Object.hasOwn(mcpClients, name) ? mcpClients[name] : undefined;
  if (!client) throw new CliError("usage", `There is no client ${name} here. There are: ${Object.keys(mcpClients).join(", ")}.`);
  if (project && client.projectFile === undefined) throw new CliError("usage", `${client.title} has no configuration for one folder.`);
  const launch = launchOf(["--server", await me.server(), ...args]);
  const named = project ? resolve(client.projectFile as string) : client.file(me.settings);
  const file = await behindLinks(named);
  if (project) await mustBeHere(named, file);
  const answer = { client: client.title, file, changed: false, backup: null, lines: null, next: client.next };
  if (print) return { ...answer, lines: edited("", client, launch, false)?.trimEnd().split("\n") ?? [] };

  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new CliError("error", `${file} can't be read (${error.code}).`);
  });
  const before = bytes === undefined ? "" : textOf(bytes);
  const after = before === undefined ? undefined : edited(before, client, launch, project ?? false);
  if (after === undefined)
    throw new CliError(
      "error",
      `${file} can't be changed as it is: it must be ${client.format.toUpperCase()} in UTF-8, with each name once, and "${client.servers}" a table of servers. Mend it, or put in by hand what --print shows. Nothing was changed.`,
    );
  if (bytes === undefined) {
    await mkdir(dirname(file), { recursive: true });
    await replaceFile(file, after);
    return { ...answer, changed: true };
  }
  if (after === before) return answer;
  const mode = (await stat(file)).mode & 0o777;
  const backup = await keepBeside(file, bytes, mode);
  await replaceFile(file, after, mode);
  return { ...answer, changed: true, backup };
}

/** @param foreign whether the text is of a folder that others may have written */
function edited(text: string, { format, servers, typed }: McpClient, launch: Launch, foreign: boolean): string | undefined {
  const place = { table: servers, name: NAME, foreign };
  return format === "toml" ? editToml(text, place, launch) : editJson(text, place, { ...(typed && { type: "stdio" }), ...launch });
}

/** The file that a path leads to by its links, also where it is not there yet: so a link stays one. */
async function behindLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return path;
    const folder = await behindLinks(dirname(path));
    const to = await readlink(path).catch(() => undefined);
    return to === undefined ? join(folder, basename(path)) : behindLinks(resolve(folder, to));
  }
}

/**
 * The configuration of a folder that others may have written lies in that folder: a link there could have it written to
 * any file of the person's. @throws CliError
 */
async function mustBeHere(named: string, file: string): Promise<void> {
  const here = await realpath(".");
  if (file.startsWith(here.endsWith(sep) ? here : here + sep)) return;
  throw new CliError(
    "error",
    `${relative(process.cwd(), named)} is behind a link that leads out of this folder, to ${file}. Nothing was changed. Remove the link, or leave out --project.`,
  );
}

/** The text of bytes, whole; undefined where they are not UTF-8, as to write them back would change them. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** Keeps what a file was, beside it, under a name that nothing has yet. @returns where */
async function keepBeside(file: string, bytes: Uint8Array, mode: number): Promise<string> {
  for (let n = 1; ; n++) {
    const backup = n === 1 ? `${file}.bak` : `${file}.${n}.bak`;
    try {
      await writeFile(backup, bytes, { flag: "wx", mode, flush: true });
      return backup;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}
