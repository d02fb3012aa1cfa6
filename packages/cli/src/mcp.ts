import type { Command } from "commander";
import { addCommand } from "./command.ts";
import { showFindings } from "./doctor.ts";
import { readSeconds } from "./duration.ts";
import { mcpClients } from "./mcp/clients.ts";
import type { Limits } from "./mcp/token.ts";
import type { Me } from "./me.ts";
import { note } from "./output.ts";
import { readScope } from "./scope.ts";

interface Options {
  space?: string;
  scope?: string;
  readOnly?: boolean;
  wait?: string;
}

const limiting = (command: Command) =>
  command
    .option("--space <space>", "the space it is for (default: the one in use)")
    .option("--scope <permissions>", "all that its token may do, with spaces between (default: what the tools need)")
    .option("--read-only", "a token that can only read");

const limitsOf = ({ space, scope, readOnly }: Options): Limits => ({
  space,
  scope: scope === undefined ? undefined : readScope(scope),
  readOnly,
});

/** `me mcp`: what it is made of is loaded only where it is asked for. */
export function addMcp(program: Command): void {
  const mcp = addCommand(program, {
    usage: "mcp",
    summary: "Serve an MCP client, such as an IDE, on stdin and stdout: talk with agents, see who may what.",
    examples: [
      "mcp install claude                      # this sets it up in a client, which starts it by itself",
      "mcp --space Support",
      "mcp --read-only",
      'mcp --scope "write:tasks:support"',
    ],
    options: (command) =>
      limiting(command).option("--wait <time>", "how long a tool waits for an agent before it says that it is still at it", "50s"),
    traced: false,
    async run(me, options: Options) {
      const { serveMcp } = await import("./mcp/serve.ts");
      await serveMcp(me, limitsOf(options), readSeconds(options.wait as string) * 1000);
    },
    show: () => "",
  });

  addCommand(mcp, {
    usage: "install <client>",
    summary: `Set it up in an MCP client: ${Object.keys(mcpClients).join(", ")}. No secret is written; it finds your login by itself.`,
    examples: [
      "mcp install claude",
      "mcp install cursor --space Support --read-only",
      "mcp install vscode --project",
      "mcp install codex --print",
    ],
    options: (command) =>
      limiting(command).option("--project", "for this folder alone").option("--print", "print what would be written, and write nothing"),
    async run(me, options: Options & { project?: boolean; print?: boolean }, client) {
      const { install } = await import("./mcp/install.ts");
      return install(me, client as string, { ...options, args: argsOf(me, options) });
    },
    show({ client, file, changed, backup, lines, next }) {
      if (lines !== null) {
        note(`${client} takes this in ${file}:`);
        return lines.join("\n");
      }
      if (!changed) return `${client} is set up already, in ${file}.`;
      return `Set up in ${client}, in ${file}.${backup === null ? "" : ` As it was: ${backup}.`}\nNext: ${next} Not signed in yet? me login`;
    },
  });

  addCommand(mcp, {
    usage: "doctor",
    summary: "Check what an MCP client meets: the server, the credential, the space, the tools, how soon the first answer comes.",
    examples: ["mcp doctor", "mcp doctor --space Support --read-only"],
    options: limiting,
    async run(me, options: Options) {
      const { examine } = await import("./mcp/doctor.ts");
      return examine(me, limitsOf(options), argsOf(me, options));
    },
    show: showFindings,
  });
}

/** The same limits, as arguments of `me mcp`: also the space that this shell names, as a client has another environment. */
const argsOf = ({ settings }: Me, { space = settings.space, scope, readOnly }: Options): string[] => [
  ...(space === undefined ? [] : ["--space", space]),
  ...(scope === undefined ? [] : ["--scope", readScope(scope).join(" ")]),
  ...(readOnly ? ["--read-only"] : []),
];
