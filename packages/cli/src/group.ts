import { principalKinds } from "@gatehouse/protocol";
import type { Command } from "commander";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { moment, table } from "./output.ts";
import { byName, everyPage } from "./pages.ts";
import { idOf, idOfNewcomer } from "./principal.ts";

export function addGroup(program: Command): void {
  const group = addNoun(program, "group", "Groups of the space: list, mine, create, rename, delete, add, remove, members, set-admin.");

  addCommand(group, {
    usage: "list",
    summary: "List the groups of the space.",
    examples: ["group list"],
    run: async (me) => ({ groups: byName(await everyPage((await me.inSpace()).group.list, ({ groups }) => groups)) }),
    show: ({ groups }) =>
      table(
        ["Name", "Id", "Created"],
        groups.map(({ name, id, createdAt }) => [name, id, moment(createdAt)]),
        "There are no groups. Make one: me group create NAME",
      ),
  });

  addCommand(group, {
    usage: "mine",
    summary: "List the groups you are in, or another member is.",
    examples: ["group mine", "group mine --of support-bot"],
    options: (command) => command.option("--of <member>", "this member, instead of you"),
    async run(me, { of }: { of?: string }) {
      const client = await me.inSpace();
      const whose = of === undefined ? {} : { member: await idOf(me, client, of) };
      const groups = await everyPage(
        (page) => client.group.listForMember({ ...whose, ...page }),
        ({ groups }) => groups,
      );
      return { groups: byName(groups) };
    },
    show: ({ groups }) =>
      table(
        ["Name", "Role", "Id"],
        groups.map(({ name, admin, id }) => [name, admin ? "admin" : "member", id]),
        "In no group.",
      ),
  });

  addCommand(group, {
    usage: "create <name>",
    summary: "Make a group.",
    examples: ["group create Support"],
    run: async (me, _options, name) => (await me.inSpace()).group.create({ name: name as string }),
    show: ({ name, id }) => `Created group ${name} (${id}).`,
  });

  addCommand(group, {
    usage: "rename <group> <name>",
    summary: "Give a group another name.",
    examples: ["group rename Support Help"],
    async run(me, _options, given, name) {
      const client = await me.inSpace();
      return client.group.rename({ group: await idOf(me, client, given as string, "g"), name: name as string });
    },
    show: ({ name, id }) => `Group ${id} is now named ${name}.`,
  });

  addCommand(group, {
    usage: "delete <group>",
    summary: "Delete a group, and what was granted to it.",
    examples: ["group delete Help", "group delete Help --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, given) {
      const client = await me.inSpace();
      const id = await idOf(me, client, given as string, "g");
      await confirmed(me, `Deleting ${given} takes what it was granted from all its members.`, yes);
      return client.group.delete({ group: id });
    },
    show: ({ id }) => `Deleted group ${id}.`,
  });

  addCommand(group, {
    usage: "add <group> <member>",
    summary: "Put somebody into a group.",
    examples: ["group add Support support-bot"],
    async run(me, _options, given, member) {
      const client = await me.inSpace();
      const id = await idOf(me, client, given as string, "g");
      return client.group.addMember({ group: id, member: await idOfNewcomer(me, client, member as string) });
    },
    show: () => "Added. What the group is granted counts for them while they are on the roster.",
  });

  addCommand(group, {
    usage: "remove <group> <member>",
    summary: "Take somebody out of a group.",
    examples: ["group remove Support support-bot"],
    async run(me, _options, given, member) {
      const client = await me.inSpace();
      const id = await idOf(me, client, given as string, "g");
      return client.group.removeMember({ group: id, member: await idOfNewcomer(me, client, member as string) });
    },
    show: () => "Removed.",
  });

  addCommand(group, {
    usage: "set-admin <group> <user>",
    summary: "Make a user of a group its admin.",
    examples: ["group set-admin Support Ada", "group set-admin Support Ada --off"],
    options: (command) => command.option("--off", "no longer an admin"),
    async run(me, { off }: { off?: boolean }, given, member) {
      const client = await me.inSpace();
      const id = await idOf(me, client, given as string, "g");
      return client.group.setMemberAdmin({ group: id, member: await idOf(me, client, member as string, "u"), admin: !off });
    },
    show: ({ admin }) => (admin ? "They administer the group." : "They no longer administer the group."),
  });

  addCommand(group, {
    usage: "members <group>",
    summary: "List who is in a group.",
    examples: ["group members Support"],
    async run(me, _options, given) {
      const client = await me.inSpace();
      const group = await idOf(me, client, given as string, "g");
      const members = await everyPage(
        (page) => client.group.listMembers({ group, ...page }),
        ({ members }) => members,
      );
      return { members: byName(members) };
    },
    show: ({ members }) =>
      table(
        ["Name", "Kind", "Role", "On the roster", "Id"],
        members.map(({ name, kind, admin, inSpace, id }) => [
          name,
          principalKinds[kind],
          admin ? "admin" : "member",
          inSpace ? "yes" : "no",
          id,
        ]),
        "Nobody is in this group. Add somebody: me group add GROUP NAME",
      ),
  });
}
