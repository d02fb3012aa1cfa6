import type { Command } from "commander";
import { askSecret, askText } from "../ask.ts";
import { addCommand, addNoun } from "../command.ts";
import { CliError } from "../exit.ts";
import { word } from "../output.ts";

export function addUser(program: Command): void {
  const user = addNoun(program, "user", "Accounts of people, on the machine of the server: create.");

  addCommand(user, {
    usage: "create",
    summary: "Make an account, straight in the database. The password is asked for, or read from stdin.",
    examples: ['user create --email ada@example.com --name "Ada"', "user create --email ada@example.com --name Ada < password.txt"],
    options: (command) => command.option("--email <address>", "e-mail address to sign in with").option("--name <name>", "display name"),
    async run(me, { email, name }: { email?: string; name?: string }) {
      const { createUser, migrate, openConfiguredDatabase, readConfig } = await import("@gatehouse/server");
      const config = readConfig();
      const address = email ?? (await askText(me, "E-mail address", "--email ADDRESS"));
      const called = name ?? (await askText(me, "Name", "--name NAME"));
      const password = await askSecret(me, "Password, at least 12 characters");
      if (me.interactive && password !== (await askSecret(me, "The same password once more")))
        throw new CliError("usage", "The passwords differ. Nothing was done.");
      const database = await openConfiguredDatabase(config, { join: true });
      try {
        await migrate(database.sql);
        return { id: await createUser(database.sql, { email: address, name: called, password }), email: address, name: called };
      } finally {
        await database.close();
      }
    },
    show: ({ name, email }) => `Created the account of ${name} (${email}). They sign in with: me login --email ${word(email)}`,
  });
}
