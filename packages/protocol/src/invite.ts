import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";
import { Slug } from "./space.ts";

/** Longest time that an invitation may stay open: 30 days. */
const MAX_HOURS = 720;

const Address = z.string().max(254, { abort: true }).check(z.email()).toLowerCase().describe("e-mail address");

export const Invite = z.strictObject({
  id: Id,
  email: z.string().nullable().describe("null for a link"),
  groups: z.array(PrincipalRef),
  invitedBy: PrincipalRef.nullable(),
  expiresAt: Timestamp,
  createdAt: Timestamp,
});
export type Invite = z.infer<typeof Invite>;

/** An invitation, as whom it is for sees it. */
export const PendingInvite = z.strictObject({
  id: Id,
  space: z.strictObject({ slug: Slug, name: z.string() }),
  invitedBy: z.string().nullable(),
  expiresAt: Timestamp,
});
export type PendingInvite = z.infer<typeof PendingInvite>;

export const inviteMethods = {
  "invite.create": method({
    summary: "Invites somebody, by e-mail address or by a link that is shown once. It is accepted, never applied by itself.",
    effect: "write",
    params: z.strictObject({
      email: Address.optional().describe("left out = a link, for whoever holds it, once"),
      groups: z.array(Id).max(20).default([]).describe("groups to be put into"),
      expiresInHours: z.number().int().min(1).max(MAX_HOURS).default(168),
    }),
    result: z.strictObject({ id: Id, token: z.string().nullable().describe("the secret of a link, shown this once") }),
    errors: ["NOT_FOUND", "CONFLICT", "LIMIT_REACHED"],
  }),
  "invite.list": method({
    summary: "Lists the open invitations of the space.",
    effect: "read",
    tool: "list_invites",
    params: z.strictObject(page),
    result: z.strictObject({ invites: z.array(Invite), next: Next }),
    errors: [],
  }),
  "invite.revoke": method({
    summary: "Takes an invitation back.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ id: Id.describe("The invitation's id") }),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};

/** What whoever was invited can do about it: an id for an address of theirs, a token for a link. */
const which = z
  .strictObject({ id: Id.optional(), token: z.string().max(64).optional() })
  .refine(({ id, token }) => (id === undefined) !== (token === undefined), {
    message: "name an invitation by its id, or by the token of its link",
  });

export const invitedMethods = {
  "invite.pending": method({
    summary: "Lists the invitations to your e-mail address. It must be verified.",
    effect: "read",
    params: z.strictObject(page),
    result: z.strictObject({ invites: z.array(PendingInvite), next: Next }),
    errors: [],
  }),
  "invite.accept": method({
    summary: "Accepts an invitation: you are on the roster, and in its groups.",
    effect: "write",
    params: which,
    result: z.strictObject({ space: z.strictObject({ slug: Slug, name: z.string() }) }),
    errors: ["NOT_FOUND", "LIMIT_REACHED"],
  }),
  "invite.decline": method({
    summary: "Declines an invitation to your e-mail address.",
    effect: "write",
    params: z.strictObject({ id: Id.describe("The invitation's id") }),
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};
