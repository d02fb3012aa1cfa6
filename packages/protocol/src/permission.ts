import { z } from "zod";

/**
 * The one permission grammar: `action[:type[:path]]`. It is a grant to a principal, the ceiling of
 * a key, the scope of a JWT and the need of a method. A part left out covers everything below it.
 */
export interface Permission {
  /** Ordered: `read < write < admin`; each includes the ones before it. */
  readonly action: Action;
  /** A resource type such as `tasks`; absent = every type. */
  readonly type?: string;
  /** `segment/segment/…`: covers itself and all beneath it; absent = every path. */
  readonly path?: string;
}

/** What may be done, weakest first. */
export const actions = ["read", "write", "admin"] as const;
export type Action = (typeof actions)[number];

const SEGMENT = "[A-Za-z0-9_~@%+=-][A-Za-z0-9._~@%+=-]*";
// Published as it stands: only what JSON Schema recommends of regular expressions, so no named groups and no escapes.
const GRAMMAR = new RegExp(`^(${actions.join("|")})(:([a-z][a-z0-9_-]{0,63})(:(${SEGMENT}([/]${SEGMENT})*))?)?$`);
const MAX_LENGTH = 256;

/** A permission in its text form, at most 256 characters. */
export const PermissionText = z
  .string()
  .max(MAX_LENGTH, { error: `must have at most ${MAX_LENGTH} characters`, abort: true })
  .regex(GRAMMAR, "must be action[:type[:path]] with action read, write or admin, e.g. write:tasks:support")
  .describe("A permission: action[:type[:path]]");

/**
 * Reads a permission from its text form.
 * @throws RangeError when the text is not in the grammar.
 */
export function parsePermission(text: string): Permission {
  const found = text.length <= MAX_LENGTH ? GRAMMAR.exec(text) : null;
  if (!found) throw new RangeError(`not a permission: ${JSON.stringify(text.slice(0, MAX_LENGTH))}`);
  const [, action, , type, , path] = found;
  return { action: action as Action, ...(type !== undefined && { type }), ...(path !== undefined && { path }) };
}

/** Reads a permission that is known to be in the grammar, as one that was kept is. */
export function splitPermission(text: string): Permission {
  const first = text.indexOf(":");
  if (first < 0) return { action: text as Action };
  const action = text.slice(0, first) as Action;
  const second = text.indexOf(":", first + 1);
  if (second < 0) return { action, type: text.slice(first + 1) };
  return { action, type: text.slice(first + 1, second), path: text.slice(second + 1) };
}

/** The text form of a permission; the inverse of {@link parsePermission}. */
export function formatPermission({ action, type, path }: Permission): string {
  return [action, type, path].filter((part) => part !== undefined).join(":");
}

/** Whether holding `held` is enough where `needed` is asked: same or higher action, same or wider type and path. */
export const covers = (held: Permission, needed: Permission): boolean => ranks(held, needed) && reaches(held, needed);

const RANK: Readonly<Record<Action, number>> = { read: 0, write: 1, admin: 2 };

/** Whether the action of one includes that of the other. */
const ranks = (held: Pick<Permission, "action">, needed: Pick<Permission, "action">): boolean => RANK[held.action] >= RANK[needed.action];

/** Whether type and path of one are those of the other, or wider. */
const reaches = (held: Permission, needed: Permission): boolean =>
  (held.type === undefined || held.type === needed.type) &&
  (held.path === undefined || held.path === needed.path || needed.path?.startsWith(`${held.path}/`) === true);

/**
 * The layers of authority, in their order: grants of the principal, those of its owner, the ceiling of its key; the same
 * three of an agent that acts for it; the scope of a token.
 */
export const layerNames = ["grants", "owner", "ceiling", "actor", "actor-owner", "actor-ceiling", "token"] as const;
export type LayerName = (typeof layerNames)[number];

/** The permissions of one layer of an actor's authority. */
export interface Layer {
  readonly name: LayerName;
  readonly permissions: readonly Permission[];
}

