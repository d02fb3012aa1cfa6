import type { Command } from "commander";
import { answerTo } from "./answer.ts";
import { addCommand } from "./command.ts";
import { readSeconds } from "./duration.ts";
import { note, safeLines, word } from "./output.ts";
import { noteUnserved } from "./task.ts";

interface Options {
  wait?: boolean;
  timeout: string;
  inputId?: string;
  json?: boolean;
}

export function addSend(session: Command): void {
  addCommand(session, {
    usage: "send <session> <text>",
    summary: "Say something in a conversation, and with --wait, wait for the answer.",
    examples: ['session send order-42 "Where is it?"', 'session send order-42 "Where is it?" --wait --json'],
    options: (command) =>
      command
        .option("--wait", "wait for the answer, and print it as it comes")
        .option("--timeout <time>", "how long to wait: 90s, 15m, 2h", "5m")
        .option("--input-id <id>", "names the message: sent again, it counts once"),
    async run(me, { wait, timeout, inputId, json }: Options, ref, text) {
      const ms = readSeconds(timeout) * 1000;
      const client = await me.inSpace();
      const sent = await client.session.send({ session: ref as string, message: text as string, inputId });
      if (!wait) {
        if (!json) note(`See what comes: me session events ${word(ref as string)} --after ${sent.seq} --follow`);
        return sent;
      }
      if (!json) await noteUnserved(client, (await client.session.get({ session: ref as string })).task);
      const target = { ...(await me.target()), space: await me.space() };
      const print = json ? undefined : (more: string) => void process.stdout.write(safeLines(more));
      const answer = await answerTo(target, { session: ref as string, ...sent }, ms, print);
      if (json) return answer;
      process.stdout.write("\n");
      return undefined;
    },
    // An answer has been printed as it came.
    show: (sent) => (sent && "seq" in sent ? `Kept as turn ${sent.turn}; run ${sent.run.id} answers it.` : ""),
  });
}
