import {
  type Action,
  actions,
  foresee,
  formatPermission,
  judge,
  type Layer,
  type Outline,
  type Permission,
  type PrincipalRef,
  parsePermission,
} from "@gatehouse/protocol";
import { type Actor, isLimited, limitsOf } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal, STRANGER } from "./refusal.ts";
import { type Decision, denied, type Judging, mayNameMembers, type Need, type PermissionNeed, withinLimits, withinSight } from "./rules.ts";
import { readStanding } from "./standing.ts";

/** One of the things that are enough to meet a need: a permission, or what the caller is to whom the params name. */
export interface Alternative<Input> {
  readonly label: string;
  /** The permission, its path taken from the params. */
  permission?(input: Input): Permission;
  /** The permission as far as it is known before the params. */
  readonly outline?: Outline;
  holds?(input: Input, at: Judging): Promise<boolean>;
}

type Pick<Input, Value = string> = (input: Input) => Value;

/** Need of a permission on a resource type; with `pick`, on the path that the params name. */
const on =
  (action: Action) =>
  <Input>(type?: string, pick?: Pick<Input>): Alternative<Input> => {
    const permission = { action, ...(type && { type }) };
    return {
      label: formatPermission(permission) + (pick ? ":…" : ""),
      permission: (input) => ({ ...permission, ...(pick && { path: pick(input) }) }),
      outline: { permission, somewhere: pick !== undefined },
    };
  };

export const read = on("read");
export const write = on("write");
export const admin = on("admin");

/** Need of `admin` over all that the permission in the params covers: nobody gives away more than they govern. */
export const adminOver = <Input>(pick: Pick<Input>): Alternative<Input> => ({
  label: "admin over it",
  permission: (input) => ({ ...parsePermission(pick(input)), action: "admin" }),
  outline: { permission: { action: "admin" }, somewhere: true },
});

/** The params name the caller, or nobody, which means the caller. */
export const self = <Input>(pick: Pick<Input, string | undefined>): Alternative<Input> => ({
  label: "self",
  holds: async (input, { actor }) => [undefined, actor.principal.id].includes(pick(input)),
});

/** An alternative that is not a permission, for what ends what others gave: by no key and no token. */
export const inPerson = <Input>({ holds, ...alternative }: Alternative<Input>): Alternative<Input> => ({
  ...alternative,
  label: `${alternative.label} in person`,
  ...(holds && { holds: async (input, at) => at.actor.credential.via === "session" && holds(input, at) }),
});

/** The params name an agent that the caller manages, and that whoever asks about it knows. A limited credential manages none. */
export const agentOfMine = <Input>(pick: Pick<Input, string | undefined>): Alternative<Input> => ({
  label: "own agent",
  async holds(input, at) {
    const id = pick(input);
    return id !== undefined && at.actor.principal.kind === "u" && !isLimited(at.actor) && owns(id, at, at.caller);
  },
});

/** A need that any one of its alternatives meets. Each layer of the caller must cover one of the permissions among them. */
export function anyOf<Input>(...alternatives: Alternative<Input>[]): PermissionNeed<Input> {
  const relations = alternatives.filter(({ holds }) => holds);
  const verdict = (input: Input, actor: Actor): Decision => {
    const needed = alternatives.flatMap(({ permission }) => (permission ? [permission(input)] : []));
    return { ...judge(layersOf(actor), needed), needed };
  };
  const decide = async (input: Input, at: Judging): Promise<Decision> => {
    const decision = verdict(input, at.actor);
    for (const { holds } of relations) if (await holds?.(input, at)) return { allowed: true, layers: [], needed: decision.needed };
    return decision;
  };
  return {
    label: alternatives.map(({ label }) => label).join(" or "),
    text: "each layer of the caller's authority must cover one of these",
    ...(relations.length === 0 && { outlook: (actor: Actor) => outlookOf(layersOf(actor), alternatives), verdict }),
    decide,
    async check(input, at) {
      const decision = await decide(input, at);
      if (!decision.allowed) throw await denied(decision, at);
    },
  };
}

