import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, Moment, method, Next, page, Timestamp } from "./method.ts";
import { Name } from "./name.ts";
import { PermissionText } from "./permission.ts";

/** The kinds of API key, by the prefix that shows them. */
export const keyPrefixes = { pat: "me_pat_", agent_key: "me_agent_", secret_key: "me_secret_" } as const;
export type KeyKind = keyof typeof keyPrefixes;

/** Longest time in hours that the old secret of a rotated key may live on: a week. */
export const MAX_OVERLAP_HOURS = 168;

export const ApiKey = z.strictObject({
  id: Id,
  name: z.string(),
  principal: PrincipalRef.describe("whom the key speaks for"),
  hint: z.string().describe("prefix and last 4 characters; the key itself is shown once, when it is made"),
  ceiling: z.array(PermissionText).nullable().describe("null = all that its principal may do"),
  expiresAt: Timestamp.nullable(),
  lastUsedAt: Timestamp.nullable().describe("to within a few minutes"),
  previousExpiresAt: Timestamp.nullable().describe("until when the secret before the last rotation is still good"),
  createdAt: Timestamp,
});
export type ApiKey = z.infer<typeof ApiKey>;

export const keyById = z.strictObject({ id: Id.describe("The key's id") });
export const KeySecret = z.string().describe("the key, shown this once");

/** What gives a key a new secret, whichever kind it is. */
export const rotation = (summary: string) =>
  method({
    summary,
    effect: "write",
    params: keyById.extend({
      overlapHours: z.number().int().min(0).max(MAX_OVERLAP_HOURS).default(24).describe("hours; 0 = the old secret dies now"),
    }),
    result: z.strictObject({ id: Id, key: KeySecret, previousExpiresAt: Timestamp.nullable() }),
    errors: ["NOT_FOUND", "CONFLICT"],
  });

export const apiKeyMethods = {
  "apiKey.create": method({
    summary: "Makes a key for yourself, or for one of your agents. It is shown once.",
    effect: "write",
    params: z.strictObject({
      name: Name,
      agent: Id.optional().describe("one of your agents; left out = yourself, a personal access token"),
      ceiling: z.array(PermissionText).min(1).max(64).optional().describe("limits the key; left out = no limit"),
      expiresAt: Moment.optional().describe("in the future; left out = never"),
    }),
    result: z.strictObject({ id: Id, key: KeySecret }),
    errors: ["NOT_FOUND", "CONFLICT", "LIMIT_REACHED"],
  }),
  "apiKey.list": method({
    summary: "Lists your keys and those of your agents, newest first.",
    effect: "read",
    params: z.strictObject({ agent: Id.optional().describe("only the keys of this agent of yours"), ...page }),
    result: z.strictObject({ keys: z.array(ApiKey), next: Next }),
    errors: ["NOT_FOUND"],
  }),
  "apiKey.get": method({
    summary: "Shows one key, without its secret.",
    effect: "read",
    params: keyById,
    result: ApiKey,
    errors: ["NOT_FOUND"],
  }),
  "apiKey.rotate": rotation("Gives a key a new secret. The old one is good for the overlap, and no longer."),
  "apiKey.delete": method({
    summary: "Revokes a key, at once and for good.",
    effect: "write",
    takesBack: true,
    params: keyById,
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
};
