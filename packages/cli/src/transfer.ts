import type { Client } from "@gatehouse/client";
import { principalKinds, type ResultOf, sameName, type UserApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand } from "./command.ts";
import { CliError } from "./exit.ts";
import { findAgent } from "./named.ts";
import { moment, table, word } from "./output.ts";
import { everyPage } from "./pages.ts";
import { idOf } from "./principal.ts";

type Offer = ResultOf<UserApi, "agent.offers">["offers"][number];

/**
 * The id of an agent that is offered, by its id or its name.
 * @param which whether an offer counts
 * @throws CliError when none is, or more than one of that name
 */
async function findOffered(client: Client<UserApi>, given: string, which: (offer: Offer) => boolean = () => true): Promise<string> {
  const offers = await everyPage(client.agent.offers, ({ offers }) => offers);
  const found = offers.filter((offer) => which(offer) && (offer.agent.id === given || sameName(offer.agent.name, given)));
  if (found.length > 1) throw new CliError("usage", `More than one agent named ${given} is offered. Say which by id: me agent offers`);
  if (!found[0]) throw new CliError("not found", `No agent ${given} is offered. me agent offers shows those that are.`);
  return found[0].agent.id;
}

/** Adds to `me agent` the commands by which an agent joins a space, and changes its owner. */
export function addTransfer(program: Command): void {
  const agent = program.commands.find((command) => command.name() === "agent") ?? program;
  addCommand(agent, {
    usage: "add <agent>",
    summary: "Put one of your agents on the roster of the space in use.",
    examples: ["agent add support-bot"],
    async run(me, _options, given) {
      const { id } = await findAgent(await me.client(), given as string);
      return (await me.inSpace()).principal.add({ principal: id });
    },
    show: ({ name, id }) => `${name} is on the roster. Give it what it needs: me access grant ${word(id)} PERMISSION`,
  });

  addCommand(agent, {
    usage: "transfer <agent> <owner>",
    summary: "Offer an agent to another user, or to a group. Its keys die when it is accepted.",
    examples: ["agent transfer support-bot Support", "agent transfer support-bot Bob"],
    async run(me, _options, given, to) {
      const client = await me.client();
      const { id } = await findAgent(client, given as string);
      return client.agent.transfer({ id, to: await idOf(me, await me.inSpace(), to as string) });
    },
    show: ({ to, accepted, id }) =>
      accepted
        ? `It belongs to ${principalKinds[to.kind]} ${to.name} now. Its keys are dead; make new ones.`
        : `Offered to ${principalKinds[to.kind]} ${to.name}, who accepts with: me agent accept ${word(id)}`,
  });

  addCommand(agent, {
    usage: "offers",
    summary: "List the agents that are offered to you, or to a group that you administer, and those that you offered.",
    examples: ["agent offers"],
    run: async (me) => ({ offers: await everyPage((await me.client()).agent.offers, ({ offers }) => offers) }),
    show: ({ offers }) =>
      table(
        ["Agent", "To", "By", "Offered", "Id"],
        offers.map(({ agent, to, offeredBy, createdAt }) => [agent.name, to.name, offeredBy, moment(createdAt), agent.id]),
        "No agent is offered to you, and you offer none.",
      ),
  });

  addCommand(agent, {
    usage: "accept <agent>",
    summary: "Take over an agent that is offered, by its name or id.",
    examples: ["agent accept support-bot"],
    async run(me, _options, given) {
      const client = await me.client();
      return client.agent.accept({ id: await findOffered(client, given as string, ({ toYou }) => toYou) });
    },
    show: () => "It is yours. Its old keys are dead: me apikey create --agent NAME --name KEY-NAME",
  });

  addCommand(agent, {
    usage: "decline <agent>",
    summary: "Decline the offer of an agent, or take your own back.",
    examples: ["agent decline support-bot"],
    async run(me, _options, given) {
      const client = await me.client();
      const id = await findOffered(client, given as string).catch(async (error: unknown) => {
        if (error instanceof CliError && error.ending !== "not found") throw error;
        return (await findAgent(client, given as string)).id;
      });
      return client.agent.decline({ id });
    },
    show: () => "Declined.",
  });
}
