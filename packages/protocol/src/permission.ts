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

/** The text form of a permission; the inverse of {@link parsePermission}. */
export function formatPermission({ action, type, path }: Permission): string {
  return [action, type, path].filter((part) => part !== undefined).join(":");
}

/** Whether holding `held` is enough where `needed` is asked: same or higher action, same or wider type and path. */
export function covers(held: Permission, needed: Permission): boolean {
  return (
    actions.indexOf(held.action) >= actions.indexOf(needed.action) &&
    (held.type === undefined || held.type === needed.type) &&
    (held.path === undefined || held.path === needed.path || needed.path?.startsWith(`${held.path}/`) === true)
  );
}

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
  const said = layers.map(({ name, permissions }) => {
    const by = permissions.find((held) => alternatives.some((needed) => covers(held, needed)));
    return { layer: name, allows: by !== undefined, by: by ? formatPermission(by) : null };
  });
  return { allowed: said.length > 0 && said.every(({ allows }) => allows), layers: said };
}

/** What two permissions allow together, or undefined when that is nothing. */
export function intersect(a: Permission, b: Permission): Permission | undefined {
  if (a.type !== undefined && b.type !== undefined && a.type !== b.type) return undefined;
  const action = actions[Math.min(actions.indexOf(a.action), actions.indexOf(b.action))] as Action;
  const [wide, narrow] = narrower(a, b) ? [b, a] : [a, b];
  return narrower(narrow, wide) ? { ...narrow, action } : undefined;
}

/** Whether type and path of `a` lie within those of `b`. */
const narrower = (a: Permission, b: Permission): boolean => covers({ ...b, action: "admin" }, a);

/** What all layers together allow, without repeating what is covered already. */
export function effective(layers: readonly Layer[]): Permission[] {
  const [first, ...rest] = layers.map(({ permissions }) => terse(permissions));
  return rest.reduce((held, layer) => terse([...within(held, layer), ...within(layer, held)]), first ?? []);
}

/** Without what others among them cover. */
function terse(held: readonly Permission[]): Permission[] {
  const strongest = byReach(held);
  return [...strongest.values()].filter((one) => !above(one, strongest).some((other) => other !== one && covers(other, one)));
}

/** What each of some allows together with those of a layer that reach as far, or farther. */
function within(some: readonly Permission[], layer: readonly Permission[]): Permission[] {
  const strongest = byReach(layer);
  return some.flatMap((one) => above(one, strongest).flatMap((other) => intersect(one, other) ?? []));
}

// A layer may hold thousands: they are looked up by what they reach, as comparing each to each would take seconds.
const reachOf = ({ type, path }: Pick<Permission, "type" | "path">): string => [type, path].filter((part) => part !== undefined).join(":");

/** The strongest permission for each type and path that some of them are for. */
function byReach(held: readonly Permission[]): ReadonlyMap<string, Permission> {
  const strongest = new Map<string, Permission>();
  for (const one of held) {
    const known = strongest.get(reachOf(one));
    if (!known || !covers(known, one)) strongest.set(reachOf(one), one);
  }
  return strongest;
}

/** Those that reach as far as a permission, or farther: everything, its type, its path and each path above. */
function above({ type, path }: Permission, strongest: ReadonlyMap<string, Permission>): Permission[] {
  const paths = path?.split("/").map((_, depth, segments) => segments.slice(0, depth + 1).join("/")) ?? [];
  const reaches = ["", ...(type === undefined ? [] : [reachOf({ type }), ...paths.map((path) => reachOf({ type, path }))])];
  return reaches.flatMap((reach) => strongest.get(reach) ?? []);
}

/** The permissions of a scope in its text form: with spaces between (RFC 6749 §3.3). */
export const splitScope = (text: string): string[] => text.split(/\s+/).filter(Boolean);
