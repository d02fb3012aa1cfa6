#!/usr/bin/env bun
import { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { addAccess } from "./access.ts";
import { addAgent } from "./agent.ts";
import { addApikey } from "./apikey.ts";
import { addAudit } from "./audit.ts";
import { addChat } from "./chat.ts";
import { addCompletions } from "./completions.ts";
import { addDoctor } from "./doctor.ts";
import { describe, exitCodes } from "./exit.ts";
import { addGroup } from "./group.ts";
import { addInvite } from "./invite.ts";
import { addLogin } from "./login.ts";
import { addKeys } from "./operator/keys.ts";
import { addMigrate } from "./operator/migrate.ts";
import { addUp } from "./operator/up.ts";
import { addUser } from "./operator/user.ts";
import { json, note } from "./output.ts";
import { addPolicy } from "./policy.ts";
import { addPrincipal } from "./principal.ts";
import { addSecretkey } from "./secretkey.ts";
import { addSession } from "./session.ts";
import { addSpace } from "./space.ts";
import { addTask } from "./task.ts";
import { addToken } from "./token.ts";
import { addTransfer } from "./transfer.ts";
import { addWhoami } from "./whoami.ts";

const program = new Command("me")
  .description("Gatehouse: one door for people and their AI agents.")
  .version(packageJson.version, "-V, --version", "print the version")
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("(add --help for what this command takes)")
  .addHelpText(
    "after",
    `
Environment: ME_SERVER, ME_API_KEY, ME_SPACE, ME_KEYCHAIN, BROWSER.
Exit codes:  ${Object.entries(exitCodes)
      .map(([ending, code]) => `${code} ${ending}`)
      .join(", ")}.

Examples:
  $ me up
  $ me login
  $ me whoami
  $ me agent create support-bot
  $ me chat echo`,
  )
  .exitOverride();

const people = [addSpace, addPrincipal, addGroup, addAccess, addInvite, addAudit];
const agents = [addAgent, addTransfer, addApikey, addToken, addSecretkey, addTask, addSession, addChat];
for (const add of [addWhoami, addLogin, ...people, ...agents, addPolicy, addUp, addUser, addKeys, addMigrate, addDoctor]) add(program);
addCompletions(program);

try {
  await program.parseAsync();
} catch (error) {
  const { ending, code, message, data } = describe(error);
  if (message) note(process.argv.includes("--json") ? json({ error: { code, message, ...data } }, 0) : `Error: ${message}`);
  process.exitCode = exitCodes[ending];
}
