import type { Client } from "@gatehouse/client";
import { type PrincipalRef, principalKinds, type SpaceApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { agentsNamed, ambiguous } from "./named.ts";
import { moment, table } from "./output.ts";
import { everyPage } from "./pages.ts";

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * The id meant by an id, `me`, or the name of a member or group of the space.
 * @throws CliError when nobody there has that name, or more than one
 */
export async function idOf(me: Me, client: Client<SpaceApi>, given: string, kind?: PrincipalRef["kind"]): Promise<string> {
  if (ID.test(given)) return given.toLowerCase();
  if (given === "me") return (await (await me.client()).whoami()).id;
  const { principals } = await client.principal.resolve({ name: given });
  const found = principals.filter((each) => kind === undefined || each.kind === kind);
  if (found.length > 1) throw ambiguous(`${found.length} in this space are named ${given}.`, found);
  if (!found[0])
    throw new CliError(
      "not found",
      `There is no ${kind ? principalKinds[kind] : "member or group"} named ${given} in this space. me space members and me group list show who is.`,
    );
  return found[0].id;
}

/**
 * The id of a member, of a group, or of an agent of one's own that is not in the space yet.
 * @throws CliError when nobody has that name, or more than one
 */
export async function idOfNewcomer(me: Me, client: Client<SpaceApi>, given: string): Promise<string> {
  if (ID.test(given) || given === "me") return idOf(me, client, given);
  const agents = await agentsNamed(await me.client(), given).catch(() => []);
  if (!agents[0]) return idOf(me, client, given);
  // By a credential that may not look around, an agent of one's own can still be named.
  const { principals } = await client.principal.resolve({ name: given }).catch(() => ({ principals: [] }));
  const found = [...agents, ...principals.filter(({ id }) => !agents.some((agent) => agent.id === id))];
  if (found.length > 1) throw ambiguous(`${found.length} of your agents and of this space are named ${given}.`, found);
  return agents[0].id;
}

/** Principals as a table. */
export const showPrincipals = (principals: readonly PrincipalRef[], none: string): string =>
  table(
    ["Name", "Kind", "Id"],
    principals.map(({ name, kind, id }) => [name, principalKinds[kind], id]),
    none,
  );

export function addPrincipal(program: Command): void {
  const principal = addNoun(program, "principal", "The roster of the space: list, add, set-admin, remove, resolve.");

  addCommand(principal, {
    usage: "list",
    summary: "List the full roster, with addresses, owners and admins.",
    examples: ["principal list"],
    async run(me) {
      const client = await me.inSpace();
      return { members: await everyPage(client.principal.list, ({ members }) => members) };
    },
    show: ({ members }) =>
      table(
        ["Name", "Kind", "Role", "Email", "Owner", "Added", "Id"],
        members.map((each) => [
          each.name,
          principalKinds[each.kind],
          each.admin ? "admin" : "member",
          each.email ?? "",
          each.owner?.name ?? "",
          moment(each.addedAt),
          each.id,
        ]),
        "Nobody.",
      ),
  });

  addCommand(principal, {
    usage: "add <principal>",
    summary: "Put an agent (by name or id), or a user of another space of yours (by id), on the roster. Invite others: me invite create.",
    examples: ["principal add support-bot", "principal add 01a2019c-f937-7cd9-a150-df3090bcfc15"],
    async run(me, _options, given) {
      const client = await me.inSpace();
      return client.principal.add({ principal: await idOfNewcomer(me, client, given as string) });
    },
    show: ({ name, kind }) => `${name} (${principalKinds[kind]}) is on the roster.`,
  });

  addCommand(principal, {
    usage: "set-admin <user>",
    summary: "Make a user of the roster an admin of the space.",
    examples: ["principal set-admin Ada", "principal set-admin Ada --off"],
    options: (command) => command.option("--off", "no longer an admin"),
    async run(me, { off }: { off?: boolean }, given) {
      const client = await me.inSpace();
      return client.principal.setAdmin({ principal: await idOf(me, client, given as string, "u"), admin: !off });
    },
    show: ({ name, admin }) => `${name} is ${admin ? "an admin" : "no admin"} of the space.`,
  });

  addCommand(principal, {
    usage: "remove <principal>",
    summary: "Take somebody off the roster, and all they were given in the space with it.",
    examples: ["principal remove support-bot", "principal remove Bob --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, given) {
      const client = await me.inSpace();
      const id = await idOf(me, client, given as string);
      await confirmed(me, `${given} loses all that was given to them in the space.`, yes);
      return client.principal.remove({ principal: id });
    },
    show: () => "Removed from the roster.",
  });

  addCommand(principal, {
    usage: "resolve <name>",
    summary: "Find members and groups of the space by name.",
    examples: ["principal resolve Ada"],
    run: async (me, _options, name) => (await me.inSpace()).principal.resolve({ name: name as string }),
    show: ({ principals }) => showPrincipals(principals, "Nobody has that name."),
  });
}

/** Names for the ids in a text, of those that are members or groups of the space now; others stay as they are. */
export async function withNames(client: Client<SpaceApi>, texts: readonly string[]): Promise<string[]> {
  const ids = [...new Set(texts.flatMap((text) => text.split(/[ =]/)).filter((part) => ID.test(part)))].slice(0, 200);
  if (ids.length === 0) return [...texts];
  const { principals } = await client.principal.lookup({ ids });
  return texts.map((text) => principals.reduce((named, { id, name }) => named.replaceAll(id, name), text));
}
