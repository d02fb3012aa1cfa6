import { once } from "node:events";
import type { Client } from "@gatehouse/client";
import type { AuditEntry, SpaceApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand } from "./command.ts";
import { CliError } from "./exit.ts";
import { allSafe, json, note, table } from "./output.ts";
import { everyPage } from "./pages.ts";
import { idOf, withNames } from "./principal.ts";

interface Options {
  follow?: boolean;
  json?: boolean;
  limit: string;
  actor?: string;
  method?: string;
  denied?: boolean;
}

type Filter = Parameters<Client<SpaceApi>["audit"]["list"]>[0];

/** How often the record is asked for what is new. */
const POLL_MS = 1000;

export function addAudit(program: Command): void {
  addCommand(program, {
    usage: "audit",
    summary: "Show what was changed in the space, and what was refused.",
    examples: ["audit", "audit --denied --actor support-bot", "audit --follow"],
    options: (command) =>
      command
        .option("--limit <count>", "how many of the newest entries, at most 1000", "50")
        .option("--actor <principal>", "only what this member did")
        .option("--method <method>", "only calls of this method")
        .option("--denied", "only what was refused")
        .option("--follow", "go on showing what comes, until Ctrl-C; with --json one entry a line"),
    async run(me, { follow, json: asJson, limit, actor, method, denied }: Options) {
      const most = /^\d+$/.test(limit) ? Number(limit) : 0;
      if (most < 1 || most > 1000) throw new CliError("usage", "--limit must be a whole number from 1 to 1000.");
      const client = await me.inSpace();
      const filter: Filter = {
        actor: actor === undefined ? undefined : await idOf(me, client, actor),
        method,
        outcome: denied ? "FORBIDDEN" : undefined,
      };
      const newest = follow ? (await client.audit.list({ limit: 1 })).entries[0]?.id : undefined;
      const entries = await everyPage(
        (page) => client.audit.list({ ...filter, ...page }),
        (answer) => answer.entries,
        most,
      );
      if (!follow) return { entries: asJson ? entries : await named(client, entries) };
      await followFrom(client, filter, newest, entries.toReversed(), asJson ? undefined : lineOf);
      return undefined;
    },
    show: (result) =>
      table(["When", "Who", "By", "Method", "What", "Outcome"], (result?.entries ?? []).map(cellsOf), "Nothing is recorded."),
  });
}

/**
 * Prints entries as they come, oldest first, until the person has seen enough.
 * @param since the newest entry of the record, before the first of these were looked for
 */
async function followFrom(
  client: Client<SpaceApi>,
  filter: Filter,
  since: string | undefined,
  first: readonly AuditEntry[],
  print?: (entry: AuditEntry) => string,
): Promise<void> {
  const stopped = once(process, "SIGINT").then(() => "stopped" as const);
  let entries = [...first];
  let last = since;
  note("Following the record. Ctrl-C ends it.");
  for (;;) {
    const shown = print ? allSafe(await named(client, entries)).map(print) : entries.map((entry) => json(entry, 0));
    for (const line of shown) process.stdout.write(`${line}\n`);
    last = entries.at(-1)?.id ?? last;
    if ((await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, POLL_MS))])) === "stopped") return;
    const asked = { ...filter, since: last };
    entries = (
      await everyPage(
        (page) => client.audit.list({ ...asked, ...page }),
        (answer) => answer.entries,
      )
    ).toReversed();
  }
}

/** Entries whose target tells names instead of ids, where there are any now. */
async function named(client: Client<SpaceApi>, entries: readonly AuditEntry[]): Promise<AuditEntry[]> {
  const targets = await withNames(
    client,
    entries.map(({ target }) => target ?? ""),
  );
  return entries.map((entry, i) => ({ ...entry, target: targets[i] || null }));
}

const cellsOf = ({ at, actor, via, method, target, outcome, reason, count }: AuditEntry): string[] => [
  `${at.slice(0, 19).replace("T", " ")}Z`,
  actor.name,
  via,
  method,
  target ?? "",
  outcome === "OK" ? "OK" : `${outcome}${reason === null ? "" : ` (${reason})`}${count > 1 ? ` ×${count}` : ""}`,
];

const lineOf = (entry: AuditEntry): string => cellsOf(entry).filter(Boolean).join("  ");