/** What layers say to a need, and why: the data of an explanation. */
export interface Verdict {
  allowed: boolean;
  /** Every layer, in order: whether it allows it, and by which of its permissions. */
  layers: { layer: Layer["name"]; allows: boolean; by: string | null }[];
}

/**
 * Judges a need. Every layer must allow it; a layer does so if it covers any one of the
 * alternatives. Without a single layer nothing is allowed.
 */
export function judge(layers: readonly Layer[], alternatives: readonly Permission[]): Verdict {
  return judgeBy(layers, ({ strongest }) => {
    for (const needed of alternatives) {
      const by = firstAbove(needed, strongest, (held) => ranks(held, needed));
      if (by) return by;
    }
    return undefined;
  });
}

/** A need as far as it is known before its path is. */
export interface Outline {
  readonly permission: Pick<Permission, "action" | "type">;
  /** Whether what is held for one path, or one type, could cover it: the path or type that will be named may be that one. */
  readonly somewhere: boolean;
}

/** Judges, of a need that is not known in full yet, whether every layer could cover any one of the alternatives. */
export function foresee(layers: readonly Layer[], alternatives: readonly Outline[]): Verdict {
  return judgeBy(layers, ({ strongest, beneath }) => {
    for (const { permission, somewhere } of alternatives) {
      const most = somewhere ? beneath.get(permission.type ?? "") : undefined;
      const by =
        firstAbove(permission, strongest, (held) => ranks(held, permission)) ?? (most && ranks(most, permission) ? most : undefined);
      if (by) return by;
    }
    return undefined;
  });
}

function judgeBy(layers: readonly Layer[], find: (held: Held) => Permission | undefined): Verdict {
  const said = layers.map(({ name, permissions }) => {
    const by = find(heldIn(permissions));
    return { layer: name, allows: by !== undefined, by: by ? formatPermission(by) : null };
  });
  return { allowed: said.length > 0 && said.every(({ allows }) => allows), layers: said };
}

/** What two permissions allow together, or undefined when that is nothing. */
export function intersect(a: Permission, b: Permission): Permission | undefined {
  if (a.type !== undefined && b.type !== undefined && a.type !== b.type) return undefined;
  const action = actions[Math.min(actions.indexOf(a.action), actions.indexOf(b.action))] as Action;
  const [wide, narrow] = reaches(b, a) ? [b, a] : [a, b];
  return reaches(wide, narrow) ? { ...narrow, action } : undefined;
}

/** What all layers together allow, without repeating what is covered already. It is kept for as long as the layers are. */
export function effective(layers: readonly Layer[]): readonly Permission[] {
  const known = together.get(layers);
  if (known) return known;
  const [first, ...rest] = layers.map(({ permissions }) => terse(permissions));
  const allowed = rest.reduce<readonly Permission[]>((held, layer) => terse([...within(held, layer), ...within(layer, held)]), first ?? []);
  together.set(layers, allowed);
  return allowed;
}
const together = new WeakMap<readonly Layer[], readonly Permission[]>();

/** Without what others among them cover. */
function terse(permissions: readonly Permission[]): readonly Permission[] {
  const index = heldIn(permissions);
  index.terse ??= withoutCovered([...index.strongest.values()].flatMap((ofType) => [...ofType.values()]));
  return index.terse;
}

/** @param permissions one for each reach */
function withoutCovered(permissions: readonly Permission[]): Permission[] {
  const above: Reaching[] = [];
  const kept = new Set<Permission>();
  for (const each of inReach(permissions)) {
    const nearest = nearestAbove(each.reach, above);
    if (nearest && ranks(nearest.one, each.one)) continue;
    // Each that is kept is stronger than all above it, so the nearest is the strongest.
    above.push(each);
    kept.add(each.one);
  }
  return permissions.filter((one) => kept.has(one));
}

