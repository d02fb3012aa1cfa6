import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";

/** One line of the full roster. */
export const Member = PrincipalRef.extend({
  email: z.string().nullable().describe("null for all but users"),
  owner: PrincipalRef.nullable().describe("whom an agent belongs to; null for a user"),
  admin: z.boolean(),
  addedAt: Timestamp,
});
export type Member = z.infer<typeof Member>;

const byId = { principal: Id.describe("The id of a user or an agent") };

export const principalMethods = {
  "principal.list": method({
    summary: "Lists the full roster, with addresses, owners and admins.",
    effect: "read",
    tool: "list_roster",
    params: z.strictObject(page),
    result: z.strictObject({ members: z.array(Member), next: Next }),
    errors: [],
  }),
  "principal.add": method({
    summary: "Puts a user or an agent that you know on the roster; invite others. Adding again changes nothing: an admin stays one.",
    effect: "write",
    params: z.strictObject(byId),
    result: Member,
    errors: ["NOT_FOUND", "LIMIT_REACHED"],
  }),
  "principal.setAdmin": method({
    summary: "Makes a user of the roster an admin of the space, or no longer one.",
    effect: "write",
    params: z.strictObject({ ...byId, admin: z.boolean() }),
    result: Member,
    errors: ["NOT_FOUND", "LAST_ADMIN"],
  }),
  "principal.remove": method({
    summary: "Takes somebody off the roster, and all they were given in the space with it.",
    effect: "write",
    takesBack: true,
    params: z.strictObject(byId),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND", "LAST_ADMIN"],
  }),
  "principal.resolve": method({
    summary: "Finds members and groups of the space by name, whatever its case. Names of users may be shared.",
    effect: "read",
    tool: "find_principals",
    params: z.strictObject({ name: z.string().min(1).max(64) }),
    result: z.strictObject({ principals: z.array(PrincipalRef) }),
    errors: [],
  }),
  "principal.lookup": method({
    summary: "Tells the names of members and groups of the space. Ids that are none are left out.",
    effect: "read",
    params: z.strictObject({ ids: z.array(Id).min(1).max(200) }),
    result: z.strictObject({ principals: z.array(PrincipalRef) }),
    errors: [],
  }),
};
