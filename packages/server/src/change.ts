import type { Actor } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal } from "./refusal.ts";

/**
 * Holds what the caller's credential hangs on, until the change is done: alone, so that the changes of one caller wait in
 * line behind whoever is about to end it. (Shared, they would pass it by, and a thief who never stops could put off the
 * end for ever.) In the order in which things are deleted: principals, memberships, keys and sessions, tokens.
 * @throws Refusal UNAUTHENTICATED when any of it is gone
 */
export async function mustHold(sql: Sql, { principal, act, credential: { source = {} } }: Actor): Promise<void> {
  const { key, session, login, token, actorKey } = source;
  const ids = [principal.id, ...(act ? [act.principal.id] : [])];
  await sql`select hold_callers(${ids}::uuid[])`;
  if (token)
    await sql`
      select from members where principal_id = any(${ids}::uuid[]) and space_id = (select space_id from tokens where id = ${token.id})
      order by principal_id for no key update`;
  for (const { id, hash } of [key, actorKey].filter((one) => one !== undefined)) {
    const [alive] = await sql`select from api_keys where id = ${id} and secret_lives(id, ${hash}) for no key update`;
    if (!alive) throw new Refusal("UNAUTHENTICATED");
  }
  const [alive] = await sql<{ yes: boolean }[]>`
    select ${session ? sql`exists (select from auth.session where id = ${session} and "expiresAt" > now() for no key update)` : sql`true`}
      and ${login ? sql`exists (select from auth."oauthAccessToken" where id = ${login} and revoked is null and "expiresAt" > now() for no key update)` : sql`true`}
      and ${token ? sql`exists (select from live_tokens where id = ${token.id} for no key update)` : sql`true`} as yes`;
  if (!alive?.yes) throw new Refusal("UNAUTHENTICATED");
}

/** How often a change is begun again that gave way to another, each having waited for the other. */
const ATTEMPTS = 4;

/** Nothing is left of a transaction that the database ended for a deadlock: it can be done once more. */
export async function retried<T>(run: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await run();
    } catch (thrown) {
      if (tried >= ATTEMPTS || (thrown as { code?: unknown }).code !== DEADLOCK) throw thrown;
    }
  }
}
const DEADLOCK = "40P01";
