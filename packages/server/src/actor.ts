import type { CredentialKind, Permission, PrincipalKind } from "@gatehouse/protocol";

/** The authenticated caller of one call: principal, credential, and what limits the two. */
export interface Actor {
  readonly principal: {
    readonly id: string;
    readonly kind: PrincipalKind;
    readonly name: string;
    /** null for all but users. */
    readonly email: string | null;
  };
  /** Whom an agent belongs to; null for a user. */
  readonly owner: { readonly id: string; readonly kind: PrincipalKind; readonly name: string } | null;
  readonly credential: {
    readonly via: CredentialKind;
    readonly id: string;
    /** RFC 3339; null = never. */
    readonly expiresAt: string | null;
    /** What the key is limited to; null = all that its principal may do. */
    readonly ceiling: readonly Permission[] | null;
  };
}
