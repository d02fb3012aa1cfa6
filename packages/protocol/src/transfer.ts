import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";

const agent = Id.describe("The agent's id");

export const transferMethods = {
  "agent.transfer": method({
    summary: "Offers one of your agents to another owner. It is theirs once they accept; its keys die then.",
    effect: "write",
    params: z.strictObject({ id: agent, to: Id.describe("The id of a user or a group, of a space that you are in") }),
    result: z.strictObject({ id: Id, to: PrincipalRef, accepted: z.boolean().describe("true where you could accept for the new owner") }),
    errors: ["NOT_FOUND", "CONFLICT", "LIMIT_REACHED"],
  }),
  "agent.offers": method({
    summary: "Lists the agents that are offered to you, or to a group that you administer, and those that you offered.",
    effect: "read",
    params: z.strictObject(page),
    result: z.strictObject({
      offers: z.array(
        z.strictObject({
          agent: PrincipalRef,
          to: PrincipalRef,
          toYou: z.boolean().describe("true where you may accept it; else you made the offer, and may take it back"),
          offeredBy: z.string(),
          createdAt: Timestamp,
        }),
      ),
      next: Next,
    }),
    errors: [],
  }),
  "agent.accept": method({
    summary: "Takes over an agent that is offered. Its old keys die.",
    effect: "write",
    params: z.strictObject({ id: agent }),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND", "CONFLICT", "LIMIT_REACHED"],
  }),
  "agent.decline": method({
    summary: "Declines, or takes back, the offer of an agent.",
    effect: "write",
    params: z.strictObject({ id: agent }),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};
