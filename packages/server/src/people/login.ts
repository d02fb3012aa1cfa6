import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { hashKey, loginPrefixes, prefixOf } from "../key.ts";
import { Refusal } from "../refusal.ts";

/** The OAuth client that the command line is. */
const COMMAND_LINE = "me";

/** What a login may be for: `account` is to act as the person, in person; `offline_access` to stay signed in (OIDC Core §11). */
export const LOGIN_SCOPES = ["account", "offline_access"] as const;

/** What is kept of a token, and of an authorization code: its SHA-256, in hex. */
export const hashLogin = (token: string): string => Buffer.from(hashKey(token)).toString("hex");

/** Whether a credential claims to be the access token of a login. */
export const looksLikeLogin = (credential: string): boolean => credential.startsWith(loginPrefixes.access);

interface LoginRow {
  id: string;
  expiresAt: string;
  userId: string;
  name: string;
  email: string;
}

/**
 * The person who has signed a program in, by its access token: it acts as they do in person.
 * @throws Refusal UNAUTHENTICATED, the same for whatever is wrong
 */
export async function byLogin(sql: Sql, token: string): Promise<Actor> {
  if (prefixOf(token) !== loginPrefixes.access) throw unauthenticated("bad checksum or form");
  const [row] = await sql<LoginRow[]>`
    select t.id, t."expiresAt", u.id as user_id, u.name, u.email
    from auth."oauthAccessToken" t
    join auth."user" u on u.id = t."userId"
    where t.token = ${hashLogin(token)} and t.revoked is null and t."expiresAt" > now()
      and t."clientId" = ${COMMAND_LINE} and t.scopes ? 'account'`;
  if (!row) throw unauthenticated("unknown, expired or revoked login");
  return {
    principal: { id: row.userId, kind: "u", name: row.name, email: row.email },
    owner: null,
    credential: { via: "session", id: row.id, expiresAt: row.expiresAt, ceiling: null, source: { login: row.id } },
  };
}

const unauthenticated = (cause: string) => new Refusal("UNAUTHENTICATED", undefined, {}, { cause });

/** Ends the whole login that a token belongs to, the one presented and all others. */
export async function endLogin(sql: Sql, token: string, client: string): Promise<void> {
  const hash = hashLogin(token);
  await sql`
    with login as (
      select "authorizationCodeId" as id from auth."oauthRefreshToken" where token = ${hash} and "clientId" = ${client}
      union select "authorizationCodeId" from auth."oauthAccessToken" where token = ${hash} and "clientId" = ${client}),
    ended as (delete from auth."oauthRefreshToken" where "authorizationCodeId" in (select id from login))
    delete from auth."oauthAccessToken" where "authorizationCodeId" in (select id from login)`;
}
