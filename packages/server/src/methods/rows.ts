import { PAGE_BYTES } from "@gatehouse/protocol";
import type { Fragment, Sql } from "../db.ts";
import { countRows } from "../meter.ts";
import { Refusal } from "../refusal.ts";

/** The one row. @throws Refusal NOT_FOUND when there is none */
export function one<Row>([row]: readonly Row[], message?: string): Row {
  if (!row) throw new Refusal("NOT_FOUND", message);
  return row;
}

/** Which rows of a list are asked for. */
export interface PageParams {
  after?: string | undefined;
  limit: number;
}

/** Before every id there is. */
export const FIRST = "00000000-0000-0000-0000-000000000000";
/** Behind every id there is: where a list begins whose newest comes first. */
export const LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/** A page of at most `limit` rows and {@link PAGE_BYTES}, from a query for one row more than it holds. */
export function paged<Row extends { id: string }>(found: readonly Row[], limit: number): { rows: Row[]; next: string | null } {
  let bytes = 0;
  const fits = (row: Row, place: number) => {
    bytes += Buffer.byteLength(JSON.stringify(row));
    return place === 0 || bytes <= PAGE_BYTES;
  };
  const over = found.slice(0, limit).findIndex((row, place) => !fits(row, place));
  const rows = found.slice(0, over === -1 ? limit : over);
  return { rows, next: found.length > rows.length ? (rows.at(-1)?.id ?? null) : null };
}

/** Rows that one page looks through at most, of a list that leaves some of them out. */
export const MOST_ROWS_READ = 5000;

/** Bounds of a page of a list that leaves rows out: it holds the rows that were found among so many, or none. */
interface Looking {
  /** So many rows at most. */
  most: number;
  /** A query for how many rows there are, where they are fewer. */
  read: Fragment;
  /** A query for the key behind which the list goes on, where it has more rows than that. */
  last: Fragment;
}

/**
 * The keys of a page that is bounded in rows and in bytes: rows that don't fit are never read.
 * @param found a query in the order of the list, for one row more than a page holds: `key`, and the `bytes` that its row takes
 * @param looking left out where every row of the list is wanted
 * @returns next, the key behind which the list goes on: null on the last page
 */
export async function pageOf(
  sql: Sql,
  found: Fragment,
  limit: number,
  { most, read, last }: Looking = { most: 0, read: sql`select 0`, last: sql`select null` },
): Promise<{ keys: string[]; next: string | null }> {
  const page = one(
    await sql<{ keys: string[]; more: boolean; until: string | null; read: number }[]>`
      with found as materialized (${found}),
      page as (
        select key, nth from (
          select key, row_number() over () as nth, sum(bytes) over (rows unbounded preceding) as total from found) sized
        where nth <= ${limit} and (nth = 1 or total <= ${PAGE_BYTES})),
      looked as materialized (
        select through, case when through then (${last})::text end as until
        from (select (select count(*) from found) <= ${limit} as through) looked)
      select array(select key::text from page order by nth) as keys, (select count(*) from found) > (select count(*) from page) as more,
             until, case when until is not null then ${most} when through then (${read}) else 0 end::integer as read
      from looked`,
  );
  countRows(page.read);
  return { keys: page.keys, next: page.more ? (page.keys.at(-1) ?? null) : page.until };
}

/** Most rows of a page of which each takes so many bytes at least: no more need be looked at. */
export const fitting = (limit: number, leastBytes: number): number => Math.min(limit, Math.ceil(PAGE_BYTES / leastBytes));

/** When something is to end, in UTC. @throws Refusal INVALID_PARAMS where that has been */
export function future(expiresAt: string): string {
  const at = new Date(expiresAt);
  if (at.getTime() > Date.now()) return at.toISOString();
  throw new Refusal("INVALID_PARAMS", "expiresAt must be in the future.", {
    issues: [{ path: "expiresAt", message: "must be in the future" }],
  });
}
