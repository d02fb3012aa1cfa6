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
const GRAMMAR = new RegExp(
  `^(?<action>${actions.join("|")})(?::(?<type>[a-z][a-z0-9_-]{0,63})(?::(?<path>${SEGMENT}(?:/${SEGMENT})*))?)?$`,
);
const MAX_LENGTH = 256;

/** A permission in its text form, at most 256 characters. */
export const PermissionText = z
  .string()
  .max(MAX_LENGTH)
  .regex(GRAMMAR, "must be action[:type[:path]] with action read, write or admin, e.g. write:tasks:support")
  .describe("A permission: action[:type[:path]]");

/**
 * Reads a permission from its text form.
 * @throws RangeError when the text is not in the grammar.
 */
export function parsePermission(text: string): Permission {
  const groups = text.length <= MAX_LENGTH ? GRAMMAR.exec(text)?.groups : undefined;
  if (!groups) throw new RangeError(`not a permission: ${JSON.stringify(text.slice(0, MAX_LENGTH))}`);
  return {
    action: groups.action as Action,
    ...(groups.type !== undefined && { type: groups.type }),
    ...(groups.path !== undefined && { path: groups.path }),
  };
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
