import type { Client } from "@gatehouse/client";
import { type Agent, type PrincipalRef, principalKinds, sameName, type UserApi } from "@gatehouse/protocol";
import { CliError } from "./exit.ts";
import { everyPage } from "./pages.ts";

/** The agents of an id or a name, among those that the caller manages: others can put agents of theirs among those, of any name. */
export async function agentsNamed(client: Client<UserApi>, given: string): Promise<Agent[]> {
  const agents = await everyPage(client.agent.list, ({ agents }) => agents);
  return agents.filter(({ id, name }) => id === given || sameName(name, given));
}

/** The agent of an id or a name. @throws CliError when there is none, or more than one of that name */
export async function findAgent(client: Client<UserApi>, given: string): Promise<Agent> {
  const found = await agentsNamed(client, given);
  if (found.length > 1) throw ambiguous(`You manage ${found.length} agents named ${given}.`, found);
  if (!found[0]) throw new CliError("not found", `You have no agent ${given}. me agent list shows those you have.`);
  return found[0];
}

/** The error of a name that several have. */
export const ambiguous = (said: string, found: readonly (PrincipalRef | Agent)[]): CliError =>
  new CliError("usage", `${said} Say which by id:\n${found.map((one) => `  ${one.id} ${describe(one)}`).join("\n")}`);

const describe = (one: PrincipalRef | Agent): string => ("owner" in one ? `agent of ${one.owner.name}` : principalKinds[one.kind]);
