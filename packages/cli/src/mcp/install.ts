import { mkdir, readFile, realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { replaceFile } from "../replace.ts";
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

/** Where `me` itself is: what a client starts needs no PATH. */
export const launchOf = (args: readonly string[]): Launch => ({
  command: process.execPath,
  args: [resolve(process.argv[1] as string), "mcp", ...args],
});

/**
 * Writes the configuration of an MCP client, in which no secret ever stands: `me mcp` finds its login by itself. All else
 * in the file stays, and it is kept as it was beside it. Done again, it changes nothing.
 * @throws CliError for a client that it does not know, or a file that it can't read
 */
export async function install(me: Me, name: string, { args, project, print }: Install): Promise<Installed> {
  const client = Object.hasOwn(mcpClients, name) ? mcpClients[name] : undefined;
  if (!client) throw new CliError("usage", `There is no client ${name} here. There are: ${Object.keys(mcpClients).join(", ")}.`);
  if (project && client.projectFile === undefined) throw new CliError("usage", `${client.title} has no configuration for one folder.`);
  const launch = launchOf(["--server", await me.server(), ...args]);
  const named = project ? resolve(client.projectFile as string) : client.file(me.settings);
  const file = await realpath(named).catch(() => named); // a link stays one
  const answer = { client: client.title, file, changed: false, backup: null, lines: null, next: client.next };
  if (print) return { ...answer, lines: edited("", client, launch).trimEnd().split("\n") };

  const before = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new CliError("error", `${file} can't be read (${error.code}).`);
  });
  const after = edited(before ?? "", client, launch);
  if (after === before) return answer;
  if (before === undefined) {
    await mkdir(dirname(file), { recursive: true });
    await replaceFile(file, after);
    return { ...answer, changed: true };
  }
  const { mode } = await stat(file);
  const backup = `${file}.bak`;
  await replaceFile(backup, before, mode & 0o777);
  await replaceFile(file, after, mode & 0o777);
  return { ...answer, changed: true, backup };
}

const edited = (text: string, { format, servers, typed }: McpClient, launch: Launch): string =>
  format === "toml"
    ? editToml(text, [servers, NAME], launch)
    : editJson(text, [servers, NAME], { ...(typed && { type: "stdio" }), ...launch });
