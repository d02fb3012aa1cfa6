import {
  type Api,
  type DenialReason,
  formatPermission,
  type InputOf,
  judge,
  type LayerName,
  type Permission,
  type Verdict,
} from "@gatehouse/protocol";
import { type Actor, isBrowser, isLimit, isLimited, limitsOf } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal } from "./refusal.ts";

/**
 * Who may call a method at all: decided from the actor alone, before a single param is read.
 * `refuses` names what is wrong with the actor, or nothing.
 */
export interface Who {
  readonly label: string;
  /** In words, for the table. */
  readonly text: string;
  refuses(actor: Actor): { reason: DenialReason; why: string } | undefined;
}

/** What the parsed params must name: decided after the schema, inside the handler's transaction. */
export interface Need<Input> {
  readonly label: string;
  readonly text: string;
  /** What the label adds to a need of another kind. */
  readonly bound?: { label: string; text: string };
  /** For needs that are permissions: whether any params at all could meet it. Decided before the params are read. */
  outlook?(actor: Actor): Decision;
  /** For needs that are permissions alone: the decision, from what is remembered of the actor. A change is refused by it without a transaction. */
  verdict?(input: Input, actor: Actor): Decision;
  /** For needs that are permissions: the decision, for those who ask about it. */
  decide?(input: Input, at: Judging): Promise<Decision>;
  /** @throws Refusal NOT_FOUND for what the actor may not know of, FORBIDDEN for what they know but may not do */
  check(input: Input, at: Judging): Promise<void>;
}

/** A need that is a permission. */
export type PermissionNeed<Input> = Need<Input> & Required<Pick<Need<Input>, "decide">>;

/** What a need is judged with: the actor, and the database as the handler sees it. */
export interface Judging {
  actor: Actor;
  sql: Sql;
  /** Who asks, where that is somebody else: they learn of no row that they may not know. */
  caller?: Actor;
}

/** What came of judging a need that is a permission. */
export interface Decision extends Verdict {
  /** Any one of these would do. */
  needed: readonly Permission[];
  /** Why not, where it is no layer that lacks it. */
  why?: { reason: DenialReason; text: string } | undefined;
}

/** A need of the row that the params name, judged as the row it is. @param resolve throws NOT_FOUND */
export const onRow = <Input, Row>(resolve: (input: Input, at: Judging) => Promise<Row>, need: Need<Row>): Need<Input> => ({
  label: need.label,
  text: need.text,
  ...(need.outlook && { outlook: need.outlook }),
  ...(need.decide && {
    async decide(input, at) {
      if (at.caller) await resolve(input, { ...at, actor: at.caller });
      return (need.decide as NonNullable<typeof need.decide>)(await resolve(input, at), at);
    },
  }),
  check: async (input, at) => need.check(await resolve(input, at), at),
});

/** One row of the policy. Default deny: what has no row is refused to everyone. */
export type Rule<Input> = readonly [who: Who, needs?: Need<Input>];

/** A policy for `A`: a row for every method, whose need can only name params the method has. */
export type Policy<A extends Api> = { readonly [M in keyof A]: Rule<InputOf<A, M>> };

/** Refuses a browser. What it is told does not depend on who made its token. */
const BROWSER = {
  reason: "browser",
  why: "the token of one session, for a browser, reads, sends and stops in that session. Ask the server that gave you the token",
} as const;

/** Default deny for browsers: a rule that does not name them refuses them, before it looks at whom their token came from. */
const noBrowser = (who: Who): Who => ({ ...who, refuses: (actor) => (isBrowser(actor) ? BROWSER : who.refuses(actor)) });

/** The same rule for browsers, too, who are told nothing of why the maker of their token is refused. */
const browserToo = (who: Who): Who => ({
  label: `${who.label} or browser`,
  text: `${who.text}; or a browser, by the token of one session`,
  refuses(actor) {
    const refused = who.refuses(actor);
    return refused && isBrowser(actor) ? BROWSER : refused;
  },
});

