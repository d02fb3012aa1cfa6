import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";
import { Name } from "./name.ts";

export const Group = z.strictObject({ id: Id, name: z.string(), createdAt: Timestamp });
export type Group = z.infer<typeof Group>;

/** One line of a group: who, whether they administer it, and whether they are on the roster, without which it gives them nothing. */
export const GroupMember = PrincipalRef.extend({ admin: z.boolean(), inSpace: z.boolean() });

const group = Id.describe("The group's id");
const member = Id.describe("The id of a user or an agent");

export const groupMethods = {
  "group.create": method({
    summary: "Makes a group in the space.",
    effect: "write",
    params: z.strictObject({ name: Name }),
    result: z.strictObject({ id: Id, name: z.string() }),
    errors: ["CONFLICT", "LIMIT_REACHED"],
  }),
  "group.list": method({
    summary: "Lists the groups of the space, oldest first.",
    effect: "read",
    tool: "list_groups",
    params: z.strictObject(page),
    result: z.strictObject({ groups: z.array(Group), next: Next }),
    errors: [],
  }),
  "group.rename": method({
    summary: "Gives a group another name.",
    effect: "write",
    params: z.strictObject({ group, name: Name }),
    result: z.strictObject({ id: Id, name: z.string() }),
    errors: ["NOT_FOUND", "CONFLICT"],
  }),
  "group.delete": method({
    summary: "Deletes a group, and what was granted to it. One that owns agents is not deleted.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ group }),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND", "CONFLICT"],
  }),
  "group.addMember": method({
    summary: "Puts somebody you know into a group. It gives them nothing until they are on the roster too.",
    effect: "write",
    params: z.strictObject({ group, member }),
    result: z.strictObject({ group: Id, member: Id }),
    errors: ["NOT_FOUND", "LIMIT_REACHED"],
  }),
  "group.removeMember": method({
    summary: "Takes somebody out of a group.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ group, member }),
    result: z.strictObject({ group: Id, member: Id }),
    errors: ["NOT_FOUND"],
  }),
  "group.setMemberAdmin": method({
    summary: "Makes a user of a group its admin, or no longer one.",
    effect: "write",
    params: z.strictObject({ group, member, admin: z.boolean() }),
    result: z.strictObject({ group: Id, member: Id, admin: z.boolean() }),
    errors: ["NOT_FOUND"],
  }),
  "group.listMembers": method({
    summary: "Lists who is in a group.",
    effect: "read",
    tool: "list_group_members",
    params: z.strictObject({ group, ...page }),
    result: z.strictObject({ members: z.array(GroupMember), next: Next }),
    errors: ["NOT_FOUND"],
  }),
  "group.listForMember": method({
    summary: "Lists the groups that you, or a member, are in.",
    effect: "read",
    tool: "list_groups_of",
    params: z.strictObject({ member: member.optional().describe("left out = yourself"), ...page }),
    result: z.strictObject({ groups: z.array(Group.extend({ admin: z.boolean() })), next: Next }),
    errors: [],
  }),
};
