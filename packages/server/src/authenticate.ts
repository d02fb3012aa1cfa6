import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { parsePermission } from "@gatehouse/protocol";
import type { Actor } from "./actor.ts";
import type { Sql } from "./db.ts";
import { hashKey, kindOfKey, kindsOf, looksLikeKey, prefixOf } from "./key.ts";
import { type Auth, sessionOf } from "./people/auth.ts";
import { byLogin, looksLikeLogin } from "./people/login.ts";
import { unauthenticated } from "./refusal.ts";
import { looksLikeJwt } from "./tokens/jwt.ts";
import type { ReadToken, TokenRead } from "./tokens/read.ts";

/** What a request presents to prove who sends it. */
export type Credentials = Pick<IncomingHttpHeaders, "authorization" | "cookie" | "origin"> & {
  /** Path of the door that it is presented at, where that is a resource of its own (RFC 8707). */
  resource?: string;
  /** At the token exchange alone: a token that a user made for the agent that calls, to act for them (RFC 8693 §2.1). */
  subject?: string | undefined;
  /** It is presented to be ended, and for nothing else: what is made for an agent alone is proof enough of itself. */
  toEnd?: true;
  /** Where the request came from: for whose wrong credentials it is held up. It proves nothing. */
  address?: string;
};

const BEARER = /^bearer +(\S+) *$/i;
/** The cookie of a session: over TLS the one that no other host can set, whatever others say beside it. */
const SESSION_COOKIES = [/(?:^|;) *(__Host-gatehouse\.session_token)=([^; ]*)/, /(?:^|;) *(gatehouse\.session_token)=([^; ]*)/];
/** The token of a session, with its signature: as better-auth makes it, and no other that it would take for the same. */
const SESSION = /^[A-Za-z0-9]{32}\.[A-Za-z0-9+/]{43}=$/;

/** The token that a header holds. */
const tokenIn = (authorization: string | undefined): string | undefined => BEARER.exec(authorization ?? "")?.[1];

/** A session's token, which may be percent-encoded, as cookies are. */
function sessionIn(text: string | undefined): string | undefined {
  try {
    const token = decodeURIComponent(text ?? "");
    return SESSION.test(token) ? token : undefined;
  } catch {
    return undefined;
  }
}

/** The one cookie that proves a session, whatever others come with it: the first of its name. */
function sessionCookieIn(cookie = ""): string | undefined {
  const [, name, value] = SESSION_COOKIES.map((one) => one.exec(cookie)).find(Boolean) ?? [];
  const token = sessionIn(value);
  return token === undefined ? undefined : `${name}=${encodeURIComponent(token)}`;
}

const hashes = new WeakMap<Credentials, string>();

/**
 * Names what is presented, by a hash of all that the ladder looks at, and of nothing else: one credential has one name, however
 * it is spelled. A cookie is worth nothing from another origin. Made once.
 */
export function hashOf(presented: Credentials): string {
  const known = hashes.get(presented) ?? makeHash(presented);
  hashes.set(presented, known);
  return known;
}

function makeHash({ authorization, cookie, origin, subject, resource, toEnd }: Credentials): string {
  const token = tokenIn(authorization);
  const looked =
    authorization === undefined
      ? [sessionCookieIn(cookie), origin, resource]
      : { token: sessionIn(token) ?? token ?? [authorization], subject, resource, toEnd };
  return createHash("sha256").update(JSON.stringify(looked)).digest("base64");
}

/** Whether what is presented is refused without asking the database: nothing, or what has not the form of a credential. */
export function isHopeless({ authorization }: Credentials): boolean {
  if (authorization === undefined) return true;
  const token = tokenIn(authorization);
  return token === undefined || (looksLikeKey(token) && prefixOf(token) === undefined);
}

/** Turns what a request presents into its actor. */
export type Authenticate = (presented: Credentials) => Promise<Actor>;

/** What the ladder stands on. */
interface Ground {
  sql: Sql;
  auth: Auth;
  /** Web origins whose requests may bring a cookie. */
  cookieOrigins: readonly string[];
  readToken: ReadToken;
}

/**
 * The one credential ladder. Every way of failing is the same UNAUTHENTICATED to the caller; the
 * cause is for the log.
 */
export function createAuthenticate(ground: Ground): Authenticate {
  return async ({ authorization, cookie, origin, subject, resource, toEnd }) => {
    // A request that carries an Authorization header never falls back to its cookie.
    if (authorization !== undefined) {
      const token = tokenIn(authorization);
      if (!token) throw unauthenticated("not a Bearer credential");
      const { actor: caller, mayAct } = await identify(ground, token);
      if (mayAct && !toEnd) throw unauthenticated("a token for an agent to act, presented by itself");
      if (!opens(caller.credential, resource)) throw unauthenticated("a credential for another door");
      return subject === undefined ? caller : actingFor(ground, caller, subject);
    }
    const session = sessionCookieIn(cookie);
    if (session === undefined || resource !== undefined) throw unauthenticated("no credential");
    if (origin === undefined || !ground.cookieOrigins.includes(origin)) throw unauthenticated("cookie from an origin that is not allowed");
    return bySession(ground.auth, new Headers({ cookie: session }));
  };
}

