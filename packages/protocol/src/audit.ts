import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";

/** One line of the record: a change, or the denials of one method to one caller within one minute. */
export const AuditEntry = z.strictObject({
  id: Id,
  at: Timestamp,
  actor: PrincipalRef,
  via: z.string().describe("kind of credential"),
  credentialId: z.uuid(),
  onBehalfOf: Id.nullable().describe("the owner, where an agent acted"),
  act: Id.nullable().describe("the agent that acted for them, by a token made for it"),
  method: z.string(),
  target: z.string().nullable().describe("what was changed, by id or slug"),
  outcome: z.string().describe("OK, or FORBIDDEN"),
  reason: z.string().nullable(),
  count: z.number().int().describe("how many, for denials"),
  requestId: z.string(),
  traceId: z.string().nullable(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

export const auditMethods = {
  "audit.list": method({
    summary: "Lists what was changed in the space, and what was refused; newest first.",
    effect: "read",
    tool: "list_audit",
    params: z.strictObject({
      actor: Id.optional(),
      method: z.string().max(64).optional(),
      outcome: z.enum(["OK", "FORBIDDEN"]).optional(),
      since: Id.optional().describe("only what is newer than this entry: for following the record"),
      ...page,
    }),
    result: z.strictObject({ entries: z.array(AuditEntry), next: Next }),
    errors: [],
  }),
};
