import type { ApiKey, KeyKind } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Fragment, Sql } from "../db.ts";
import { hashKey, hintOfKey, kindsOf, makeKey } from "../key.ts";
import { Refusal } from "../refusal.ts";
import { fitting, future, LAST, type PageParams, pageOf } from "./rows.ts";

/** A condition on `api_keys k` and `principals p`, whose they are: which keys are meant. */
type Which = Fragment;

const NO_KEY = "You have no such key. The list shows those you have.";

/** Makes a key. @throws Refusal INVALID_PARAMS when it would be expired already */
export async function makeSecret(
  sql: Sql,
  kind: KeyKind,
  principal: string,
  { name, ceiling, expiresAt }: { name: string; ceiling?: string[] | undefined; expiresAt?: string | undefined },
): Promise<{ id: string; key: string }> {
  const ends = expiresAt === undefined ? null : future(expiresAt);
  const id = uuidv7();
  const key = makeKey(kind);
  await sql`
    insert into api_keys (id, principal_id, name, hash, hint, ceiling, expires_at)
    values (${id}, ${principal}, ${name}, ${hashKey(key)}, ${hintOfKey(key)}, ${ceiling ?? null}, ${ends})`;
  return { id, key };
}

/** Keys without their secrets, newest first. */
export const readKeys = (sql: Sql, which: Which): Promise<ApiKey[]> => sql<ApiKey[]>`
  select k.id, k.name, json_build_object('id', p.id, 'kind', p.kind, 'name', p.name) as principal, k.hint, k.ceiling,
         k.expires_at, k.last_used_at, k.created_at,
         case when k.previous_expires_at > now() then k.previous_expires_at end as previous_expires_at
  from api_keys k join principals p on p.id = k.principal_id
  where ${which} order by k.id desc`;

/** Most bytes of JSON that a key takes beside its ceiling. */
const KEY_BYTES = 1200;

/** A page of keys, newest first. @param holders a query for the ids of those whose keys are meant */
export async function listKeys(
  sql: Sql,
  holders: Fragment,
  { after, limit: asked }: PageParams,
): Promise<{ keys: ApiKey[]; next: string | null }> {
  const limit = fitting(asked, KEY_BYTES);
  const { keys: ids, next } = await pageOf(
    sql,
    sql`
      select k.id as key, coalesce(octet_length(array_to_json(k.ceiling)::text), 0) + ${KEY_BYTES}::integer as bytes
      from (
        select mine.id from (
          -- Read from its holders on, and sorted then: "offset 0" keeps the planner from walking through the keys of others.
          select each.id from (${holders}) as holders (id) join api_keys each on each.principal_id = holders.id
          where each.id < ${after ?? LAST} offset 0
        ) mine
        order by mine.id desc limit ${limit + 1}
      ) found join api_keys k on k.id = found.id order by k.id desc`,
    limit,
  );
  return { keys: await readKeys(sql, sql`k.id = any(${ids}::uuid[])`), next };
}

/** Gives a key a new secret; the old one is good for some hours more. @throws Refusal NOT_FOUND, CONFLICT when it has expired */
export async function rotateKey(
  sql: Sql,
  which: Which,
  id: string,
  overlapHours: number,
): Promise<{ id: string; key: string; previousExpiresAt: string | null }> {
  const [found] = await sql<{ kind: "u" | "a" | "s"; expired: boolean }[]>`
    select p.kind, coalesce(k.expires_at <= now(), false) as expired
    from api_keys k join principals p on p.id = k.principal_id where k.id = ${id} and ${which} for update of k`;
  if (!found) throw new Refusal("NOT_FOUND", NO_KEY);
  if (found.expired) throw new Refusal("CONFLICT", "This key has expired: a new secret would be as dead. Make a new key.");
  const key = makeKey(kindsOf[found.kind]);
  const [row] = await sql<{ previousExpiresAt: string | null }[]>`
    update api_keys set hash = ${hashKey(key)}, hint = ${hintOfKey(key)},
      previous_hash = case when ${overlapHours} > 0 then hash end,
      previous_expires_at = case when ${overlapHours} > 0 then now() + make_interval(hours => ${overlapHours}) end
    where id = ${id} returning previous_expires_at`;
  return { id, key, previousExpiresAt: row?.previousExpiresAt ?? null };
}

/** Revokes a key, at once and for good. @throws Refusal NOT_FOUND */
export async function revokeKey(sql: Sql, which: Which, id: string): Promise<{ id: string }> {
  const { count } = await sql`delete from api_keys k using principals p where p.id = k.principal_id and k.id = ${id} and ${which}`;
  if (count === 0) throw new Refusal("NOT_FOUND", NO_KEY);
  return { id };
}