/** Intersects each of some permissions with the strongest of a layer that reaches as far or farther: it leaves the most. Both are terse. */
function within(some: readonly Permission[], layer: readonly Permission[]): Permission[] {
  const above: Reaching[] = [];
  const wide = inReach(layer);
  const left = new Map<Permission, Permission>();
  let next = 0;
  for (const { one, reach } of inReach(some)) {
    for (let other = wide[next]; other && other.reach <= reach; other = wide[++next]) {
      nearestAbove(other.reach, above);
      above.push(other);
    }
    const nearest = nearestAbove(reach, above);
    const both = nearest && intersect(one, nearest.one);
    if (both) left.set(one, both);
  }
  return some.flatMap((one) => left.get(one) ?? []);
}

/** A permission, and its reach as one text: it reaches as far as another, or farther, when its text begins the other's. */
interface Reaching {
  readonly one: Permission;
  readonly reach: string;
}

/** Widest first, so that each stands behind all that reach farther. No two have the same reach. */
const inReach = (permissions: readonly Permission[]): Reaching[] =>
  permissions.map((one) => ({ one, reach: reachOf(one) })).sort((a, b) => (a.reach < b.reach ? -1 : 1));

const reachOf = ({ type, path }: Permission): string => (type === undefined ? "" : path === undefined ? `${type}:` : `${type}:${path}/`);

/** The nearest that reaches as far or farther. The others are dropped: in the order of reach, they reach nothing that is still to come. */
function nearestAbove(reach: string, above: Reaching[]): Reaching | undefined {
  for (let last = above.at(-1); last; last = above.at(-1)) {
    if (reach.startsWith(last.reach)) return last;
    above.pop();
  }
  return undefined;
}

/** Permissions by type, and of each type by path; a part that is left out is "". */
type ByReach = ReadonlyMap<string, ReadonlyMap<string, Permission>>;

/** Permissions by what they reach: a layer may hold thousands, and to look through them for each need would take milliseconds. */
interface Held {
  /** The strongest for each type and path that some of them are for. */
  readonly strongest: ByReach;
  /** The strongest for anything of a type, on whatever path; by "", of all. */
  readonly beneath: ReadonlyMap<string, Permission>;
  /** Those that no others among them cover; made when it is first asked for. */
  terse?: readonly Permission[];
}

/** What is known of the permissions of a layer, which never change: made once for each. */
const indexed = new WeakMap<readonly Permission[], Held>();

function heldIn(permissions: readonly Permission[]): Held {
  const known = indexed.get(permissions);
  if (known) return known;
  const strongest = new Map<string, Map<string, Permission>>();
  const beneath = new Map<string, Permission>();
  for (const one of permissions) {
    const { type = "", path = "" } = one;
    const ofType = strongest.get(type) ?? new Map<string, Permission>();
    strongest.set(type, ofType);
    keepStrongest(ofType, path, one);
    keepStrongest(beneath, type, one);
    if (type !== "") keepStrongest(beneath, "", one);
  }
  const held = { strongest, beneath };
  indexed.set(permissions, held);
  return held;
}

function keepStrongest(kept: Map<string, Permission>, reach: string, one: Permission): void {
  const known = kept.get(reach);
  if (!known || !ranks(known, one)) kept.set(reach, one);
}

/** The first, of those that reach as far as a permission or farther, that is accepted: everything, its type, each path above, and its own. */
function firstAbove(
  { type, path }: Pick<Permission, "type" | "path">,
  strongest: ByReach,
  accept: (held: Permission) => boolean,
): Permission | undefined {
  const accepted = (held: Permission | undefined) => (held && accept(held) ? held : undefined);
  const ofType = type === undefined ? undefined : strongest.get(type);
  let found = accepted(strongest.get("")?.get("")) ?? accepted(ofType?.get(""));
  if (found || !ofType || path === undefined) return found;
  for (let end = path.indexOf("/"); end >= 0 && !found; end = path.indexOf("/", end + 1)) found = accepted(ofType.get(path.slice(0, end)));
  return found ?? accepted(ofType.get(path));
}

/** The permissions of a scope in its text form: with spaces between (RFC 6749 §3.3). */
export const splitScope = (text: string): string[] => text.split(/\s+/).filter(Boolean);
