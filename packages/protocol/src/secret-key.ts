import { z } from "zod";
import { ApiKey, KeySecret, keyById, rotation } from "./api-key.ts";
import { Id, Moment, method, Next, page } from "./method.ts";
import { Name } from "./name.ts";
import { PermissionText } from "./permission.ts";

/** Keys by which the space's own server side calls, as the space's service. */
export const secretKeyMethods = {
  "secretKey.create": method({
    summary: "Makes a secret key, by which your server calls as the service of this space. It is shown once.",
    effect: "write",
    params: z.strictObject({
      name: Name,
      ceiling: z.array(PermissionText).min(1).max(64).optional().describe("limits the key; left out = all that the service may do"),
      expiresAt: Moment.optional().describe("in the future; left out = never"),
    }),
    result: z.strictObject({ id: Id, key: KeySecret }),
    errors: ["CONFLICT", "LIMIT_REACHED"],
  }),
  "secretKey.list": method({
    summary: "Lists the secret keys of this space, without their secrets, newest first.",
    effect: "read",
    params: z.strictObject(page),
    result: z.strictObject({ keys: z.array(ApiKey), next: Next }),
    errors: [],
  }),
  "secretKey.rotate": rotation("Gives a secret key a new secret. The old one is good for the overlap, and no longer."),
  "secretKey.revoke": method({
    summary: "Revokes a secret key, at once and for good.",
    effect: "write",
    takesBack: true,
    params: keyById,
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};
