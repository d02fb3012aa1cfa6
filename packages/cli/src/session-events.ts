import { once } from "node:events";
import { followSession } from "@gatehouse/client";
import type { SessionEvent } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand } from "./command.ts";
import { CliError } from "./exit.ts";
import { allSafe, json, note, table } from "./output.ts";

interface Options {
  after: string;
  follow?: boolean;
  json?: boolean;
}

/** Most events of one answer. */
const PAGE = 1000;

export function addEvents(session: Command): void {
  addCommand(session, {
    usage: "events <session>",
    summary: "Show what was said and done in a conversation.",
    examples: ["session events order-42", "session events order-42 --after 12 --follow --json"],
    options: (command) =>
      command
        .option("--after <place>", "only what is behind this place", "0")
        .option("--follow", "go on showing what comes, until it is over or Ctrl-C; with --json one event a line"),
    async run(me, { after, follow, json: asJson }: Options, ref) {
      if (!/^\d{1,15}$/.test(after)) throw new CliError("usage", "--after must be a whole number: the place of an event.");
      const from = Number(after);
      if (!follow) return { events: await readAll(from) };
      const stop = new AbortController();
      once(process, "SIGINT").then(() => stop.abort());
      note("Following the conversation. Ctrl-C ends it.");
      const target = { ...(await me.target()), space: await me.space() };
      for await (const event of followSession(target, ref as string, { after: from, signal: stop.signal }))
        process.stdout.write(`${asJson ? json(event, 0) : cellsOf(allSafe(event)).filter(Boolean).join("  ")}\n`);
      return undefined;

      async function readAll(behind: number): Promise<SessionEvent[]> {
        const client = await me.inSpace();
        const events: SessionEvent[] = [];
        for (let place = behind; ; place = events.at(-1)?.seq ?? place) {
          const { events: more, lastSeq } = await client.session.events({ session: ref as string, after: place, limit: PAGE });
          events.push(...more);
          if (more.length === 0 || (more.at(-1)?.seq ?? 0) >= lastSeq) return events;
        }
      }
    },
    show: (result) => (result ? table(["Place", "When", "What", "Turn", ""], result.events.map(cellsOf), "Nothing yet.") : ""),
  });
}

const cellsOf = (event: SessionEvent): string[] => [
  String(event.seq),
  `${event.at.slice(0, 19).replace("T", " ")}Z`,
  event.kind,
  event.turn === null ? "" : String(event.turn),
  detailOf(event),
];

/** Of what was said, the words, as one line; of everything else, its data. */
function detailOf({ kind, data }: SessionEvent): string {
  if (kind === "message") return oneLine(wordsOf((data as { parts: unknown[] }).parts, "text"));
  if (kind === "chunks") return oneLine(wordsOf(data as unknown[], "delta")) || typesOf(data as { type: string }[]);
  return Object.keys(data as object).length > 0 ? JSON.stringify(data) : "";
}

const wordsOf = (parts: readonly unknown[], field: "text" | "delta"): string =>
  parts
    .map((part) => (part as Record<string, unknown>)[field])
    .filter((words) => typeof words === "string")
    .join("");

const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

const typesOf = (chunks: readonly { type: string }[]): string => [...new Set(chunks.map(({ type }) => type))].join(" ");
