import type { Command } from "commander";
import { runAgents } from "./agent-run.ts";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { CliError } from "./exit.ts";
import { createMe, type Me } from "./me.ts";
import { findAgent } from "./named.ts";
import { facts, moment, table, word } from "./output.ts";
import { byName, everyPage } from "./pages.ts";
import { showSpaces } from "./space.ts";

export function addAgent(program: Command): void {
  const agent = addNoun(
    program,
    "agent",
    "Agents that belong to you: create, list, get, spaces, rename, delete, run; add, transfer, offers, accept, decline.",
  );

  addCommand(agent, {
    usage: "create <name>",
    summary: "Make an agent that belongs to you.",
    examples: ["agent create support-bot", "agent create support-bot --json"],
    run: async (me, _options, name) => (await me.client()).agent.create({ name: name as string }),
    show: ({ name, id }) => `Created agent ${name} (${id}).\nNext, give it a key: me apikey create --agent ${word(id)} --name KEY-NAME`,
  });

  addCommand(agent, {
    usage: "list",
    summary: "List your agents.",
    examples: ["agent list"],
    run: async (me) => ({ agents: byName(await everyPage((await me.client()).agent.list, ({ agents }) => agents)) }),
    show: ({ agents }) =>
      table(
        ["Name", "Owner", "Id", "Created"],
        agents.map(({ name, owner, id, createdAt }) => [name, owner.name, id, moment(createdAt)]),
        "You have no agents. Make one: me agent create NAME",
      ),
  });

  addCommand(agent, {
    usage: "get <agent>",
    summary: "Show one of your agents, by name or id.",
    examples: ["agent get support-bot"],
    async run(me, _options, given) {
      const client = await me.client();
      const { id } = await findAgent(client, given as string);
      return client.agent.get({ id });
    },
    show: ({ name, id, owner, createdAt }) => facts({ Name: name, Id: id, Owner: owner.name, Created: moment(createdAt) }),
  });

  addCommand(agent, {
    usage: "spaces <agent>",
    summary: "List the spaces one of your agents is in.",
    examples: ["agent spaces support-bot"],
    async run(me, _options, given) {
      const client = await me.client();
      const { id } = await findAgent(client, given as string);
      return {
        spaces: byName(
          await everyPage(
            (page) => client.agent.spaces({ id, ...page }),
            ({ spaces }) => spaces,
          ),
        ),
      };
    },
    show: ({ spaces }) => showSpaces(spaces),
  });

  addCommand(agent, {
    usage: "rename <agent> <name>",
    summary: "Give an agent another name; its id and keys stay.",
    examples: ["agent rename support-bot helper"],
    async run(me, _options, given, name) {
      const client = await me.client();
      const { id } = await findAgent(client, given as string);
      return client.agent.rename({ id, name: name as string });
    },
    show: ({ name, id }) => `Agent ${id} is now named ${name}.`,
  });

  addCommand(agent, {
    usage: "delete <agent>",
    summary: "Delete an agent. Its keys are dead from that moment.",
    examples: ["agent delete support-bot", "agent delete support-bot --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, given) {
      const client = await me.client();
      const { id, name } = await findAgent(client, given as string);
      await confirmed(me, `Deleting ${name} also revokes its keys, and can't be undone.`, yes);
      return client.agent.delete({ id });
    },
    show: ({ id }) => `Deleted agent ${id}, and with it its keys.`,
  });

  addCommand(agent, {
    usage: "run <file>",
    summary: "Serve the agents that a file exports, and start them again when it changes. Ctrl-C stops it.",
    examples: ["agent run ./agents.ts", "agent run ./agents.ts --env-file .env", "agent run ./agents.ts --no-watch"],
    options: (command) =>
      command
        .option("--env-file <file>", "variables, as if the shell had set them; what the shell sets itself stays (default: no file is read)")
        .option("--no-watch", "end when the agents end, and never start them again"),
    traced: false,
    run(me, { watch, envFile, server }: { watch: boolean; envFile?: string; server?: string }, file) {
      return runAgents(envFile === undefined ? me : withVariables(envFile, server), file as string, { watching: watch });
    },
    show: () => "",
  });
}

/** Sets the variables of a file, and reads the settings anew. @throws CliError where the file can't be read */
function withVariables(file: string, server: string | undefined): Me {
  try {
    process.loadEnvFile(file);
  } catch (error) {
    throw new CliError("usage", `--env-file ${file} can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
  return createMe(server === undefined ? {} : { server });
}
