import type { CallerKind, CredentialKind, Layer, Permission, PrincipalKind } from "@gatehouse/protocol";

/** The authenticated caller of one call: principal, credential, and what limits the two. */
export interface Actor {
  readonly principal: {
    readonly id: string;
    readonly kind: CallerKind;
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
  /** Where the caller stands in the space the call is about; absent outside of one, null for whoever is not in it. */
  readonly standing?: Standing | null;
}

/** A member's standing in a space, as it was when the call came. */
export interface Standing {
  readonly space: { readonly id: string; readonly slug: string; readonly name: string; readonly createdAt: string };
  readonly admin: boolean;
  /** Whether an agent's owner is in the space too, without whom it may do nothing there. True for a user. */
  readonly ownerPresent: boolean;
  /** Every one of them must allow what is done. */
  readonly layers: readonly Layer[];
}

/** The key that the caller acts by: what is made is tied to it. null for a person who is signed in. */
export const keyOf = ({ credential }: Actor): string | null => (credential.via === "session" ? null : credential.id);

/** The standing of a caller who passed the door of a space. */
export function standingOf(actor: Actor): Standing {
  if (!actor.standing) throw new Error("this method is called outside of a space");
  return actor.standing;
}
