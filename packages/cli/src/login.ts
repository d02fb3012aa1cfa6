import { createUserClient, GatehouseError, signIn, signOut } from "@gatehouse/client";
import type { Command } from "commander";
import { askPassword, askText } from "./ask.ts";
import { addCommand } from "./command.ts";
import { CliError } from "./exit.ts";
import { note } from "./output.ts";

export function addLogin(program: Command): void {
  addCommand(program, {
    usage: "login",
    summary: "Sign in with e-mail and password. The password is asked for, or read from stdin.",
    examples: ["login --email ada@example.com", "login --email ada@example.com < password.txt"],
    options: (command) => command.option("--email <address>", "the account's e-mail address"),
    async run(me, { email }: { email?: string }) {
      const server = await me.server();
      const address = email ?? (await askText(me, "E-mail address", "--email ADDRESS"));
      const token = await signIn({ server }, address, await askPassword(me, "Password"));
      const who = await createUserClient({ server, credential: token }).whoami();
      await me.store.update((contents) => {
        contents.current = server;
        contents.servers[server] = { token, expiresAt: who.credential.expiresAt, name: who.name };
      });
      if (me.settings.apiKey) note("ME_API_KEY is set, and goes before this sign-in: unset it to act as yourself.");
      return { server, id: who.id, name: who.name, email: who.email, expiresAt: who.credential.expiresAt };
    },
    show: ({ server, name }) => `Signed in to ${server} as ${name}.`,
  });

  addCommand(program, {
    usage: "logout",
    summary: "Sign out: the session ends on the server, and is forgotten here.",
    examples: ["logout"],
    async run(me) {
      const server = await me.server();
      const entry = (await me.store.read()).servers[server];
      if (!entry) throw new CliError("not signed in", `You are not signed in to ${server}.`);
      await signOut({ server, credential: entry.token }).catch((error: unknown) => {
        // A session that is over already is as good as ended.
        if (!(error instanceof GatehouseError) || error.code !== "UNAUTHENTICATED") throw error;
      });
      await me.store.update((contents) => {
        delete contents.servers[server];
        if (contents.current === server) delete contents.current;
      });
      return { server };
    },
    show: ({ server }) => `Signed out of ${server}.`,
  });
}
