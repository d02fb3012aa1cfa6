import type { Command } from "commander";
import { addAccess } from "./access.ts";
import { addAgent } from "./agent.ts";
import { addApikey } from "./apikey.ts";
import { addAudit } from "./audit.ts";
import { addChat } from "./chat.ts";
import { addCompletions } from "./completions.ts";
import { addDoctor } from "./doctor.ts";
import { addGroup } from "./group.ts";
import { addInvite } from "./invite.ts";
import { addLogin } from "./login.ts";
import { addMcp } from "./mcp.ts";
import { addKeys } from "./operator/keys.ts";
import { addMigrate } from "./operator/migrate.ts";
import { addUp } from "./operator/up.ts";
import { addUser } from "./operator/user.ts";
import { addPolicy } from "./policy.ts";
import { addPrincipal } from "./principal.ts";
import { addSecretkey } from "./secretkey.ts";
import { addSession } from "./session.ts";
import { addSpace } from "./space.ts";
import { addTask } from "./task.ts";
import { addToken } from "./token.ts";
import { addTransfer } from "./transfer.ts";
import { addWhoami } from "./whoami.ts";

/** Every command there is. */
export function addCommands(program: Command): void {
  const people = [addSpace, addPrincipal, addGroup, addAccess, addInvite, addAudit];
  const agents = [addAgent, addTransfer, addApikey, addToken, addSecretkey, addTask, addSession, addChat, addMcp];
  for (const add of [addWhoami, addLogin, ...people, ...agents, addPolicy, addUp, addUser, addKeys, addMigrate, addDoctor]) add(program);
  addCompletions(program);
}
