import type { Command } from "commander";
import { addCommand, addNoun } from "./command.ts";
import { CliError } from "./exit.ts";
import { moment, note, table, word } from "./output.ts";
import { everyPage } from "./pages.ts";
import { idOf } from "./principal.ts";

const collect = (value: string, before: string[] = []) => [...before, value];

export function addInvite(program: Command): void {
  const invite = addNoun(program, "invite", "Invitations: create, list, revoke in the space; pending, accept, decline for whom they are.");

  addCommand(invite, {
    usage: "create [email]",
    summary: "Invite somebody by e-mail address; without one, by a link's token that is shown once.",
    examples: ["invite create bob@example.com", "invite create --group Support --expires 48"],
    options: (command) =>
      command
        .option("--group <group>", "a group to be put into; may be given more than once", collect)
        .option("--expires <hours>", "hours that it stays open", "168"),
    async run(me, { group = [], expires }: { group?: string[]; expires: string }, email) {
      if (!/^\d+$/.test(expires)) throw new CliError("usage", "--expires must be a whole number of hours.");
      const client = await me.inSpace();
      const groups = await Promise.all(group.map((given) => idOf(me, client, given, "g")));
      return client.invite.create({ ...(email !== undefined && { email }), groups, expiresInHours: Number(expires) });
    },
    show({ id, token }) {
      if (token === null) return `Invited (${id}). They accept with: me invite accept ${word(id)}`;
      note("This token is shown once. Whoever has it can join, once: me invite accept --token TOKEN");
      return token;
    },
  });

  addCommand(invite, {
    usage: "list",
    summary: "List the open invitations of the space.",
    examples: ["invite list"],
    run: async (me) => ({ invites: await everyPage((await me.inSpace()).invite.list, ({ invites }) => invites) }),
    show: ({ invites }) =>
      table(
        ["For", "Groups", "By", "Expires", "Id"],
        invites.map((each) => [
          each.email ?? "whoever has the link",
          each.groups.map(({ name }) => name).join(", "),
          each.invitedBy?.name ?? "",
          moment(each.expiresAt),
          each.id,
        ]),
        "No invitation is open.",
      ),
  });

  addCommand(invite, {
    usage: "revoke <id>",
    summary: "Take an invitation back.",
    examples: ["invite revoke 01a201c6-557a-765a-b88b-fb6e5b2cf20c"],
    run: async (me, _options, id) => (await me.inSpace()).invite.revoke({ id: id as string }),
    show: ({ id }) => `Took back invitation ${id}.`,
  });

  addCommand(invite, {
    usage: "pending",
    summary: "List the invitations to your address.",
    examples: ["invite pending"],
    run: async (me) => ({ invites: await everyPage((await me.client()).invite.pending, ({ invites }) => invites) }),
    show: ({ invites }) =>
      table(
        ["Space", "By", "Expires", "Id"],
        invites.map(({ space, invitedBy, expiresAt, id }) => [space.name, invitedBy ?? "", moment(expiresAt), id]),
        "Nobody invites you.",
      ),
  });

  addCommand(invite, {
    usage: "accept [id]",
    summary: "Accept an invitation: by its id, or by the token of a link.",
    examples: ["invite accept 01a201c6-557a-765a-b88b-fb6e5b2cf20c", "invite accept --token TOKEN"],
    options: (command) => command.option("--token <token>", "the token of a link"),
    async run(me, { token }: { token?: string }, id) {
      if ((id === undefined) === (token === undefined)) throw new CliError("usage", "Say which: an id, or --token TOKEN.");
      return (await me.client()).invite.accept(token === undefined ? { id } : { token });
    },
    show: ({ space }) => `You are in ${space.name}. Use it with: me space use ${word(space.slug)}`,
  });

  addCommand(invite, {
    usage: "decline <id>",
    summary: "Decline an invitation.",
    examples: ["invite decline 01a201c6-557a-765a-b88b-fb6e5b2cf20c"],
    run: async (me, _options, id) => (await me.client()).invite.decline({ id: id as string }),
    show: () => "Declined.",
  });
}
