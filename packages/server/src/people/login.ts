import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { hashKey, loginPrefixes, prefixOf } from "../key.ts";
import { MCP, permissionsOf } from "../oauth/scopes.ts";
import { unauthenticated } from "../refusal.ts";

/** The OAuth client that the command line is. */
export const COMMAND_LINE = "me";

/** What is kept of a token, and of an authorization code: its SHA-256, in hex. */
export const hashLogin = (token: string): string => Buffer.from(hashKey(token)).toString("hex");

/** Whether a credential claims to be the access token of a login. */
export const looksLikeLogin = (credential: string): boolean => credential.startsWith(loginPrefixes.access);

interface LoginRow {
  id: string;
  expiresAt: string;
  clientId: string;
  scopes: string[];
  space: string | null;
  userId: string;
  name: string;
  email: string;
}

/**
 * The person who has signed a program in, by its access token. The command line acts as they do in person; any other
 * program does what they let it do, in the one space they chose, and through the door for programs alone.
 * @throws Refusal UNAUTHENTICATED, the same for whatever is wrong
 */
export async function byLogin(sql: Sql, token: string): Promise<Actor> {
  if (prefixOf(token) !== loginPrefixes.access) throw unauthenticated("bad checksum or form");
  const [row] = await sql<LoginRow[]>`
    select t.id, t."expiresAt", t."clientId", t.scopes, s.slug as space, u.id as user_id, u.name, u.email
    from auth."oauthAccessToken" t
    join auth."user" u on u.id = t."userId"
    join auth.logins l on l.id = t."authorizationCodeId"
    left join spaces s on s.id = l.space_id
    where t.token = ${hashLogin(token)} and t.revoked is null and t."expiresAt" > now()`;
  if (!row) throw unauthenticated("unknown, expired or revoked login");
  const { id, expiresAt, clientId, scopes, space } = row;
  const principal = { id: row.userId, kind: "u", name: row.name, email: row.email } as const;
  const credential = { id, expiresAt, ceiling: null, source: { login: id } };
  if (clientId === COMMAND_LINE) {
    if (!scopes.includes("account")) throw unauthenticated("a login that may not act as the person");
    return { principal, owner: null, credential: { ...credential, via: "session" } };
  }
  if (space === null) throw unauthenticated("a login for no space");
  return { principal, owner: null, credential: { ...credential, via: "jwt", scope: permissionsOf(scopes), space, resource: MCP } };
}

/** What a token belongs to, spent or not. */
interface LoginOf {
  /** Of the login as a whole. */
  id: string;
  client: string;
  person: string;
}

/** The login that any of its tokens belongs to; undefined when it is over. */
export async function loginOf(sql: Sql, token: string): Promise<LoginOf | undefined> {
  const hash = hashLogin(token);
  const [login] = await sql<LoginOf[]>`
    select "authorizationCodeId" as id, "clientId" as client, "userId" as person from auth."oauthRefreshToken" where token = ${hash}
    union select "authorizationCodeId", "clientId", "userId" from auth."oauthAccessToken" where token = ${hash}`;
  return login;
}

/** Ends a whole login, with all of its tokens. */
export const endLogin = (sql: Sql, id: string) => sql`delete from auth.logins where id = ${id}`;
