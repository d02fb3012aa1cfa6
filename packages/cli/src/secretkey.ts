import { type ApiKey, sameName } from "@gatehouse/protocol";
import type { Command } from "commander";
import { collect, showRotated, showSecret } from "./apikey.ts";
import { confirmed } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { readHours, readMoment } from "./duration.ts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { moment, table } from "./output.ts";
import { everyPage } from "./pages.ts";

/** The secret key of an id or a name, in the space in use. @throws CliError when there is none, or more than one */
async function findKey(me: Me, given: string): Promise<ApiKey> {
  const keys = await everyPage((await me.inSpace()).secretKey.list, ({ keys }) => keys);
  const found = keys.filter(({ id, name }) => id === given || sameName(name, given));
  if (!found[0] || found.length > 1)
    throw new CliError("not found", `There is no secret key ${given} in this space. me secretkey list shows those there are.`);
  return found[0];
}

export function addSecretkey(program: Command): void {
  const noun = addNoun(program, "secretkey", "Keys by which your server calls as the space's service: create, list, rotate, revoke.");

  addCommand(noun, {
    usage: "create",
    summary: "Make a secret key for the space in use. It is shown once. For the space's admins, signed in.",
    examples: ["secretkey create --name backend", 'secretkey create --name starter --ceiling "write:tasks:support" --expires 90d'],
    options: (command) =>
      command
        .requiredOption("--name <name>", "what to call the key")
        .option("--ceiling <permission>", "limit it to this permission; may be given more than once", collect)
        .option("--expires <when>", "90d, 12h, 30m, or a date such as 2027-01-31 (default: never)"),
    async run(me, { name, ceiling, expires }: { name: string; ceiling?: string[]; expires?: string }) {
      const expiresAt = expires === undefined ? undefined : readMoment(expires);
      return (await me.inSpace()).secretKey.create({ name, ceiling, expiresAt });
    },
    show: showSecret,
  });

  addCommand(noun, {
    usage: "list",
    summary: "List the secret keys of the space in use.",
    examples: ["secretkey list"],
    run: async (me) => ({ keys: await everyPage((await me.inSpace()).secretKey.list, ({ keys }) => keys) }),
    show: ({ keys }) =>
      table(
        ["Name", "Key", "Ceiling", "Expires", "Last used", "Id"],
        keys.map((key) => [key.name, key.hint, key.ceiling?.join(" ") ?? "none", moment(key.expiresAt), moment(key.lastUsedAt), key.id]),
        "There are no secret keys. Make one: me secretkey create --name NAME",
      ),
  });

  addCommand(noun, {
    usage: "rotate <key>",
    summary: "Give a secret key a new secret; the old one stays good for the overlap.",
    examples: ["secretkey rotate backend", "secretkey rotate backend --overlap 0"],
    options: (command) => command.option("--overlap <hours>", "hours that the old secret stays good; 0 = none", "24"),
    async run(me, { overlap }: { overlap: string }, given) {
      const overlapHours = readHours(overlap);
      const { id } = await findKey(me, given as string);
      return (await me.inSpace()).secretKey.rotate({ id, overlapHours });
    },
    show: showRotated,
  });

  addCommand(noun, {
    usage: "revoke <key>",
    summary: "Revoke a secret key, at once and for good: with it end the tokens minted from it.",
    examples: ["secretkey revoke backend", "secretkey revoke backend --yes"],
    options: (command) => command.option("-y, --yes", "do not ask"),
    async run(me, { yes }: { yes?: boolean }, given) {
      const { id, name } = await findKey(me, given as string);
      await confirmed(me, `Revoking ${name} can't be undone.`, yes);
      return (await me.inSpace()).secretKey.revoke({ id });
    },
    show: ({ id }) => `Revoked key ${id}.`,
  });
}
