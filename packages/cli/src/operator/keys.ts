import type { Command } from "commander";
import { confirmed } from "../ask.ts";
import { addCommand, addNoun } from "../command.ts";
import { moment } from "../output.ts";

export function addKeys(program: Command): void {
  const keys = addNoun(program, "keys", "The keys that sign tokens, on the machine of the server: rotate.");

  addCommand(keys, {
    usage: "rotate",
    summary: "Make a new signing key. It is published now and signs in ten minutes; what was signed before stays good.",
    examples: ["keys rotate", "keys rotate --compromised"],
    options: (command) =>
      command
        .option("--compromised", "the old key is known to somebody: end every token there is, and sign with the new one at once")
        .option("-y, --yes", "do not ask"),
    async run(me, { compromised, yes }: { compromised?: boolean; yes?: boolean }) {
      const { migrate, openConfiguredDatabase, readConfig, secretOf, SigningKeys } = await import("@gatehouse/server");
      if (compromised) await confirmed(me, "Every token of every principal ends.", yes);
      const config = readConfig();
      const database = await openConfiguredDatabase(config, { join: true });
      try {
        await migrate(database.sql);
        return await new SigningKeys(database.sql, await secretOf(config)).rotate(compromised);
      } finally {
        await database.close();
      }
    },
    show: ({ kid, signsFrom }) => `Signing key ${kid} signs from ${moment(signsFrom)}.`,
  });
}
