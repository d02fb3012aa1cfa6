import type { IncomingHttpHeaders } from "node:http";
import { type KeyKind, parsePermission } from "@gatehouse/protocol";
import type { Actor } from "./actor.ts";
import type { Auth } from "./auth.ts";
import type { Sql } from "./db.ts";
import { hashKey, kindOfKey, looksLikeKey } from "./key.ts";
import { Refusal } from "./refusal.ts";

/** What a request presents to prove who sends it. */
export type Credentials = Pick<IncomingHttpHeaders, "authorization" | "cookie" | "origin">;

/** Turns what a request presents into its actor. */
export type Authenticate = (presented: Credentials) => Promise<Actor>;

/**
 * The one credential ladder. Every way of failing is the same UNAUTHENTICATED to the caller; the
 * cause is for the log.
 * @param origins web origins whose requests may bring a cookie
 */
export function createAuthenticate({ sql, auth, origins }: { sql: Sql; auth: Auth; origins: readonly string[] }): Authenticate {
  return async ({ authorization, cookie, origin }) => {
    // A request that carries an Authorization header never falls back to its cookie.
    if (authorization !== undefined) {
      const token = /^bearer +(\S+) *$/i.exec(authorization)?.[1];
      if (!token) throw unauthenticated("not a Bearer credential");
      return looksLikeKey(token) ? byKey(sql, token) : bySession(auth, new Headers({ authorization: `Bearer ${token}` }));
    }
    if (cookie === undefined) throw unauthenticated("no credential");
    if (origin === undefined || !origins.includes(origin)) throw unauthenticated("cookie from an origin that is not allowed");
    return bySession(auth, new Headers({ cookie }));
  };
}

const unauthenticated = (cause: string) => new Refusal("UNAUTHENTICATED", undefined, {}, { cause });

interface KeyRow {
  id: string;
  principalId: string;
  kind: "u" | "a";
  name: string;
  email: string | null;
  ownerId: string | null;
  ownerKind: "u";
  ownerName: string;
  ceiling: string[] | null;
  expiresAt: string | null;
  expired: boolean;
  stale: boolean;
}

/** Which kind of principal a kind of key speaks for. */
const speaksFor: Record<KeyKind, KeyRow["kind"]> = { pat: "u", agent_key: "a" };

async function byKey(sql: Sql, key: string): Promise<Actor> {
  const via = kindOfKey(key);
  if (!via) throw unauthenticated("bad checksum or form");
  const hash = hashKey(key);
  const [row] = await sql<KeyRow[]>`
    select k.id, k.principal_id, p.kind, p.name, u.email, o.id as owner_id, o.kind as owner_kind, o.name as owner_name, k.ceiling,
           case when k.hash = ${hash} then k.expires_at else least(k.expires_at, k.previous_expires_at) end as expires_at,
           coalesce(k.expires_at <= now(), false) or (k.hash <> ${hash} and k.previous_expires_at <= now()) as expired,
           coalesce(k.last_used_at < now() - interval '5 minutes', true) as stale
    from api_keys k
    join principals p on p.id = k.principal_id
    left join auth."user" u on u.id = p.id
    left join principals o on o.id = p.owner_id
    where k.hash = ${hash} or k.previous_hash = ${hash}`;
  if (!row) throw unauthenticated("unknown key");
  if (row.expired) throw unauthenticated("expired key");
  if (row.kind !== speaksFor[via]) throw unauthenticated("a key of the wrong kind for its principal");
  // Once in five minutes at most: an authentication is a read.
  if (row.stale) await sql`update api_keys set last_used_at = now() where id = ${row.id}`;
  return {
    principal: { id: row.principalId, kind: row.kind, name: row.name, email: row.email },
    owner: row.ownerId && { id: row.ownerId, kind: row.ownerKind, name: row.ownerName },
    credential: { via, id: row.id, expiresAt: row.expiresAt, ceiling: row.ceiling?.map(parsePermission) ?? null },
  } as Actor;
}

async function bySession(auth: Auth, headers: Headers): Promise<Actor> {
  const found = await auth.api.getSession({ headers }).catch((thrown: Error) => {
    throw thrown.cause ?? thrown; // better-auth wraps what its database said
  });
  if (!found) throw unauthenticated("unknown or expired session");
  const { user, session } = found;
  return {
    principal: { id: user.id, kind: "u", name: user.name, email: user.email },
    owner: null,
    credential: { via: "session", id: session.id, expiresAt: session.expiresAt.toISOString(), ceiling: null },
  };
}
