import type { Database, Sql } from "../db.ts";
import type { Began } from "./auth.ts";
import { endSession, endSessionIn, holdPerson, madeAt } from "./users.ts";

/** A request that better-auth has granted. */
interface Proven {
  sql: Sql;
  began: Began;
  /** The session in which they asked, if they were signed in. */
  session: { id: string; userId: string } | undefined;
  /** The body, or the query. */
  input: Record<string, unknown>;
  /** The provider that they were led to. */
  provider: string | undefined;
}

/**
 * Checks a proof again after better-auth has begun a session by it. better-auth checks first and begins last: meanwhile the
 * password may be changed, the passkey removed, the session ended. A change that is under way is waited for; a later one finds
 * the session that has begun, and ends it too. @returns whether the proof still stands
 */
export type Proof = (proven: Proven) => Promise<boolean>;

const any = async (rows: Promise<readonly object[]>): Promise<boolean> => (await rows).length > 0;

/** The password by which a session was begun is still that of the account. */
export const byPassword: Proof = async ({ sql, began: { session, hash } }) =>
  session !== undefined && any(sql`select from auth.account where "userId" = ${session.userId} and password = ${hash ?? null} for share`);

/** The passkey by which a session was begun is still one of the person's. */
export const byPasskey: Proof = async ({ sql, began: { session }, input }) =>
  session !== undefined &&
  any(sql`
    select from auth.passkey
    where "userId" = ${session.userId} and "credentialID" = ${(input.response as { id: string }).id} for key share`);

/** Checks that a session has not ended; waits for one that is about to. */
export const isOpen = (sql: Sql, session: string): Promise<boolean> =>
  any(sql`select from auth.session where id = ${session} for key share`);

/** The session in which something was asked has not ended. */
export const inSession: Proof = async ({ sql, session }) => session !== undefined && isOpen(sql, session.id);

/** The account at a provider by which a session was begun is still connected; or the session in which it was connected has not ended. */
export const byProvider: Proof = async (proven) => {
  const { sql, began, session, provider } = proven;
  if (began.session)
    return any(sql`
      select from auth.account
      where "userId" = ${began.session.userId} and "providerId" = ${provider ?? null} and "accountId" = ${began.subject ?? null} for key share`);
  if (!began.account) return true;
  return session?.userId === began.account.userId && inSession(proven);
};

/**
 * Ends what was begun by what does not stand any more. A way in that was added has been good for a moment: whoever has come in since
 * is signed out, too, and what they have made to come in by is gone. @param passkey the id of one that was added
 */
export async function takeBack(sql: Database, { session, account }: Began, passkey: string | undefined): Promise<void> {
  if (session) await endSession(sql, session.userId, session.id);
  if (account) await removeWayIn(sql, "auth.account", account.id);
  if (passkey !== undefined) await removeWayIn(sql, "auth.passkey", passkey);
}

async function removeWayIn(sql: Database, table: "auth.account" | "auth.passkey", id: string): Promise<void> {
  await sql.begin(async (tx) => {
    const [added] = await tx<{ userId: string }[]>`select "userId" from ${tx(table)} where id = ${id}`;
    if (!added) return;
    await holdPerson(tx, added.userId);
    await tx`delete from ${tx(table)} where id = ${id}`;
    // Ids are in the order in which they were made.
    const since = await tx<{ id: string }[]>`select id from auth.session where "userId" = ${added.userId} and id > ${id}`;
    for (const begun of since) await endSessionIn(tx, begun.id);
    await tx`delete from auth.logins where user_id = ${added.userId} and created_at >= ${madeAt(id).toISOString()}`;
    await tx`delete from api_keys where id in (select id from keys_of(${added.userId})) and id > ${id}`;
  });
}
