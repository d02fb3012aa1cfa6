import type { GatehouseError } from "@gatehouse/client";
import type { Command } from "commander";
import { answerTo } from "./answer.ts";
import { addCommand } from "./command.ts";
import { converse, type Talk } from "./converse.ts";
import { readSeconds } from "./duration.ts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { note, safeLines, word } from "./output.ts";
import { noteUnserved } from "./task.ts";

interface Options {
  session?: string;
  message?: string;
  timeout: string;
  json?: boolean;
}

export function addChat(program: Command): void {
  addCommand(program, {
    usage: "chat [task]",
    summary: "Talk with an agent. /stop stops its answer, /close ends the conversation, /quit leaves it.",
    examples: ["chat echo", "chat --session order-42", 'chat echo --message "Hello" --json'],
    options: (command) =>
      command
        .option("--session <session>", "go on with this conversation, by its id or its external id")
        .option("--message <text>", "one question and its answer; nobody needs to be at a terminal")
        .option("--timeout <time>", "how long to wait for that answer: 90s, 15m, 2h", "5m"),
    async run(me, { session, message, timeout, json }: Options, task) {
      const ms = readSeconds(timeout) * 1000;
      if (message === undefined && !me.interactive)
        throw new CliError("usage", "Nobody is at a terminal to talk. Say it with --message TEXT.");
      const talk = await begin(me, task, session);
      if (!json) await noteUnserved(talk.client, talk.session.task);
      if (message === undefined) {
        await converse(talk);
        return undefined;
      }
      return ask(talk, message, ms, json === true);
    },
    show: () => "", // it was printed as it came
  });
}

/** A new conversation with a task, or the one that is named. */
async function begin(me: Me, task: string | undefined, ref: string | undefined): Promise<Talk> {
  if (task === undefined && ref === undefined)
    throw new CliError("usage", "Say with whom: me chat TASK. me task list shows what there is; --session goes on with a conversation.");
  const client = await me.inSpace();
  const session =
    ref === undefined ? (await client.session.create({ task: task as string })).session : await client.session.get({ session: ref });
  if (task !== undefined && session.task !== task)
    throw new CliError("usage", `That is a conversation with ${session.task}. Leave out ${task}.`);
  return { client, target: { ...(await me.target()), space: await me.space() }, session };
}

/** One question, one answer. Ctrl-C stops the answer first, or gives the question up where it waits, and leaves the second time. */
async function ask({ client, target, session }: Talk, message: string, ms: number, asJson: boolean) {
  const { id } = session;
  const sending = client.session.send({ session: id, message });
  const stopTurn = async ({ turn }: { turn: number }) => {
    await client.session.stop({ session: id, turn }).catch((error: GatehouseError) => note(error.message));
  };
  const stop = () => {
    process.once("SIGINT", () => process.exit(130));
    note("Stopping. Ctrl-C once more leaves.");
    sending.then(stopTurn, () => {}); // that it can't be sent is told below
  };
  process.once("SIGINT", stop);
  try {
    const sent = await sending;
    const print = asJson ? undefined : (text: string) => void process.stdout.write(safeLines(text));
    const answer = await answerTo(target, { session: id, ...sent }, ms, print);
    if (asJson) return { session: { id }, ...answer };
    process.stdout.write("\n");
    note(`Go on: me chat --session ${word(id)}`);
    return undefined;
  } finally {
    process.off("SIGINT", stop);
  }
}
