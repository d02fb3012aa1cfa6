import { Refusal } from "../refusal.ts";

/** The one row. @throws Refusal NOT_FOUND when there is none */
export function one<Row>([row]: readonly Row[], message?: string): Row {
  if (!row) throw new Refusal("NOT_FOUND", message);
  return row;
}

/** A page, from a query for one row more than it holds. */
export function paged<Row extends { id: string }>(found: readonly Row[], limit: number): { rows: Row[]; next: string | null } {
  const rows = found.slice(0, limit);
  return { rows, next: found.length > limit ? (rows.at(-1)?.id ?? null) : null };
}

/** When something is to end, in UTC. @throws Refusal INVALID_PARAMS where that has been */
export function future(expiresAt: string): string {
  const at = new Date(expiresAt);
  if (at.getTime() > Date.now()) return at.toISOString();
  throw new Refusal("INVALID_PARAMS", "expiresAt must be in the future.", {
    issues: [{ path: "expiresAt", message: "must be in the future" }],
  });
}
