import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";
import { Name } from "./name.ts";
import { Space } from "./space.ts";

export const Agent = z.strictObject({ id: Id, name: z.string(), owner: PrincipalRef, createdAt: Timestamp });
export type Agent = z.infer<typeof Agent>;

const byId = z.strictObject({ id: Id.describe("The agent's id") });

export const agentMethods = {
  "agent.create": method({
    summary: "Makes an agent that belongs to you. Its name is yours alone to give, whatever its case.",
    effect: "write",
    params: z.strictObject({ name: Name }),
    result: z.strictObject({ id: Id, name: z.string() }),
    errors: ["CONFLICT", "LIMIT_REACHED"],
  }),
  "agent.list": method({
    summary: "Lists your agents, oldest first.",
    effect: "read",
    params: z.strictObject(page),
    result: z.strictObject({ agents: z.array(Agent), next: Next }),
    errors: [],
  }),
  "agent.get": method({
    summary: "Shows one of your agents.",
    effect: "read",
    params: byId,
    result: Agent,
    errors: ["NOT_FOUND"],
  }),
  "agent.spaces": method({
    summary: "Lists the spaces whose roster holds one of your agents, oldest first.",
    effect: "read",
    params: byId.extend(page),
    result: z.strictObject({ spaces: z.array(Space), next: Next }),
    errors: ["NOT_FOUND"],
  }),
  "agent.rename": method({
    summary: "Gives one of your agents another name. Its id and keys stay.",
    effect: "write",
    params: z.strictObject({ id: Id.describe("The agent's id"), name: Name }),
    result: z.strictObject({ id: Id, name: z.string() }),
    errors: ["NOT_FOUND", "CONFLICT"],
  }),
  "agent.delete": method({
    summary: "Deletes one of your agents. Its keys are dead from that moment.",
    effect: "write",
    takesBack: true,
    params: byId,
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};
