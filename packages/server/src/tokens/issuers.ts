import { createHash } from "node:crypto";
import { parsePermission } from "@gatehouse/protocol";
import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { Actor } from "../actor.ts";
import type { TrustedIssuer } from "../config.ts";
import type { Sql } from "../db.ts";
import { TokenError } from "./jwt.ts";

/** What an issuer may sign with: signatures alone, by keys that only it has. */
const ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const FETCH_TIMEOUT_MS = 3000;
/** Pause after which an issuer is asked again that gave no keys: forged tokens make no requests to it, and wait for none. */
const PAUSE_MS = 5000;
/** Longest life of a token that nobody can revoke here, and how far an issuer's clock may be ahead, in seconds. */
const MAX_LIFE = 86_400;
const MAX_SKEW = 60;
/** Types of token that say who calls (RFC 7519 §5.1, RFC 9068 §2.1). Some issuers, such as Kubernetes, say none. */
const TYPES = new Set(["jwt", "at+jwt"]);
/**
 * What stands in tokens that are made for something else: the ID token of somebody's sign-in (OpenID Connect Core 1.0 §2,
 * §3.1.3.6, §3.3.2.11), a logout token or another security event (RFC 8417 §2.2).
 */
const FOR_ELSE = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/** The OIDC issuers whose tokens are accepted, each mapped to a principal by rules of the configuration. */
export class TrustedIssuers {
  readonly #trusted: readonly TrustedIssuer[];
  /** The rules that stand, in short. */
  readonly rules: readonly string[];
  readonly #keys = new Map<string, Promise<JWTVerifyGetKey>>();

  constructor(trusted: readonly TrustedIssuer[]) {
    this.#trusted = trusted;
    this.rules = trusted.flatMap((issuer) => issuer.rules.map((rule) => digestOf(issuer, rule)));
  }

  /** Whether a rule stands by which something came in: as it was written then, word for word. */
  stands(rule: string): boolean {
    return this.rules.includes(rule);
  }

  /**
   * The principal that a token of a trusted issuer stands for, limited to the scope of the rule that says so. Such a
   * token can't be revoked here: it ends with its time, its rule, or its principal.
   * @throws TokenError
   */
  async read(sql: Sql, token: string, issuer: string): Promise<Actor> {
    const trusted = this.#trusted.find((one) => one.issuer === issuer);
    if (!trusted) throw new TokenError("unknown issuer");
    const claims = await this.#verify(token, trusted);
    const rule = trusted.rules.find(({ claims: wanted }) => Object.entries(wanted).every(([name, text]) => matches(claims[name], text)));
    if (!rule) throw new TokenError("no rule fits its claims");
    const [row] = await sql<
      { id: string; kind: "u" | "a"; name: string; email: string | null; owner: Actor["owner"]; account: string | null }[]
    >`
      select p.id, p.kind, p.name, u.email, account_of(p.id) as account,
             case when o.id is not null then json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) end as owner
      from principals p left join auth."user" u on u.id = p.id left join principals o on o.id = p.owner_id
      where p.id = ${rule.principal} and p.kind in ('u', 'a')`;
    if (!row) throw new TokenError("the rule names nobody");
    const { owner, account, ...principal } = row;
    const ends = new Date(Number(claims.exp) * 1000);
    if (Number.isNaN(ends.getTime())) throw new TokenError("it expires after the end of time");
    const scope = rule.scope.map(parsePermission);
    return {
      principal,
      owner,
      account,
      credential: {
        via: "jwt",
        id: idOf(token),
        expiresAt: ends.toISOString(),
        ceiling: null,
        scope,
        space: rule.space,
        rule: digestOf(trusted, rule),
      },
    };
  }

