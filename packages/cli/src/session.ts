import type { ResultOf, Session, SpaceApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { collect } from "./apikey.ts";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { readSeconds } from "./duration.ts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { facts, moment, note, table, word } from "./output.ts";
import { everyPage } from "./pages.ts";
import { addEvents } from "./session-events.ts";
import { addSend } from "./session-send.ts";
import { noteUnserved } from "./task.ts";

interface Starting {
  externalId?: string;
  metadata?: string;
  tag?: string[];
  message?: string;
  idle?: string;
}

interface Filter {
  task?: string;
  tag?: string;
  status?: Session["status"];
}

export function addSession(program: Command): void {
  const session = addNoun(program, "session", "Conversations with agents: create, list, get, events, send, stop, close, delete.");

  addCommand(session, {
    usage: "create <task>",
    summary: "Start a conversation; with an external id that is known, show the one there is.",
    examples: [
      "session create support",
      'session create support --external-id order-42 --metadata \'{"plan":"pro"}\' --tag vip --message "Where is it?"',
    ],
    options: (command) =>
      command
        .option("--external-id <id>", "your own name for it: the same again answers with the same session")
        .option("--metadata <json>", "your own data, as a JSON object")
        .option("--tag <tag>", "a tag; may be given more than once", collect)
        .option("--message <text>", "the first message")
        .option("--idle <time>", "how long a run waits for the next message: 30s, 5m (default: as the task says)"),
    async run(me, { externalId, metadata, tag, message, idle }: Starting, task) {
      const asked = {
        task: task as string,
        externalId,
        metadata: metadata === undefined ? undefined : readObject(metadata),
        tags: tag,
        message,
        idleTimeoutSeconds: idle === undefined ? undefined : readSeconds(idle),
      };
      return (await me.inSpace()).session.create(asked);
    },
    show: showStarted,
  });

  addCommand(session, {
    usage: "list",
    summary: "List the conversations you may read, newest first.",
    examples: ["session list", "session list --task support --status open"],
    options: (command) =>
      command
        .option("--task <task>", "only of this task and those beneath it")
        .option("--tag <tag>", "only with this tag")
        .option("--status <status>", "only those that are open, closed or expired"),
    async run(me, { task, tag, status }: Filter) {
      const client = await me.inSpace();
      const sessions = await everyPage(
        (page) => client.session.list({ task, tag, status, ...page }),
        (answer) => answer.sessions,
      );
      return { sessions };
    },
    show: ({ sessions }) =>
      table(
        ["Id", "External id", "Task", "Status", "Tags", "Started"],
        sessions.map(({ id, externalId, task, status, tags, createdAt }) => [
          id,
          externalId ?? "",
          task,
          status,
          tags.join(" "),
          moment(createdAt),
        ]),
        "No conversations. Start one: me chat TASK",
      ),
  });

  addCommand(session, {
    usage: "get <session>",
    summary: "Show a conversation, by its id or its external id.",
    examples: ["session get order-42"],
    run: async (me, _options, ref) => (await me.inSpace()).session.get({ session: ref as string }),
    show: showSession,
  });

  addEvents(session);
  addSend(session);

  addCommand(session, {
    usage: "stop <session>",
    summary: "Stop the answer that is under way, or give up one turn. What else waits is answered still.",
    examples: ["session stop order-42", "session stop order-42 --turn 3"],
    options: (command) => command.option("--turn <number>", "this turn and no other, also where it still waits"),
    async run(me, { turn }: { turn?: string }, ref) {
      if (turn !== undefined && !/^\d{1,9}$/.test(turn)) throw new CliError("usage", "--turn must be a whole number: that of a turn.");
      return (await me.inSpace()).session.stop({ session: ref as string, turn: turn === undefined ? undefined : Number(turn) });
    },
    show: ({ turn }) => (turn === null ? "There was nothing to stop." : `Stopping turn ${turn}.`),
  });

  addCommand(session, {
    usage: "close <session>",
    summary: "Close a conversation for good.",
    examples: ["session close order-42"],
    run: async (me, _options, ref) => (await me.inSpace()).session.close({ session: ref as string }),
    show: ({ id, status }) => `Session ${id} is ${status}.`,
  });

  addCommand(session, {
    usage: "delete <session>",
    summary: "Delete a conversation for good: its log, its runs and its tokens.",
    examples: ["session delete order-42", "session delete order-42 --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, ref) {
      const client = await me.inSpace();
      await confirmed(me, `Everything that was said in ${ref} is deleted, and can't be restored.`, yes);
      return client.session.delete({ session: ref as string });
    },
    show: ({ id }) => `Deleted session ${id}.`,
  });
}

function readObject(text: string): Record<string, never> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, never>;
  } catch {}
  throw new CliError("usage", `--metadata must be a JSON object, such as '{"plan":"pro"}'.`);
}

const showSession = ({
  id,
  externalId,
  task,
  status,
  tags,
  metadata,
  createdBy,
  createdAt,
  expiresAt,
  closedAt,
  lastSeq,
}: Session): string =>
  facts({
    Id: id,
    "External id": externalId ?? undefined,
    Task: task,
    Status: status,
    Tags: tags.join(" ") || undefined,
    Metadata: Object.keys(metadata).length > 0 ? JSON.stringify(metadata) : undefined,
    "Started by": createdBy?.name,
    Started: moment(createdAt),
    Expires: expiresAt === null ? undefined : moment(expiresAt),
    Closed: closedAt === null ? undefined : moment(closedAt),
    Events: String(lastSeq),
  });

async function showStarted({ session, run, existing }: ResultOf<SpaceApi, "session.create">, me: Me): Promise<string> {
  note(
    existing ? "It was there already." : `Next, say something: me session send ${word(session.externalId ?? session.id)} "Hello" --wait`,
  );
  await noteUnserved(await me.inSpace(), session.task);
  return `${showSession(session)}${run ? `\n${facts({ Run: run.id })}` : ""}`;
}
