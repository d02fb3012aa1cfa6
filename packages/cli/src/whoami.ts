import { callerKinds, credentialKinds } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand } from "./command.ts";
import { keptIn } from "./me.ts";
import { facts, moment } from "./output.ts";

export function addWhoami(program: Command): void {
  addCommand(program, {
    usage: "whoami",
    summary: "Show who is calling, and by which credential.",
    examples: ["whoami", "whoami --json"],
    run: async (me) => (await me.client()).whoami(),
    show: async ({ id, kind, email, name, credential, owner, act }, me) =>
      facts({
        Name: name,
        Kind: callerKinds[kind],
        Email: email ?? undefined,
        Owner: owner?.name,
        "Acting for them": act?.name,
        Id: id,
        Credential: `${credentialKinds[credential.via]}, expires: ${moment(credential.expiresAt)}`,
        Space: credential.space ?? undefined,
        Scope: credential.scope?.join(" "),
        "Kept in": await keptIn(me),
        Server: await me.server(),
      }),
  });
}
