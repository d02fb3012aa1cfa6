import type { Client, GatehouseError } from "@gatehouse/client";
import type { SpaceApi, Task } from "@gatehouse/protocol";
import type { Command } from "commander";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { facts, moment, note, safe, table } from "./output.ts";
import { everyPage } from "./pages.ts";

const state = ({ online, seenAt }: Task): string => (online ? "online" : `last seen ${moment(seenAt)}`);

/** Says so where nobody answers a task, as far as the caller may read that: of a name typed wrong nothing else would tell. */
export async function noteUnserved(client: Client<SpaceApi>, path: string): Promise<void> {
  const found = await client.task.get({ task: path }).catch(({ code }: GatehouseError) => code);
  if (found === "NOT_FOUND")
    note(
      `No worker ever offered the task ${safe(path)}: what is said waits for one. Is the name right? me task list. Serve it: me agent run FILE`,
    );
  else if (typeof found === "object" && !found.online)
    note(`No worker of ${safe(path)} is online, ${state(found)}: what is said waits for one. Serve it: me agent run FILE`);
}

export function addTask(program: Command): void {
  const task = addNoun(program, "task", "What agents of the space answer: list, get, delete.");

  addCommand(task, {
    usage: "list",
    summary: "List the tasks you may start a conversation with.",
    examples: ["task list", "task list --json"],
    async run(me) {
      const client = await me.inSpace();
      return { tasks: await everyPage(client.task.list, ({ tasks }) => tasks) };
    },
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

  addCommand(task, {
    usage: "delete <task>",
    summary: "Delete a task. Its conversations stay; a worker that still serves it registers it again.",
    examples: ["task delete echo", "task delete echo --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, path) {
      const client = await me.inSpace();
      await confirmed(me, `The task ${path} is no longer listed.`, yes);
      return client.task.delete({ task: path as string });
    },
    show: (deleted) => `Deleted task ${deleted.task}.`,
  });
}
