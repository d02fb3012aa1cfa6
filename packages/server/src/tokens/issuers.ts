import { createHash } from "node:crypto";
import { parsePermission } from "@gatehouse/protocol";
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { Actor } from "../actor.ts";
import type { TrustedIssuer } from "../config.ts";
import type { Sql } from "../db.ts";
import { TokenError } from "./jwt.ts";

/** What an issuer may sign with: signatures alone, by keys that only it has. */
const ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const FETCH_TIMEOUT_MS = 3000;

/** The OIDC issuers whose tokens are accepted, each mapped to a principal by rules of the configuration. */
export class TrustedIssuers {
  readonly #trusted: readonly TrustedIssuer[];
  readonly #digests: ReadonlySet<string>;
  readonly #keys = new Map<string, Promise<JWTVerifyGetKey>>();

  constructor(trusted: readonly TrustedIssuer[]) {
    this.#trusted = trusted;
    this.#digests = new Set(trusted.flatMap((issuer) => issuer.rules.map((rule) => digestOf(issuer, rule))));
  }

  /** Whether a rule stands by which something came in: as it was written then, word for word. */
  stands(rule: string): boolean {
    return this.#digests.has(rule);
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
    const [row] = await sql<{ id: string; kind: "u" | "a"; name: string; email: string | null; owner: Actor["owner"] }[]>`
      select p.id, p.kind, p.name, u.email,
             case when o.id is not null then json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) end as owner
      from principals p left join auth."user" u on u.id = p.id left join principals o on o.id = p.owner_id
      where p.id = ${rule.principal} and p.kind in ('u', 'a')`;
    if (!row) throw new TokenError("the rule names nobody");
    const { owner, ...principal } = row;
    const ends = new Date(Number(claims.exp) * 1000);
    if (Number.isNaN(ends.getTime())) throw new TokenError("it expires after the end of time");
    const scope = rule.scope.map(parsePermission);
    return {
      principal,
      owner,
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
      const { payload } = await jwtVerify(token, key, { issuer, audience, algorithms: ALGORITHMS, requiredClaims: ["exp", "iat", "sub"] });
      return payload;
    } catch (error) {
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
    keys.catch(() => this.#keys.delete(issuer));
    return keys;
  }
}

/** What the operator wrote of an issuer and of one rule, in short. */
const digestOf = ({ rules: _, ...issuer }: TrustedIssuer, rule: TrustedIssuer["rules"][number]): string =>
  createHash("sha256")
    .update(JSON.stringify([issuer, rule]))
    .digest("hex");

/** The key set where the configuration says, else where the discovery document does. @throws TokenError */
async function openKeys(issuer: string, configured: string | undefined): Promise<JWTVerifyGetKey> {
  return createRemoteJWKSet(new URL(configured ?? (await discover(issuer))), { timeoutDuration: FETCH_TIMEOUT_MS });
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
