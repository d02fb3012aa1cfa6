import { stripVTControlCharacters } from "node:util";
import { type Home, ME, start, until } from "./run.ts";

/** A program at a terminal, with a person who waits for a question before they answer. */
export interface AtTerminal {
  /** Waits until something new on the screen says so, then types. */
  answer(question: string | RegExp, typed: string): Promise<void>;
  /** Waits until it has ended. `raw` is all that went to the terminal, `shown` is that as text. */
  over(): Promise<{ code: number | null; shown: string; raw: string }>;
}

/** Runs `me` on a terminal of its own, which util-linux's `script` makes. */
export function atTerminal(home: Home, args: readonly string[], env: Record<string, string> = {}): AtTerminal {
  const command = `exec ${[process.execPath, ME, ...args].map((arg) => `'${arg}'`).join(" ")}`;
  const running = start("script", ["-qec", command, "/dev/null"], { ...home.env, TERM: "xterm", SHELL: "/bin/sh", ...env }, null);
  let seen = 0;
  return {
    async answer(question, typed) {
      const fresh = () => stripVTControlCharacters(running.stdout().slice(seen));
      await until(
        () => `the terminal shows ${question}; it shows ${stripVTControlCharacters(running.stdout())}`,
        () => (typeof question === "string" ? fresh().includes(question) : question.test(fresh())),
      );
      seen = running.stdout().length;
      running.child.stdin?.write(typed);
    },
    async over() {
      const { code, stdout } = await running.finished;
      return { code, shown: stripVTControlCharacters(stdout), raw: stdout };
    },
  };
}
