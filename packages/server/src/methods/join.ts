import type { Sql } from "../db.ts";

/**
 * Ends the membership of somebody whom a key had brought in, if the key has expired since: they have left, and what they
 * had does not come back with what they are given next.
 */
export const endExpired = (sql: Sql, spaceId: string, principalId: string) =>
  sql`delete from members where space_id = ${spaceId} and principal_id = ${principalId} and not key_lives(key_id)`;

/**
 * Puts a principal on a space's roster, tied to the key that does it, if one does. Doing it again demotes nobody, and
 * unties from a key what a person confirms.
 */
export async function joinSpace(sql: Sql, spaceId: string, principalId: string, keyId: string | null): Promise<void> {
  await endExpired(sql, spaceId, principalId);
  await sql`
    insert into members (space_id, principal_id, key_id) values (${spaceId}, ${principalId}, ${keyId})
    on conflict (space_id, principal_id) do update set key_id = excluded.key_id
      where members.key_id is not null and excluded.key_id is null`;
}

/** The same for a group of the space. */
export async function joinGroup(sql: Sql, spaceId: string, groupId: string, principalId: string, keyId: string | null): Promise<void> {
  await endExpired(sql, spaceId, principalId);
  await sql`
    insert into group_members (group_id, principal_id, key_id) values (${groupId}, ${principalId}, ${keyId})
    on conflict (group_id, principal_id) do update set key_id = excluded.key_id
      where group_members.key_id is not null and (excluded.key_id is null or not key_lives(group_members.key_id))`;
}
