import { createHmac } from "node:crypto";
import { Name } from "@gatehouse/protocol";
import { hashPassword } from "better-auth/crypto";
import { uuidv7 } from "uuidv7";
import { z } from "zod";
import { lineInPerson } from "../budgets.ts";
import { retried } from "../change.ts";
import type { Database, Sql } from "../db.ts";
import { createSpace } from "../methods/space.ts";
import { Refusal, toRefusal } from "../refusal.ts";
import { removeInSteps } from "../retention.ts";
import { type Auth, PASSWORD_LENGTH } from "./auth.ts";
import { forgetAttempts } from "./limits.ts";

export { hashPassword };

/** The account that a server with an embedded database makes for the person who started it. */
const LOCAL_OWNER = { email: "owner@gatehouse.localhost", name: "Local owner", space: "Home" };

/** A password as one may choose it. */
export const Password = z
  .string()
  .min(PASSWORD_LENGTH.min, `must have at least ${PASSWORD_LENGTH.min} characters`)
  .max(PASSWORD_LENGTH.max, `must have at most ${PASSWORD_LENGTH.max} characters`);

/** An e-mail address; one that is too long meets no pattern. */
export const Email = z.string().max(254, { abort: true }).check(z.email("must be an e-mail address")).toLowerCase();

/** What it takes to make a user. */
export const NewUser = z.strictObject({
  email: Email,
  name: Name,
  password: Password,
});

/**
 * Makes a user who signs in with e-mail and password. For operators: no method of the API does this.
 * The operator vouches for the address, so it counts as verified: invitations to it can be accepted.
 * @returns the user's id
 * @throws Refusal INVALID_PARAMS, or CONFLICT when the address has an account
 */
export async function createUser(sql: Database, given: z.input<typeof NewUser>): Promise<string> {
  const parsed = NewUser.safeParse(given);
  if (!parsed.success)
    throw new Refusal("INVALID_PARAMS", parsed.error.issues.map(({ path, message }) => `${path.join(".")} ${message}`).join("; "));
  const { email, name, password } = parsed.data;
  return addUser(sql, { email, name, hash: await hashPassword(password) });
}

/** Adds a user. @param user.hash of their password, as better-auth makes it @returns the user's id @throws Refusal CONFLICT when the address has an account */
export async function addUser(sql: Database, { email, name, hash }: { email: string; name: string; hash: string }): Promise<string> {
  const made = sql.begin(async (tx) => {
    const id = await insertUser(tx, email, name, true);
    await tx`
      insert into auth.account (id, "userId", "accountId", "providerId", password)
      values (${uuidv7()}, ${id}, ${id}, 'credential', ${hash})`;
    return id;
  });
  return made.catch((thrown: unknown) => {
    const refusal = toRefusal(thrown);
    throw refusal.code === "CONFLICT" ? refusal : thrown;
  });
}

/** Makes the local owner and a first space, in a database that has no users yet. @returns the owner's id, if there is one */
export async function ensureLocalOwner(sql: Database): Promise<string | undefined> {
  return sql.begin(async (tx) => {
    await tx`lock table auth."user" in share row exclusive mode`;
    const users = await tx<
      { id: string; email: string }[]
    >`select id, email from auth."user" where email = ${LOCAL_OWNER.email} union all (select id, email from auth."user" limit 1)`;
    if (users[0]) return users.find(({ email }) => email === LOCAL_OWNER.email)?.id;
    const id = await insertUser(tx, LOCAL_OWNER.email, LOCAL_OWNER.name, false);
    await createSpace(tx, id, LOCAL_OWNER.space);
    return id;
  });
}

/** Signs a user in. @returns the Bearer token of a new session, and when it ends */
export async function openSession(auth: Auth, userId: string): Promise<{ token: string; expiresAt: string }> {
  const context = await auth.$context;
  const session = await context.internalAdapter.createSession(userId);
  // The signed form of a session token that better-auth puts into its cookies.
  const signature = createHmac("sha256", context.secret).update(session.token).digest("base64");
  return { token: `${session.token}.${signature}`, expiresAt: session.expiresAt.toISOString() };
}

/** The time at which an id was made (UUIDv7, RFC 9562 §5.7): to the millisecond, where better-auth keeps whole seconds. */
export const madeAt = (id: string): Date => new Date(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16));

/**
 * Holds a person until the transaction is over: sessions, logins and ways in refer to them, so that none is begun meanwhile. Their
 * logins first: whoever renews one holds it, and waits for the person.
 */
export async function holdPerson(tx: Sql, id: string): Promise<void> {
  await tx`select from auth.logins where user_id = ${id} order by id for update`;
  await tx`select from auth."user" where id = ${id} for update`;
}

/**
 * Ends a session, and what was signed in by it and not allowed to stay. It is held first, so that no code becomes a token
 * in between. @param user whose it is @throws what the database failed with: then it may not have ended
 */
export const endSession = (sql: Database, user: string, id: string) =>
  retried(() => sql.as(lineInPerson(user), { urgent: true }).begin((tx) => endSessionIn(tx, id)));

/** As `endSession` does, in a transaction that is open. */
export async function endSessionIn(tx: Sql, id: string): Promise<void> {
  await tx`select from auth.session where id = ${id} for update`;
  await tx`
    delete from auth.logins where id in (
      select "authorizationCodeId" from auth."oauthRefreshToken" where "sessionId" = ${id}
      union select "authorizationCodeId" from auth."oauthAccessToken" where "sessionId" = ${id})`;
  await tx`delete from auth.session where id = ${id}`;
}

async function insertUser(sql: Sql, email: string, name: string, verified: boolean): Promise<string> {
  const id = uuidv7();
  await sql`insert into auth."user" (id, email, name, "emailVerified") values (${id}, ${email}, ${name}, ${verified})`;
  return id;
}

/** Removes what is over: a row for each session, login, code, mailed link and address that ever tried to sign in. */
export async function sweep(sql: Sql): Promise<void> {
  const expired = sql`"expiresAt" < now()`;
  await removeInSteps(sql, "auth.session", expired);
  await removeInSteps(sql, "auth.oauthAccessToken", expired);
  // One that was used is kept as long as it would have been good: who comes with it again is a thief.
  await removeInSteps(sql, "auth.oauthRefreshToken", expired);
  await removeInSteps(
    sql,
    "auth.logins",
    sql`not exists (select from auth."oauthRefreshToken" where "authorizationCodeId" = t.id)
      and not exists (select from auth."oauthAccessToken" where "authorizationCodeId" = t.id)`,
  );
  await removeInSteps(sql, "auth.deviceCode", sql`"expiresAt" < now() - interval '1 hour'`);
  await removeInSteps(sql, "auth.verification", expired);
  await removeInSteps(sql, "auth.known_addresses", sql`last_at < now() - interval '90 days'`);
  // Keys that were revoked with all others, where the server went away before it had deleted them.
  await removeInSteps(
    sql,
    "api_keys",
    sql`exists (
      select from all_revoked r where r.principal_id = t.principal_id and r.at >= t.created_at and r.at < now() - interval '5 minutes')`,
  );
  await forgetAttempts(sql);
}
