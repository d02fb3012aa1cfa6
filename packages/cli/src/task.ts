import type { Task } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand, addNoun } from "./command.ts";
import { facts, moment, table } from "./output.ts";

const state = ({ online, seenAt }: Task): string => (online ? "online" : `last seen ${moment(seenAt)}`);

export function addTask(program: Command): void {
  const task = addNoun(program, "task", "What agents of the space answer: list, get.");

  addCommand(task, {
    usage: "list",
    summary: "List the tasks you may start a conversation with.",
    examples: ["task list", "task list --json"],
    run: async (me) => (await me.inSpace()).task.list(),
    show: ({ tasks }) =>
      table(
        ["Task", "Worker", "What it does"],
        tasks.map((each) => [each.path, state(each), each.description]),
        "No task that you may read. Serve one: me agent run FILE",
      ),
  });

  addCommand(task, {
    usage: "get <task>",
    summary: "Show one task.",
    examples: ["task get echo"],
    run: async (me, _options, path) => (await me.inSpace()).task.get({ task: path as string }),
    show: (each) =>
      facts({
        Task: each.path,
        "What it does": each.description || undefined,
        Worker: state(each),
        "Idle window": `${each.idleTimeoutSeconds} s`,
        "First seen": moment(each.createdAt),
      }),
  });
}