const whoever: Who = {
  label: "anyone",
  text: "a user, an agent or a service, by a valid session, key or token, limited or not",
  refuses: () => undefined,
};

const onRoster: Who = {
  label: "members",
  text: "whoever is on the roster of the space; an agent only while its owner is, too",
  refuses({ standing }) {
    if (standing?.ownerPresent) return undefined;
    return { reason: "owner-left", why: "the owner of this agent is not in the space, and without them it may do nothing there" };
  },
};

export const anyone = noBrowser(whoever);
export const anyoneOrBrowser = browserToo(whoever);
export const members = noBrowser(onRoster);
export const membersOrBrowser = browserToo(onRoster);

export const users = noBrowser({
  label: "users",
  text: "a user, by session or by a personal access token without a ceiling",
  refuses(actor) {
    const { principal, credential } = actor;
    if (principal.kind === "a")
      return { reason: "user-only", why: "it acts on a person's account, and an agent has none. Ask the agent's owner" };
    if (principal.kind === "s")
      return { reason: "user-only", why: "it acts on a person's account, and a service has none. Sign in: me login" };
    if (credential.scope)
      return { reason: "token", why: "this token is limited to its scope, which opens nothing of the account. Sign in: me login" };
    if (isLimited(actor))
      return {
        reason: "ceiling",
        why: "this key is limited to a ceiling, which opens nothing of the account. Use a key without one, or sign in",
      };
    return undefined;
  },
});

export const interactive: Who = {
  label: "interactive",
  text: "a user, by a signed-in session: never by a key, so that no key makes what outlives it, or ends what can't be brought back",
  refuses(actor) {
    const refused = users.refuses(actor);
    if (refused) return refused;
    if (actor.credential.via !== "session")
      return {
        reason: "interactive-only",
        why: "no key makes what could outlive it, or ends what can't be brought back. Sign in as a person: me login",
      };
    return undefined;
  },
};

/**
 * Step "who" of the path of a call: the same answer whatever the params are.
 * @throws Refusal FORBIDDEN
 */
export async function admit(rule: Rule<never> | undefined, method: string, at: Judging): Promise<void> {
  if (!rule) throw new Refusal("FORBIDDEN", `${method} is open to nobody: the policy has no row for it.`, { reason: "no-rule" });
  const [who, need] = rule;
  const refused = who.refuses(at.actor);
  if (refused) throw new Refusal("FORBIDDEN", `${method} is refused (${refused.reason}): ${refused.why}.`, { reason: refused.reason });
  const outlook = need?.outlook?.(at.actor);
  if (outlook && !outlook.allowed) throw await denied(outlook, at);
}

/** Most admins, and most permissions, that a denial names. */
const MAX_GRANTORS = 5;
const MAX_TOLD = 20;

/** The first of some permissions, as a refusal names them. */
export const told = (permissions: readonly Permission[]): string[] => permissions.slice(0, MAX_TOLD).map(formatPermission);

/** The refusal of a decision: what was missing, which layer lacked it, and who could give it. */
export async function denied(decision: Decision, at: Judging): Promise<Refusal> {
  // Which layer lacks what tells of who made the token.
  if (isBrowser(at.actor))
    return new Refusal("FORBIDDEN", "This token may not do this any more. Ask for another one.", { reason: "browser" });
  if (decision.why) {
    const { reason, text } = decision.why;
    const missing = told(decision.needed);
    return new Refusal("FORBIDDEN", `This is refused (${reason}): ${text}.`, { reason, ...(missing.length > 0 && { missing }) });
  }
  const layer = withinSight(decision.layers, at.actor).find(({ allows }) => !allows)?.layer ?? "grants";
  const missing = told(decision.needed);
  const grantors = await grantorsOf(layer, at);
  const lacks = {
    grants: "your grants in this space lack it",
    owner: "the owner of this agent lacks it",
    ceiling: "the ceiling of this key leaves it out",
    actor: "the grants of the agent that acts for you lack it",
    "actor-owner": "the owner of the agent that acts for you lacks it",
    "actor-ceiling": "the ceiling of the agent's key leaves it out",
    token: "the scope of this token leaves it out",
  };
  const whom = grantors.length > 0 ? ` Ask ${grantors.join(", ")}.` : "";
  return new Refusal("FORBIDDEN", `This needs ${missing.join(" or ")}; ${lacks[layer]}.${whom}`, {
    reason: "permission",
    missing,
    layer,
    grantors,
  });
}

