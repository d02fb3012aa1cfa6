import type { Command } from "commander";
import { createMe, type Me } from "./me.ts";
import { startTracing } from "./tracing.ts";

/** One command of `me`. */
export interface CommandSpec<Options, Result> {
  /** Name and arguments, as commander has them: `create <name>`. */
  usage: string;
  summary: string;
  /** Commands a person can copy, without the `me`. */
  examples: readonly string[];
  /** Adds the command's own options. */
  options?: (command: Command) => Command;
  /** Does it. Arguments that were left out are undefined. */
  run(me: Me, options: Options, ...args: string[]): Promise<Result>;
  /** The result for people; `--json` prints the result itself. */
  show(result: Result, me: Me): string | Promise<string>;
}

/** Adds a command to its parent, with `--json` and `--server`. Results go to stdout, all else to stderr. */
export function addCommand<Options extends object, Result>(parent: Command, spec: CommandSpec<Options, Result>): void {
  const command = parent
    .command(spec.usage)
    .description(spec.summary)
    .option("--json", "print the result as JSON")
    .option("--server <url>", "the server to talk to (default: ME_SERVER, else the one signed in to last)")
    .addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  $ me ${example}`).join("\n")}`);
  spec.options?.(command);
  command.action(async (...all: unknown[]) => {
    const [options] = all.slice(-2) as [Options & { json?: boolean; server?: string }];
    const args = all.slice(0, -2) as string[];
    const me = createMe(options);
    const stopTracing = await startTracing(me.settings);
    try {
      const result = await spec.run(me, options, ...args);
      const text = options.json ? JSON.stringify(result, null, 2) : await spec.show(result, me);
      if (text) process.stdout.write(`${text}\n`);
    } finally {
      await stopTracing();
    }
  });
}

/** Adds a noun, under which its commands stand. */
export const addNoun = (program: Command, name: string, summary: string): Command => program.command(name).description(summary);
