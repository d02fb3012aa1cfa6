import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";
import { layerNames, PermissionText } from "./permission.ts";

export const Grant = z.strictObject({
  id: Id,
  principal: PrincipalRef,
  permission: PermissionText,
  grantedBy: PrincipalRef.nullable(),
  createdAt: Timestamp,
});
export type Grant = z.infer<typeof Grant>;

const LayerName = z.enum(layerNames);

/** How a question of access was judged, layer by layer. */
export const Explanation = z.strictObject({
  allowed: z.boolean(),
  principal: PrincipalRef,
  needed: z.array(PermissionText).describe("any one of these; empty where the policy asks for none"),
  layers: z.array(
    z.strictObject({
      layer: LayerName,
      of: z.string().describe("whose: the principal, its owner, or the key"),
      allows: z.boolean(),
      by: PermissionText.nullable().describe("the permission of this layer that covers it; null where you may not know it"),
    }),
  ),
  reason: z.string().nullable().describe("why not; null when allowed"),
  grantors: z.array(z.string()).describe("who could give it, by name"),
});
export type Explanation = z.infer<typeof Explanation>;

const principal = Id.optional().describe("left out = yourself");

/** A question: a permission, or a method of the space RPC with its params. */
const question = z
  .strictObject({
    principal,
    permission: PermissionText.optional(),
    method: z
      .string()
      .max(64)
      .optional()
      .describe("a method of the space RPC, in place of a permission; those of the user RPC, such as whoami, can't be asked about"),
    params: z.record(z.string(), z.unknown()).optional().describe("the params of the method"),
  })
  .refine(
    ({ permission, method, params }) =>
      (permission === undefined) !== (method === undefined) && (params === undefined || method !== undefined),
    {
      message: "ask for a permission, or for a method with its params",
    },
  );

export const accessMethods = {
  "access.grant": method({
    summary: "Gives a permission to a user, an agent or a group. It counts while they are on the roster.",
    effect: "write",
    params: z.strictObject({ principal: Id.describe("To whom, of those you know"), permission: PermissionText }),
    result: Grant,
    errors: ["NOT_FOUND", "LIMIT_REACHED"],
  }),
  "access.revoke": method({
    summary: "Takes a permission back that was granted in exactly these words.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ principal: Id.describe("From whom"), permission: PermissionText }),
    result: z.strictObject({ principal: Id, permission: PermissionText }),
    errors: ["NOT_FOUND"],
  }),
  "access.list": method({
    summary: "Lists the grants of the space, or those to one principal.",
    effect: "read",
    tool: "list_grants",
    params: z.strictObject({ principal: Id.optional().describe("left out = those of everybody"), ...page }),
    result: z.strictObject({ grants: z.array(Grant), next: Next }),
    errors: [],
  }),
  "access.effective": method({
    summary: "Shows what you, or a principal, may do in the space, and what each layer leaves of it.",
    effect: "read",
    cost: 50,
    tool: "show_access",
    params: z.strictObject({ principal }),
    result: z.strictObject({
      principal: PrincipalRef,
      permissions: z.array(PermissionText).describe("what all layers together allow"),
      layers: z
        .array(z.strictObject({ layer: LayerName, of: z.string(), permissions: z.array(PermissionText) }))
        .describe(
          "those whose permissions you may know: without read:grants, a limited credential its own limits, and an agent nothing of its owner",
        ),
      truncated: z.boolean().describe("whether a list was cut, as a page is bounded in bytes: access.list lists all grants"),
    }),
    errors: ["NOT_FOUND"],
  }),
  "access.check": method({
    summary: "Tells whether you, or a principal, may: a permission, or a method of the space with its params.",
    effect: "read",
    tool: "check_access",
    params: question,
    result: z.strictObject({ allowed: z.boolean() }),
    errors: ["NOT_FOUND"],
  }),
  "access.explain": method({
    summary: "Tells whether, and why, layer by layer, and who could change it: a permission, or a method of the space with its params.",
    effect: "read",
    tool: "explain_access",
    params: question,
    result: Explanation,
    errors: ["NOT_FOUND"],
  }),
};
