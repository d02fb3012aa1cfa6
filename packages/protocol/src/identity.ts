import { z } from "zod";
import { Id, method, Timestamp } from "./method.ts";

/** What a principal is. Users and agents call; a group is called by nobody, but may own agents and be granted. */
export const principalKinds = { u: "user", a: "agent", g: "group" } as const;
export type PrincipalKind = keyof typeof principalKinds;
/** The kinds of principal that call. */
export type CallerKind = "u" | "a";

/** How a caller proved who they are. */
export const credentialKinds = {
  session: "signed-in session",
  pat: "personal access token",
  agent_key: "agent key",
} as const;
export type CredentialKind = keyof typeof credentialKinds;

const kind = z.enum(Object.keys(principalKinds) as [PrincipalKind, ...PrincipalKind[]]).describe("u = user, a = agent, g = group");
const via = z.enum(Object.keys(credentialKinds) as [CredentialKind, ...CredentialKind[]]);

/** A principal, named for display. */
export const PrincipalRef = z.strictObject({ id: Id, kind, name: z.string() });
export type PrincipalRef = z.infer<typeof PrincipalRef>;

export const Whoami = z.strictObject({
  id: Id,
  kind: z.enum(["u", "a"]).describe("u = user, a = agent"),
  email: z.string().nullable().describe("null for all but users"),
  name: z.string(),
  credential: z.strictObject({ via, id: Id, expiresAt: Timestamp.nullable() }),
  owner: PrincipalRef.nullable().describe("whom an agent belongs to; null for a user"),
});
export type Whoami = z.infer<typeof Whoami>;

export const identityMethods = {
  whoami: method({
    summary: "Tells who is calling, and by which credential.",
    effect: "read",
    params: z.strictObject({}),
    result: Whoami,
    errors: [],
  }),
};