  async #verify(token: string, { issuer, audience, jwksUri }: TrustedIssuer): Promise<JWTPayload> {
    try {
      const key = await this.#keysOf(issuer, jwksUri);
      const checks = { issuer, audience, algorithms: ALGORITHMS, requiredClaims: ["exp", "iat", "sub"] };
      const { payload, protectedHeader } = await jwtVerify(token, key, checks);
      mustBeForUs(payload, protectedHeader.typ);
      return payload;
    } catch (error) {
      if (error instanceof TokenError) throw error;
      throw new TokenError(error instanceof errors.JOSEError ? error.code : "the issuer's keys can't be read", { cause: error });
    }
  }

  /** The issuer's key set. However many tokens of it come at once, it is asked once. */
  #keysOf(issuer: string, configured: string | undefined): Promise<JWTVerifyGetKey> {
    const known = this.#keys.get(issuer);
    if (known) return known;
    const keys = openKeys(issuer, configured);
    this.#keys.set(issuer, keys);
    // An issuer that was down is asked again.
    keys.catch(() => setTimeout(() => this.#keys.delete(issuer), PAUSE_MS).unref());
    return keys;
  }
}

/**
 * Refuses what an issuer signs for another purpose, for others as well, or for longer than a token should live (RFC 8725
 * §2.8, §3.9, §3.11).
 * @throws TokenError
 */
function mustBeForUs(claims: JWTPayload, typ: string | undefined): void {
  const { aud, iat = 0, exp = 0 } = claims;
  if (typ !== undefined && !TYPES.has(typ.toLowerCase().replace(/^application\//, "")))
    throw new TokenError("not a token that says who calls");
  if (FOR_ELSE.some((name) => claims[name] !== undefined)) throw new TokenError("made for something else than to call");
  if (Array.isArray(aud) && aud.length !== 1) throw new TokenError("for other audiences as well");
  if (iat > Date.now() / 1000 + MAX_SKEW) throw new TokenError("issued in the future");
  if (exp - iat > MAX_LIFE) throw new TokenError("lives longer than a day");
}

/** What the operator wrote of an issuer and of one rule, in short. */
const digestOf = ({ rules: _, ...issuer }: TrustedIssuer, rule: TrustedIssuer["rules"][number]): string =>
  createHash("sha256")
    .update(JSON.stringify([issuer, rule]))
    .digest("hex");

/** The key set where the configuration says, else where the discovery document does. @throws TokenError */
async function openKeys(issuer: string, configured: string | undefined): Promise<JWTVerifyGetKey> {
  return pausing(createRemoteJWKSet(new URL(configured ?? (await discover(issuer))), { timeoutDuration: FETCH_TIMEOUT_MS }));
}

/** A key set that is not fetched again for a while when it could not be. Meanwhile the keys are good that are known. */
function pausing(find: ReturnType<typeof createRemoteJWKSet>): JWTVerifyGetKey {
  let failed: { at: number; find: JWTVerifyGetKey } | undefined;
  return async (header, token) => {
    if (failed && performance.now() - failed.at < PAUSE_MS) return failed.find(header, token);
    try {
      return await find(header, token);
    } catch (cause) {
      const answered = cause instanceof errors.JWKSNoMatchingKey || cause instanceof errors.JWKSMultipleMatchingKeys;
      const known = find.fresh ? find.jwks() : undefined;
      if (!answered) failed = { at: performance.now(), find: known ? createLocalJWKSet(known) : () => Promise.reject(cause) };
      throw cause;
    }
  };
}

/** Reads `jwks_uri` from an issuer's discovery document (OpenID Connect Discovery 1.0 §4). @throws TokenError */
async function discover(issuer: string): Promise<string> {
  const address = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  try {
    const answer = await fetch(address, { redirect: "error", signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    const { issuer: said, jwks_uri: uri } = (await answer.json()) as { issuer?: string; jwks_uri?: string };
    if (said === issuer && typeof uri === "string") return uri;
  } catch {}
  throw new TokenError("the issuer's discovery document can't be read");
}

/** Whether a claim is what a rule wants: the same text, or, where that ends in `*`, text that begins so. */
const matches = (claim: unknown, wanted: string): boolean =>
  typeof claim === "string" && (wanted.endsWith("*") ? claim.startsWith(wanted.slice(0, -1)) : claim === wanted);

/** An id for the record, of a token that has none of ours: UUIDv8 of its hash (RFC 9562 §5.8). */
function idOf(token: string): string {
  const hex = createHash("sha256").update(token).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
