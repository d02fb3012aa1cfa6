import type { Client } from "@gatehouse/client";
import { type ApiKey, sameName, type UserApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { readHours, readMoment } from "./duration.ts";
import { CliError } from "./exit.ts";
import { findAgent } from "./named.ts";
import { facts, moment, note, table } from "./output.ts";
import { everyPage } from "./pages.ts";

/** All keys, or those of an agent. */
async function keysOf(client: Client<UserApi>, agent: string | undefined): Promise<{ keys: ApiKey[] }> {
  const whose = agent === undefined ? {} : { agent: (await findAgent(client, agent)).id };
  return {
    keys: await everyPage(
      (page) => client.apiKey.list({ ...whose, ...page }),
      ({ keys }) => keys,
    ),
  };
}

/** The key of an id or a name. @throws CliError when there is none, or more than one of that name */
async function findKey(client: Client<UserApi>, given: string, agent: string | undefined): Promise<ApiKey> {
  const { keys } = await keysOf(client, agent);
  const found = keys.filter(({ id, name }) => id === given || sameName(name, given));
  if (found.length > 1)
    throw new CliError(
      "usage",
      `There are ${found.length} keys named ${given}, of ${found.map(({ principal }) => principal.name).join(", ")}. Add --agent NAME, or give the id.`,
    );
  if (!found[0]) throw new CliError("not found", `There is no key ${given}. me apikey list shows those there are.`);
  return found[0];
}

const ofAgent = (command: Command) => command.option("--agent <agent>", "look among the keys of this agent alone");
/** Gathers an option that may be given more than once. */
export const collect = (value: string, before: string[] = []) => [...before, value];

/** A new secret goes to stdout alone, so that a script can take it; what to know about it goes to stderr. */
export function showSecret({ key }: { key: string }): string {
  note("This key is shown once. Keep it where only its user can read it; use it as ME_API_KEY.");
  return key;
}

/** The same of a new one, and what becomes of the old. */
export function showRotated(rotated: { key: string; previousExpiresAt: string | null }): string {
  const { previousExpiresAt: until } = rotated;
  note(until === null ? "The old secret is dead." : `The old secret is good until ${moment(until)}.`);
  return showSecret(rotated);
}

export function addApikey(program: Command): void {
  const apikey = addNoun(program, "apikey", "API keys, yours and your agents': create, list, get, rotate, revoke.");

  addCommand(apikey, {
    usage: "create",
    summary: "Make a key for an agent of yours, or for yourself. It is shown once.",
    examples: [
      "apikey create --agent support-bot --name laptop",
      "apikey create --self --name ci --expires 90d",
      'apikey create --agent support-bot --name narrow --ceiling "write:tasks:support"',
    ],
    options: (command) =>
      command
        .requiredOption("--name <name>", "what to call the key")
        .option("--agent <agent>", "the agent it speaks for")
        .option("--self", "it speaks for you: a personal access token")
        .option("--ceiling <permission>", "limit it to this permission; may be given more than once", collect)
        .option("--expires <when>", "90d, 12h, 30m, or a date such as 2027-01-31 (default: never)"),
    async run(
      me,
      { name, agent, self, ceiling, expires }: { name: string; agent?: string; self?: boolean; ceiling?: string[]; expires?: string },
    ) {
      if ((agent === undefined) === !self) throw new CliError("usage", "Say for whom: either --agent NAME or --self.");
      const expiresAt = expires === undefined ? undefined : readMoment(expires);
      const client = await me.client();
      const { id } = agent === undefined ? { id: undefined } : await findAgent(client, agent);
      return client.apiKey.create({ name, agent: id, ceiling, expiresAt });
    },
    show: showSecret,
  });

  addCommand(apikey, {
    usage: "list",
    summary: "List your keys and those of your agents.",
    examples: ["apikey list", "apikey list --agent support-bot"],
    options: ofAgent,
    async run(me, { agent }: { agent?: string }) {
      const client = await me.client();
      return keysOf(client, agent);
    },
    show: ({ keys }) =>
      table(
        ["Name", "For", "Key", "Ceiling", "Expires", "Last used", "Id"],
        keys.map((key) => [
          key.name,
          key.principal.name,
          key.hint,
          key.ceiling?.join(" ") ?? "none",
          moment(key.expiresAt),
          moment(key.lastUsedAt),
          key.id,
        ]),
        "There are no keys. Make one: me apikey create --agent NAME --name KEY-NAME",
      ),
  });

  addCommand(apikey, {
    usage: "get <key>",
    summary: "Show one key, by name or id, without its secret.",
    examples: ["apikey get laptop"],
    options: ofAgent,
    async run(me, { agent }: { agent?: string }, given) {
      const client = await me.client();
      return client.apiKey.get({ id: (await findKey(client, given as string, agent)).id });
    },
    show: (key) =>
      facts({
        Name: key.name,
        For: key.principal.name,
        Key: key.hint,
        Ceiling: key.ceiling?.join(" ") ?? "none",
        Created: moment(key.createdAt),
        Expires: moment(key.expiresAt),
        "Last used": moment(key.lastUsedAt),
        "Old secret": key.previousExpiresAt === null ? undefined : `good until ${moment(key.previousExpiresAt)}`,
        Id: key.id,
      }),
  });

  addCommand(apikey, {
    usage: "rotate <key>",
    summary: "Give a key a new secret; the old one stays good for the overlap.",
    examples: ["apikey rotate laptop", "apikey rotate laptop --overlap 0"],
    options: (command) => ofAgent(command).option("--overlap <hours>", "hours that the old secret stays good; 0 = none", "24"),
    async run(me, { agent, overlap }: { agent?: string; overlap: string }, given) {
      const overlapHours = readHours(overlap);
      const client = await me.client();
      return client.apiKey.rotate({ id: (await findKey(client, given as string, agent)).id, overlapHours });
    },
    show: showRotated,
  });

  addCommand(apikey, {
    usage: "revoke <key>",
    summary: "Revoke a key, at once and for good.",
    examples: ["apikey revoke laptop", "apikey revoke laptop --agent support-bot --yes"],
    options: (command) => ofAgent(command).option("-y, --yes", "do not ask"),
    async run(me, { agent, yes }: { agent?: string; yes?: boolean }, given) {
      const client = await me.client();
      const { id, name, principal } = await findKey(client, given as string, agent);
      await confirmed(me, `Revoking ${name} of ${principal.name} can't be undone.`, yes);
      return client.apiKey.delete({ id });
    },
    show: ({ id }) => `Revoked key ${id}.`,
  });
}
