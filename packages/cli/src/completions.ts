import { script } from "@bomb.sh/tab";
import tab from "@bomb.sh/tab/commander";
import type { Command } from "commander";
import { addExamples } from "./command.ts";
import { json } from "./output.ts";

/** Adds `completions`, and the hidden command that its scripts ask. Comes last: it looks at the commands there are. */
export function addCompletions(program: Command): void {
  tab(program, { completionCommandName: "completions" });
  const command = program.commands.find((each) => each.name() === "completions") as Command;
  command.description("Print the script that completes commands in a shell.").option("--json", "print the result as JSON");
  addExamples(command, [
    'eval "$(me completions bash)"          # in ~/.bashrc',
    'eval "$(me completions zsh)"           # in ~/.zshrc',
    "me completions fish | source           # in ~/.config/fish/config.fish",
  ]);
  command.action((shell: string, options: { json?: boolean }) => {
    const text = scriptFor(shell);
    process.stdout.write(`${options.json ? json({ shell, script: text }) : text}\n`);
  });
}

/** The library can only print its scripts: this takes what it prints. */
function scriptFor(shell: string): string {
  const { log } = console;
  const printed: string[] = [];
  console.log = (text: string) => printed.push(text);
  try {
    script(shell, "me", "me");
  } finally {
    console.log = log;
  }
  return printed.join("\n");
}
