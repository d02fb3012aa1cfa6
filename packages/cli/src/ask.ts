import { text as readAll } from "node:stream/consumers";
import { confirm, isCancel, password, text } from "@clack/prompts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { safe } from "./output.ts";

/** A question's answer. Ctrl-C ends the command. */
function answered<T>(answer: T): Exclude<T, symbol> {
  if (isCancel(answer)) throw new CliError("error", "Cancelled. Nothing was done.");
  return answer as Exclude<T, symbol>;
}

const OUT = { output: process.stderr };

// Some terminals do not say how large they are: without a size each letter of a question would take a line.
if (process.stderr.isTTY && !process.stderr.columns) Object.assign(process.stderr, { columns: 80, rows: 24 });

/** Asks for a line of text. @throws CliError "usage" when nobody is there to answer */
export async function askText(me: Me, message: string, instead: string): Promise<string> {
  if (!me.interactive) throw new CliError("usage", `${message}: nobody is at a terminal to answer. Say it with ${instead}.`);
  return answered(await text({ message: safe(message), ...OUT }));
}

/** Asks for a password or a key, without showing it; where nobody is at a terminal, it is read from stdin. */
export async function askSecret(me: Me, message: string): Promise<string> {
  if (me.interactive) return answered(await password({ message, ...OUT }));
  const given = (await readAll(process.stdin)).replace(/\r?\n$/, "");
  if (given === "") throw new CliError("usage", `${message} is read from stdin, and that was empty.`);
  return given;
}

/** Asks whether to go on with what can't be undone, unless `--yes` said so. */
export async function confirmed(me: Me, message: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!me.interactive) throw new CliError("usage", `${message} Add --yes to say so.`);
  if (!answered(await confirm({ message: safe(`${message} Go on?`), initialValue: false, ...OUT })))
    throw new CliError("error", "Nothing was done.");
}