/** A need that only a limited credential must meet: what any member may do goes on to what is made from them only where it is said. */
export function ofLimited<Input>(alternative: Alternative<Input>): Need<Input> {
  const outlook = (actor: Actor): Decision => {
    const limits = limitsOf(layersOf(actor));
    return limits.length > 0 ? outlookOf(limits, [alternative]) : { allowed: true, layers: [], needed: [] };
  };
  return {
    label: `${alternative.label} if limited`,
    text: "the ceiling of the caller's key, and the scope of its token, where there are such, must cover this",
    outlook,
    decide: async (_input, { actor }) => outlook(actor),
    async check(_input, at) {
      const decision = outlook(at.actor);
      if (!decision.allowed) throw await denied(decision, at);
    },
  };
}

/** A need that opens to a limited credential only what is within its limits, whatever else would meet it. */
export const withinOwnLimits = <Input>(alternative: Alternative<Input>, need: Need<Input>): Need<Input> => {
  const limited = ofLimited(alternative);
  return { ...need, label: `${need.label}, ${limited.label}`, bound: limited, ...(limited.outlook && { outlook: limited.outlook }) };
};

/** A need of one permission for each of several things: all of them, or nothing. */
export function allOf<Input>(alternative: Alternative<string>, pick: Pick<Input, readonly string[]>): Need<Input> {
  const { verdict: ofOne, ...one } = anyOf(alternative);
  if (!ofOne) throw new Error("only permissions alone can be needed of each");
  const verdict = (input: Input, actor: Actor): Decision => {
    const decisions = pick(input).map((each) => ofOne(each, actor));
    return decisions.find(({ allowed }) => !allowed) ?? (decisions[0] as Decision);
  };
  const decide = async (input: Input, { actor }: Judging): Promise<Decision> => verdict(input, actor);
  return {
    ...one,
    label: `${alternative.label} each`,
    verdict,
    decide,
    async check(input, at) {
      const decision = await decide(input, at);
      if (!decision.allowed) throw await denied(decision, at);
    },
  };
}

const layersOf = ({ standing }: Actor): readonly Layer[] => standing?.layers ?? [];

/** Whether some params could meet a need: every layer must hold something that could cover an alternative. */
function outlookOf<Input>(layers: readonly Layer[], alternatives: readonly Alternative<Input>[]): Decision {
  const outlines = alternatives.flatMap(({ outline }) => outline ?? []);
  return { ...foresee(layers, outlines), needed: outlines.map(({ permission }) => permission) };
}

/** The owners whose agents the caller manages: themselves; in person, also the groups they administer. */
export const managedOwners = (sql: Sql, { principal, credential }: Actor) =>
  credential.via === "session" ? sql`select managed_owners(${principal.id})` : sql`select ${principal.id}::uuid`;

/** @param knower who must know of it, too */
async function owns(id: string, { actor, sql }: Judging, knower = actor): Promise<boolean> {
  const space = actor.standing?.space.id ?? null;
  const [row] = await sql`
    select from principals where id = ${id} and kind = 'a' and owner_id in (${managedOwners(sql, actor)})
      ${knower === actor ? sql`` : sql`and knows(${knower.principal.id}, ${id}, ${space})`}`;
  return row !== undefined;
}

/** The agent named must belong to the caller, or to a group they administer. */
export const ownAgent = <Input>(pick: Pick<Input>): Need<Input> => ({
  label: "own agent",
  text: "the agent named belongs to the caller; in person, also to a group that the caller administers",
  check: (input, at) => mustOwnAgent(pick(input), at),
});

/** The agent named, if any, must belong to the caller; none means the caller. */
export const selfOrOwnAgent = <Input>(pick: Pick<Input, string | undefined>): Need<Input> => ({
  label: "self or own agent",
  text: "the agent named is an own agent; with none named, the caller",
  async check(input, at) {
    const agent = pick(input);
    if (agent !== undefined) await mustOwnAgent(agent, at);
  },
});

