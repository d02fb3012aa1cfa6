import type { CallerKind, CredentialKind, Layer, LayerName, Permission, PrincipalKind } from "@gatehouse/protocol";

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
  /** The account whose budget a space's service, or a group's agent, uses: the id of the space's maker, or else of the space. */
  readonly account?: string | null;
  readonly credential: {
    readonly via: CredentialKind;
    readonly id: string;
    /** RFC 3339; null = never. */
    readonly expiresAt: string | null;
    /** What the key is limited to; null = all that its principal may do. */
    readonly ceiling: readonly Permission[] | null;
    /** What a token is limited to. */
    readonly scope?: readonly Permission[];
    /** What the tokens are limited to that it was minted from. */
    readonly under?: readonly (readonly Permission[])[];
    /** Path of the only door it opens (RFC 8707); absent = any. */
    readonly resource?: string;
    /** Slug of the only space it is good in; absent = any. */
    readonly space?: string | undefined;
    /** Id of the only session it is good in, and without which it is good for nothing: that of a browser's token. */
    readonly onlySession?: string;
    /** The rule of the configuration by which another issuer's token came in, from which this is or was minted. */
    readonly rule?: string;
    /** What a token that is minted from it hangs on, besides the credential itself. */
    readonly source?: Source;
  };
  /** The agent that acts for the principal, by a token made for it (RFC 8693 §4.1). */
  readonly act?: Pick<Actor, "owner"> & {
    readonly principal: { readonly id: string; readonly name: string };
    readonly ceiling: readonly Permission[] | null;
  };
  /** Where the caller stands in the space the call is about; absent outside of one, null for whoever is not in it. */
  readonly standing?: Standing | null;
}

/** One secret of a key, of which a rotated key has two. */
interface KeySecret {
  readonly id: string;
  readonly hash: Uint8Array;
}

/** A token, and the ids of what it hangs on besides a credential: memberships, the keys that made them, the session that it is for. */
interface TokenSource {
  readonly id: string;
  readonly ties: readonly string[];
  /** Principals whose keys made those memberships: all their keys may be revoked at once. */
  readonly lenders: readonly string[];
}

/** What a credential hangs on: when any of it ends, so does the credential. */
interface Source {
  readonly key?: KeySecret;
  readonly session?: string;
  /** The access token of a login. */
  readonly login?: string;
  readonly token?: TokenSource;
  /** The key of the agent that acts. */
  readonly actorKey?: KeySecret;
}

/** A member's standing in a space, as it was when the call came. */
export interface Standing {
  readonly space: { readonly id: string; readonly slug: string; readonly name: string; readonly createdAt: string };
  readonly admin: boolean;
  /** Whether an agent's owner is in the space too, without whom it may do nothing there. True for a user. */
  readonly ownerPresent: boolean;
  /** Every one of them must allow what is done. */
  readonly layers: readonly Layer[];
  /** The names of the space's admins, for refusals: where the standing is remembered, they are read once. */
  readonly admins?: () => Promise<string[]>;
}

/** The key that the caller acts by: what is made is tied to it. null for a person who is signed in; by a token nothing lasting is made. */
export const keyOf = ({ credential }: Actor): string | null => (credential.via === "session" || isToken(credential) ? null : credential.id);

/** Whether the caller is a browser, by the token of one session. */
export const isBrowser = ({ credential }: Pick<Actor, "credential">): boolean => credential.via === "browser_token";

/** Whether a credential is a token, of which there is a row, or another issuer's word: nothing lasting is made by it. */
export const isToken = ({ via }: Pick<Actor["credential"], "via">): boolean => via === "jwt" || via === "browser_token";

/** Whether the caller's credential may do less than its principal: it is limited to permissions, and opens nothing of the account. */
export const isLimited = ({ credential }: Pick<Actor, "credential">): boolean =>
  credential.ceiling !== null || credential.scope !== undefined;

const LIMITS: ReadonlySet<LayerName> = new Set(["ceiling", "actor-ceiling", "token"]);

/** True for a layer that limits the credential itself, and not its principal. */
export const isLimit = (name: LayerName): boolean => LIMITS.has(name);

/** The layers that limit a credential. */
export const limitsOf = (layers: readonly Layer[]): Layer[] => layers.filter(({ name }) => isLimit(name));

/** The standing of a caller who passed the door of a space. */
export function standingOf(actor: Actor): Standing {
  if (!actor.standing) throw new Error("this method is called outside of a space");
  return actor.standing;
}