const NOT_PROGRAMS: ReadonlySet<Actor["credential"]["via"]> = new Set(["session", "secret_key", "browser_token"]);

/** Through a door for programs nobody comes in person, no service, and no browser; else a credential opens what it was made for. */
const opens = ({ via, resource: made }: Actor["credential"], resource: string | undefined): boolean =>
  made === resource || (made === undefined && !NOT_PROGRAMS.has(via));

/** Whose a key, a token or a session is, and the agent that it is for if it is for one alone. @throws Refusal UNAUTHENTICATED */
export async function identify({ sql, auth, readToken }: Ground, credential: string): Promise<TokenRead> {
  // No other characters can stand in a header.
  if (!/^[!-~]+$/.test(credential)) throw unauthenticated("characters that no credential has");
  if (looksLikeLogin(credential)) return { actor: await byLogin(sql, credential) };
  if (looksLikeKey(credential)) return { actor: await byKey(sql, credential) };
  if (looksLikeJwt(credential)) return readToken(sql, credential);
  const session = sessionIn(credential);
  if (session === undefined) throw unauthenticated("not in the form of any credential");
  return { actor: await bySession(auth, new Headers({ authorization: `Bearer ${session}` })) };
}

/** The user that a token speaks for, with the agent that it was made for, who calls by a key of its own. */
async function actingFor({ sql, readToken }: Ground, caller: Actor, subject: string): Promise<Actor> {
  const { via, ceiling, source } = caller.credential;
  const { actor, mayAct } = looksLikeJwt(subject) ? await readToken(sql, subject) : {};
  if (!actor || mayAct !== caller.principal.id || via !== "agent_key" || !source?.key)
    throw unauthenticated("the subject's token was not made for this agent");
  const { principal, owner } = caller;
  const ends = [actor.credential.expiresAt, caller.credential.expiresAt].filter((end) => end !== null);
  return {
    ...actor,
    credential: { ...actor.credential, expiresAt: ends.sort()[0] ?? null, source: { ...actor.credential.source, actorKey: source.key } },
    act: { principal, owner, ceiling },
  };
}

interface KeyRow {
  id: string;
  principalId: string;
  kind: Actor["principal"]["kind"];
  name: string;
  email: string | null;
  owner: Actor["owner"];
  account: string | null;
  space: string | null;
  ceiling: string[] | null;
  expiresAt: string | null;
  expired: boolean;
  stale: boolean;
}

async function byKey(sql: Sql, key: string): Promise<Actor> {
  const via = kindOfKey(key);
  if (!via) throw unauthenticated("bad checksum or form");
  const hash = hashKey(key);
  const [row] = await sql<KeyRow[]>`
    select k.id, k.principal_id, p.kind, p.name, u.email, account_of(p.id) as account, k.ceiling, s.slug as space,
           case when o.id is not null then json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) end as owner,
           case when k.hash = ${hash} then k.expires_at else least(k.expires_at, k.previous_expires_at) end as expires_at,
           not secret_lives(k.id, ${hash}) as expired,
           coalesce(k.last_used_at < now() - interval '5 minutes', true) as stale
    from api_keys k
    join principals p on p.id = k.principal_id
    left join auth."user" u on u.id = p.id
    left join principals o on o.id = p.owner_id
    left join spaces s on s.id = p.space_id
    where k.hash = ${hash} or k.previous_hash = ${hash}`;
  if (!row) throw unauthenticated("unknown key");
  if (row.expired) throw unauthenticated("expired or revoked key");
  if (kindsOf[row.kind] !== via) throw unauthenticated("a key of the wrong kind for its principal");
  // Once in five minutes at most: an authentication is a read.
  if (row.stale) await sql`update api_keys set last_used_at = now() where id = ${row.id}`;
  const { id, principalId, kind, name, email, owner, account, space, ceiling, expiresAt } = row;
  return {
    principal: { id: principalId, kind, name, email },
    owner,
    account,
    credential: {
      via,
      id,
      expiresAt,
      ceiling: ceiling?.map(parsePermission) ?? null,
      space: space ?? undefined,
      source: { key: { id, hash } },
    },
  };
}

async function bySession(auth: Auth, headers: Headers): Promise<Actor> {
  const found = await sessionOf(auth, headers);
  if (!found) throw unauthenticated("unknown or expired session");
  const { user, session } = found;
  return {
    principal: { id: user.id, kind: "u", name: user.name, email: user.email },
    owner: null,
    credential: {
      via: "session",
      id: session.id,
      expiresAt: session.expiresAt.toISOString(),
      ceiling: null,
      source: { session: session.id },
    },
  };
}