/** Whether the caller may see what others were granted: only then does a refusal, or an answer of `access.explain`, name any of it. */
export const mayReadGrants = ({ standing }: Pick<Actor, "standing">): boolean =>
  judge(standing?.layers ?? [], [{ action: "read", type: "grants" }]).allowed;

/** True if the limits of a credential, where it has any, include a permission. Its principal may still lack it. */
export function withinLimits({ standing }: Pick<Actor, "standing">, permission: Permission): boolean {
  const limits = limitsOf(standing?.layers ?? []);
  return limits.length === 0 || judge(limits, [permission]).allowed;
}

/** Whether the caller may be told the names of members: all members may, but not by a credential that is limited to less. */
export const mayNameMembers = (actor: Pick<Actor, "standing">): boolean => withinLimits(actor, { action: "read", type: "members" });

/** True if the caller may see their own grants: everybody may, but limited credentials that do not include read:grants. */
const seesOwnGrants = (actor: Pick<Actor, "standing">): boolean => withinLimits(actor, { action: "read", type: "grants" });

/**
 * True if a caller may see the permissions in a layer of an actor, and not only the layer's yes or no: they see the limits of
 * their own credential, their own grants, and those of agents that they manage; with read:grants, all.
 */
export function seesLayer(layer: LayerName, actor: Actor, caller: Actor): boolean {
  if (mayReadGrants(caller) || isLimit(layer)) return true;
  const ofOwner = layer === "owner" || layer === "actor-owner";
  return seesOwnGrants(caller) && !(ofOwner && caller.principal.id === actor.principal.id);
}

/** The layers of a verdict as a caller may know them: where their own limits refuse already, nothing of what is beyond those. */
export function withinSight(layers: Verdict["layers"], caller: Pick<Actor, "standing">): Verdict["layers"] {
  if (seesOwnGrants(caller)) return layers;
  const limits = layers.filter(({ layer }) => isLimit(layer));
  return limits.every(({ allows }) => allows) ? layers : limits;
}

/**
 * Who could give what a layer lacks: the space's admins; for a ceiling or a scope, whose the credential is. Members may know
 * both; where the credential of who asks is limited to less than reading who is here, it is told no more.
 * @param caller who asks, where that is somebody else
 */
export async function grantorsOf(layer: Verdict["layers"][number]["layer"], { actor, sql }: Judging, caller = actor): Promise<string[]> {
  if (layer === "ceiling" || layer === "token") return [actor.owner?.name ?? actor.principal.name];
  if (layer === "actor-ceiling") return [actor.act?.owner?.name ?? ""].filter(Boolean);
  if (!mayNameMembers(caller)) return [];
  const { standing } = actor;
  if (standing?.admins) return standing.admins();
  return standing ? adminsOf(sql, standing.space.id) : [];
}

/** The names of the admins of a space that a refusal names. */
export async function adminsOf(sql: Sql, space: string): Promise<string[]> {
  const admins = await sql<{ name: string }[]>`
    select p.name from live_members m join principals p on p.id = m.principal_id
    where m.space_id = ${space} and m.admin order by lower(p.name) limit ${MAX_GRANTORS}`;
  return admins.map(({ name }) => name);
}
