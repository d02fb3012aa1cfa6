import type { Client } from "@gatehouse/client";
import { type Space, sameName, type UserApi } from "@gatehouse/protocol";
import type { Command } from "commander";
import { askText, confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { CliError } from "./exit.ts";
import { facts, moment, table } from "./output.ts";
import { byName, everyPage } from "./pages.ts";
import { showPrincipals } from "./principal.ts";

/** The form of a slug. */
const SLUG = /^[a-z0-9]{12}$/;

/**
 * The space of a slug or a name. What has the form of a slug is no name: others can give a space of theirs, and put the caller into
 * it, the slug of another as its name.
 * @throws CliError when there is none, or more than one of that name
 */
export async function findSpace(client: Client<UserApi>, given: string): Promise<Space> {
  const spaces = await everyPage(client.space.list, ({ spaces }) => spaces);
  const named = spaces.filter(({ name }) => sameName(name, given));
  const found = SLUG.test(given) ? spaces.filter(({ slug }) => slug === given) : named;
  if (found.length > 1)
    throw new CliError(
      "usage",
      `You are in ${found.length} spaces named ${given}. Name one by its slug: ${found.map(({ slug }) => slug).join(", ")}`,
    );
  if (!found[0] && named[0])
    throw new CliError("not found", `You are in no space with the slug ${given}. Name the one of that name by its slug: ${named[0].slug}`);
  if (!found[0]) throw new CliError("not found", `You are in no space ${given}. me space list shows those you are in.`);
  return found[0];
}

/** Spaces as a table; the current one is marked. */
export const showSpaces = (spaces: readonly Space[], current?: string): string =>
  table(
    ["", "Slug", "Name", "Role", "Created"],
    spaces.map(({ slug, name, admin, createdAt }) => [
      slug === current ? "*" : "",
      slug,
      name,
      admin ? "admin" : "member",
      moment(createdAt),
    ]),
    "No spaces.",
  );

export function addSpace(program: Command): void {
  const space = addNoun(program, "space", "Spaces: list, create, rename, delete, use; the one in use: get, members, leave.");

  addCommand(space, {
    usage: "list",
    summary: "List the spaces you are in.",
    examples: ["space list", "space list --json"],
    run: async (me) => ({ spaces: byName(await everyPage((await me.client()).space.list, ({ spaces }) => spaces)) }),
    show: async ({ spaces }, me) => showSpaces(spaces, me.settings.space ?? (await me.store.read()).servers[await me.server()]?.space),
  });

  addCommand(space, {
    usage: "create <name>",
    summary: "Make a space; you are its first admin.",
    examples: ['space create "Support team"'],
    run: async (me, _options, name) => (await me.client()).space.create({ name: name as string }),
    show: ({ name, slug }) => `Created space ${name} (${slug}).`,
  });

  addCommand(space, {
    usage: "rename <space> <name>",
    summary: "Change a space's display name; its slug stays.",
    examples: ['space rename "Support team" Support'],
    async run(me, _options, given, name) {
      const client = await me.client();
      const { slug } = await findSpace(client, given as string);
      return client.space.rename({ slug, name: name as string });
    },
    show: ({ name, slug }) => `Space ${slug} is now named ${name}.`,
  });

  addCommand(space, {
    usage: "delete <space>",
    summary: "Delete a space and all that is in it. Asks for its slug.",
    examples: ["space delete Support", "space delete abcdef012345 --confirm abcdef012345"],
    options: (command) => command.option("--confirm <slug>", "the slug of the space, to say that you mean it"),
    async run(me, { confirm }: { confirm?: string }, given) {
      const client = await me.client();
      const { slug, name } = await findSpace(client, given as string);
      const typed =
        confirm ?? (await askText(me, `Deleting ${name} can't be undone. Type its slug, ${slug}, to go on`, `--confirm ${slug}`));
      if (typed !== slug) throw new CliError("usage", `That is not the slug of ${name}. Nothing was done.`);
      return client.space.delete({ slug, confirm: typed });
    },
    show: ({ slug }) => `Deleted space ${slug}.`,
  });

  addCommand(space, {
    usage: "use <space>",
    summary: "Choose the space that later commands mean, unless ME_SPACE names another.",
    examples: ["space use Support"],
    async run(me, _options, given) {
      const server = await me.server();
      const chosen = await findSpace(await me.client(), given as string);
      await me.store.update((contents) => {
        const entry = contents.servers[server];
        if (!entry)
          throw new CliError("not signed in", "The choice is kept with a sign-in. Run: me login; with a key alone, set ME_SPACE.");
        entry.space = chosen.slug;
      });
      return chosen;
    },
    show: ({ name, slug }) => `Using space ${name} (${slug}).`,
  });

  addCommand(space, {
    usage: "get",
    summary: "Show the space in use.",
    examples: ["space get", "ME_SPACE=abcdef012345 me space get"],
    run: async (me) => (await me.inSpace()).space.get(),
    show: ({ name, slug, admin, createdAt }) =>
      facts({ Name: name, Slug: slug, Role: admin ? "admin" : "member", Created: moment(createdAt) }),
  });

  addCommand(space, {
    usage: "members",
    summary: "List who is in the space.",
    examples: ["space members"],
    async run(me) {
      const client = await me.inSpace();
      return { members: await everyPage(client.space.members, ({ members }) => members) };
    },
    show: ({ members }) => showPrincipals(members, "Nobody."),
  });

  addCommand(space, {
    usage: "leave",
    summary: "Leave the space, and all you were given in it.",
    examples: ["space leave", "space leave --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }) {
      const client = await me.inSpace();
      await confirmed(me, `You lose all you were given in the space ${await me.space()}.`, yes);
      return client.space.leave();
    },
    show: ({ slug }) => `You left space ${slug}.`,
  });
}
