import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Timestamp } from "./method.ts";
import { PermissionText } from "./permission.ts";

/** Longest life of a token, in seconds: a day. */
export const MAX_TOKEN_SECONDS = 86_400;
/** What a token lives if nothing else is asked for: an hour. */
export const DEFAULT_TOKEN_SECONDS = 3600;

/** Longest scope of a token, in characters with a space between: what carries it must fit into a header. */
export const MAX_SCOPE_LENGTH = 4096;
/** Most permissions in it. */
export const MAX_SCOPE = 256;
/** What a token may do: permissions in one space. Without any, what needs none. */
const Scope = z
  .array(PermissionText)
  .max(MAX_SCOPE, { abort: true })
  .refine((scope) => scope.join(" ").length <= MAX_SCOPE_LENGTH, `must be at most ${MAX_SCOPE_LENGTH} characters in all`);
const Slug = z.string().regex(/^[a-z0-9]{12}$/, "must be the slug of a space: 12 letters and digits");
const Presented = z.string().min(1);

/** What is told of a credential to those it concerns; of any other only that it is not active. */
export const Inspection = z.strictObject({
  active: z.boolean(),
  id: z.string().optional().describe("the key's id, or the token's jti"),
  kind: z.enum(["token", "browser token", "key", "session"]).optional().describe("browser token: of one session, for a browser"),
  principal: PrincipalRef.optional().describe("whom it speaks for; absent for a browser token, which speaks for nobody"),
  session: Id.optional().describe("the only session that a browser token is good in"),
  act: PrincipalRef.optional().describe("the agent that acts for them"),
  mayAct: Id.optional().describe("the agent that it is for: it is good for nothing but that agent's exchange"),
  space: z.string().optional().describe("slug of the only space it is good in"),
  resource: z.string().optional().describe("path of the only door it opens (RFC 8707)"),
  scope: z.array(PermissionText).optional().describe("what it is limited to; absent = all that its principal may do"),
  expiresAt: Timestamp.optional(),
});
export type Inspection = z.infer<typeof Inspection>;

export const tokenMethods = {
  "token.create": method({
    summary: "Mints a short-lived token (JWT) that may do part of what your credential may, in one space (RFC 8693).",
    effect: "write",
    params: z.strictObject({
      space: Slug.describe("the space it is good in"),
      scope: Scope.describe("what it may do there: within what your credential may; empty, only what needs no permission"),
      ttlSeconds: z
        .number()
        .int()
        .min(1)
        .max(MAX_TOKEN_SECONDS)
        .default(DEFAULT_TOKEN_SECONDS)
        .describe("seconds it lives; never longer than your credential"),
      mayAct: Id.optional().describe(
        "an agent: the token is for it alone, and good for nothing but to be exchanged, with the agent's own key, for one by which it acts for you",
      ),
    }),
    result: z.strictObject({
      id: Id.describe("the token's jti"),
      token: z.string().describe("the token, shown this once"),
      space: z.string(),
      scope: z.array(PermissionText),
      expiresAt: Timestamp,
    }),
    errors: ["NOT_FOUND", "FORBIDDEN", "LIMIT_REACHED"],
  }),
  "token.inspect": method({
    summary: "Tells whether a token or key of yours is good, and for what (RFC 7662).",
    effect: "read",
    params: z.strictObject({ token: Presented.describe("the token or key itself") }),
    result: Inspection,
    errors: [],
  }),
  "token.revoke": method({
    summary: "Ends a token or key of yours, at once and for good. What is not yours, or not good, stays as it is (RFC 7009).",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ token: Presented.describe("the token or key itself") }),
    result: z.strictObject({}),
    errors: [],
  }),
};
