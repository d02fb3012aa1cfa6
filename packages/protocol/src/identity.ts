import { z } from "zod";
import { Id, method, Timestamp } from "./method.ts";
import { PermissionText } from "./permission.ts";

/** What a principal is. A group never calls, but may own agents and be granted; a service is a space's own server side. */
export const principalKinds = { u: "user", a: "agent", g: "group", s: "service" } as const;
export type PrincipalKind = keyof typeof principalKinds;
/** The kinds of principal that call. */
export type CallerKind = "u" | "a" | "s";

/** What can call: a principal, or a browser that holds the token of one session and is nobody. */
export const callerKinds = { ...(({ g: _group, ...callers }) => callers)(principalKinds), b: "browser" } as const;

/** How a caller proved who they are. */
export const credentialKinds = {
  session: "signed-in session",
  pat: "personal access token",
  agent_key: "agent key",
  secret_key: "secret key",
  jwt: "token",
  browser_token: "token of one session, for a browser",
} as const;
export type CredentialKind = keyof typeof credentialKinds;

const kind = z
  .enum(Object.keys(principalKinds) as [PrincipalKind, ...PrincipalKind[]])
  .describe("u = user, a = agent, g = group, s = service");
const via = z.enum(Object.keys(credentialKinds) as [CredentialKind, ...CredentialKind[]]);

/** A principal, named for display. */
export const PrincipalRef = z.strictObject({ id: Id, kind, name: z.string() });
export type PrincipalRef = z.infer<typeof PrincipalRef>;

export const Whoami = z.strictObject({
  id: Id.describe("of the principal; of a browser, the one session that its token is for"),
  kind: z
    .enum(Object.keys(callerKinds) as [keyof typeof callerKinds, ...(keyof typeof callerKinds)[]])
    .describe("u = user, a = agent, s = a space's service, b = a browser, by the token of one session: it is told of nobody"),
  email: z.string().nullable().describe("null for all but users"),
  name: z.string(),
  credential: z.strictObject({
    via,
    id: z.uuid(),
    expiresAt: Timestamp.nullable(),
    scope: z.array(PermissionText).nullable().describe("what it is limited to: a token's scope, a key's ceiling; null = nothing"),
    space: z.string().nullable().describe("slug of the only space it is good in; null = any"),
  }),
  owner: PrincipalRef.nullable().describe("whom an agent belongs to; null for the others"),
  act: PrincipalRef.nullable().describe("the agent that acts for them, by a token made for it; null = they call themselves"),
});
export type Whoami = z.infer<typeof Whoami>;

export const identityMethods = {
  whoami: method({
    summary: "Tells who is calling, and by which credential.",
    effect: "read",
    tool: "whoami",
    params: z.strictObject({}),
    result: Whoami,
    errors: [],
  }),
};
