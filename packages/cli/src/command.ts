import type { Command } from "commander";
import { createMe, type Me } from "./me.ts";
import { allSafe, json } from "./output.ts";
import { startTracing } from "./tracing.ts";

/** One command of `me`. */
export interface CommandSpec<Options, Result> {
  /** Name and arguments, as commander has them: `create <name>`. */
  usage: string;
  summary: string;
  /** Commands a person can copy; one that does not hold `me` gets it put before. */
  examples: readonly string[];
  /** Adds the command's own options. */
  options?: (command: Command) => Command;
  /** Whether its calls are traced here; a server, which traces itself under a name of its own, says no. Default: yes. */
  traced?: boolean;
  /** Does it. Arguments that were left out are undefined. */
  run(me: Me, options: Options, ...args: string[]): Promise<Result>;
  /** The result for people; `--json` prints the result itself. */
  show(result: Result, me: Me): string | Promise<string>;
}

/** Adds a command to its parent, with `--json` and `--server`. Results go to stdout, all else to stderr. @returns it */
export function addCommand<Options extends object, Result>(parent: Command, spec: CommandSpec<Options, Result>): Command {
  const command = parent
    .command(spec.usage)
    .description(spec.summary)
    .option("--json", "print the result as JSON")
    .option("--server <url>", "the server to talk to (default: ME_SERVER, else the one signed in to last)");
  addExamples(command, spec.examples);
  spec.options?.(command);
  command.action(async (...all: unknown[]) => {
    const [options] = all.slice(-2) as [Options & { json?: boolean; server?: string }];
    const args = all.slice(0, -2) as string[];
    const me = createMe(options);
    const stopTracing = spec.traced === false ? undefined : await startTracing(me.settings);
    try {
      const result = await spec.run(me, options, ...args);
      const text = options.json ? json(result) : await spec.show(allSafe(result), me);
      if (text) process.stdout.write(`${text}\n`);
    } finally {
      await stopTracing?.();
    }
  });
  return command;
}

/** Ends a command's help with examples. */
export function addExamples(command: Command, examples: readonly string[]): void {
  const lines = examples.map((example) => `  $ ${/\bme /.test(example) ? "" : "me "}${example}`);
  command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
}

/** Adds a noun, under which its commands stand. */
export const addNoun = (program: Command, name: string, summary: string): Command => program.command(name).description(summary);