/** The key named must be the caller's, or that of an agent of theirs. */
export const ownKey = <Input>(pick: Pick<Input>): Need<Input> => ({
  label: "own key",
  text: "the key named is the caller's own, or an own agent's",
  async check(input, { actor, sql }) {
    const [row] = await sql`
      select from api_keys k join principals p on p.id = k.principal_id
      where k.id = ${pick(input)} and (p.id = ${actor.principal.id} or p.owner_id in (${managedOwners(sql, actor)}))`;
    if (!row) throw new Refusal("NOT_FOUND", "You have no such key. `me apikey list` shows those you have.");
  },
});

/** The caller must administer the space named. */
export const spaceAdmin = <Input>(pick: Pick<Input>): Need<Input> => ({
  label: "space admin",
  text: "the caller is an admin on the roster of the space named",
  async check(input, { actor, sql }) {
    const [row] = await sql<{ admin: boolean; spaceId: string }[]>`
      select m.admin, s.id as space_id from live_members m join spaces s on s.id = m.space_id
      where s.slug = ${pick(input)} and m.principal_id = ${actor.principal.id}`;
    if (!row) throw new Refusal("NOT_FOUND", STRANGER);
    if (!row.admin)
      throw new Refusal(
        "FORBIDDEN",
        "Only an admin of this space may do this. Ask one of its admins.",
        { reason: "permission", missing: [formatPermission({ action: actions[2] })], layer: "grants" },
        { spaceId: row.spaceId },
      );
  },
});

/** What is asked for in a space must be within every layer of the caller's authority there: else all that is missing is told. */
export const withinLayers = <Input>(pick: Pick<Input, { space: string; scope: readonly string[] }>): Need<Input> => ({
  label: "within own layers",
  text: "each permission of the scope is one that the caller's credential has in that space: their grants, their owner's, its ceiling, its scope",
  async check(input, { actor, sql }) {
    const { space, scope } = pick(input);
    const bound = actor.credential.space;
    const standing = bound === undefined || bound === space ? await readStanding(sql, { slug: space }, actor) : null;
    if (!standing) throw new Refusal("NOT_FOUND", STRANGER);
    const layers = standing.ownerPresent ? standing.layers : [];
    const judged = scope.map((text) => ({ text, ...judge(layers, [parsePermission(text)]) }));
    const missing = judged.filter(({ allowed }) => !allowed);
    if (missing.length === 0) return;
    const layer = withinSight(missing[0]?.layers ?? [], { standing }).find(({ allows }) => !allows)?.layer ?? "owner";
    throw new Refusal(
      "FORBIDDEN",
      `Your credential lacks ${missing.map(({ text }) => text).join(", ")} there. Ask for less, or be granted it first.`,
      { reason: "scope", missing: missing.map(({ text }) => text), layer },
      { spaceId: standing.space.id },
    );
  },
});

async function mustOwnAgent(id: string, at: Judging): Promise<void> {
  if (!(await owns(id, at))) throw new Refusal("NOT_FOUND", "You have no such agent. `me agent list` shows those you have.");
}

const READ_GROUPS: Permission = { action: "read", type: "groups" };

/** True if a caller may see the groups of their space: members may, and limited credentials that include read:groups. */
export const seesGroups = (actor: Actor): boolean => withinLimits(actor, READ_GROUPS);

/**
 * A principal as a caller's credential may name it: one that is limited to less than reading members, or that group,
 * is told the id for a name. The caller and their owner are always named.
 */
export function namedTo<Ref extends PrincipalRef>(actor: Actor, ref: Ref): Ref {
  const own = ref.id === actor.principal.id || ref.id === actor.owner?.id;
  const named = ref.kind === "g" ? withinLimits(actor, { ...READ_GROUPS, path: ref.id }) : mayNameMembers(actor);
  return own || named ? ref : { ...ref, name: ref.id };
}
