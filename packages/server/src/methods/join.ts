import type { Sql } from "../db.ts";

/**
 * Puts a principal on a space's roster, tied to the key that does it, if one does. Doing it again demotes nobody, and
 * unties from a key what a person confirms.
 */
export const joinSpace = (sql: Sql, spaceId: string, principalId: string, keyId: string | null) => sql`
  insert into members (space_id, principal_id, key_id) values (${spaceId}, ${principalId}, ${keyId})
  on conflict (space_id, principal_id) do update set key_id = excluded.key_id
    where members.key_id is not null and (excluded.key_id is null or not key_lives(members.key_id))`;

/** The same for a group. */
export const joinGroup = (sql: Sql, groupId: string, principalId: string, keyId: string | null) => sql`
  insert into group_members (group_id, principal_id, key_id) values (${groupId}, ${principalId}, ${keyId})
  on conflict (group_id, principal_id) do update set key_id = excluded.key_id
    where group_members.key_id is not null and (excluded.key_id is null or not key_lives(group_members.key_id))`;
