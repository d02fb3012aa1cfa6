import { base64url, decodeProtectedHeader, errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import type { Sql } from "../db.ts";
import { examine } from "../json.ts";
import { ALGORITHM, type SigningKeys } from "./signing-keys.ts";

/** The type of every token here (RFC 9068 §2.1): what has another is no access token, whoever signed it. */
const TYPE = "at+jwt";
const MAX_LENGTH = 8192;

/** What the header of a token of ours says, and nothing besides: no key that it brings along, no extension (RFC 8725 §3.10). */
const Header = z.strictObject({ alg: z.literal(ALGORITHM), typ: z.literal(TYPE), kid: z.uuid() });

/** What a token of ours says (RFC 9068, RFC 8693): all of it is in its row as well, which decides. */
const Claims = z.looseObject({ sub: z.uuid(), jti: z.uuid(), exp: z.number(), iat: z.number(), scope: z.string(), space: z.string() });
export type Claims = z.infer<typeof Claims>;

/** Why a token is not accepted: for the log. To the outside they are all the same. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

/** Whether a credential is in the compact form of a JWT: three parts with dots between. */
export const looksLikeJwt = (credential: string): boolean => credential.split(".").length === 3;

/**
 * Reads the issuer of a token, which is checked in nothing but its form: strict base64url, and JSON in which no member
 * stands twice (RFC 8725 §2.6, RFC 7515 §4).
 * @throws TokenError
 */
export function readIssuer(token: string): string {
  if (token.length > MAX_LENGTH) throw new TokenError("too long");
  const [header, payload, signature] = token.split(".") as [string, string, string];
  decode(signature);
  strictJson(decode(header));
  const { iss } = strictJson(decode(payload)) as { iss?: unknown };
  if (typeof iss !== "string") throw new TokenError("no issuer");
  return iss;
}

/** The bytes of strict base64url (RFC 4648 §5): no padding, no other characters, no bits left over. @throws TokenError */
function decode(part: string): Uint8Array {
  try {
    const bytes = base64url.decode(part);
    if (bytes.length > 0 && base64url.encode(bytes) === part) return bytes;
  } catch {}
  throw new TokenError("not strict base64url");
}

/** @throws TokenError */
function strictJson(bytes: Uint8Array): object {
  try {
    // A BOM stays, and is no JSON (RFC 8259 §8.1): else two decoders would read two tokens in the same bytes.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    const [flaws] = examine(text);
    if (typeof value === "object" && value !== null && flaws && flaws.envelopeFlaws.length + flaws.paramsFlaws.length === 0) return value;
  } catch {}
  throw new TokenError("not an object of strict JSON");
}

/** Signs and checks the tokens of one server: their issuer is its public address, and so is their audience. */
export class Jwt {
  readonly issuer: string;
  readonly #keys: SigningKeys;

  constructor(issuer: string, keys: SigningKeys) {
    this.issuer = issuer;
    this.#keys = keys;
  }

  /** True for a token that names this server as its issuer, or none that can be read: only such a token can be one of ours. */
  isOwn(token: string): boolean {
    try {
      return readIssuer(token) === this.issuer;
    } catch {
      return true;
    }
  }

  async sign(sql: Sql, claims: JWTPayload): Promise<string> {
    const { kid, key } = await this.#keys.signer(sql);
    return new SignJWT({ ...claims, iss: this.issuer, aud: this.issuer }).setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid }).sign(key);
  }

  /** Checks algorithm, type, key, signature, issuer, audience and time (RFC 8725). @throws TokenError */
  async verify(sql: Sql, token: string): Promise<Claims> {
    try {
      const { kid } = Header.parse(decodeProtectedHeader(token));
      const key = await this.#keys.verifier(sql, kid);
      if (!key) throw new TokenError("unknown signing key");
      const checks = { algorithms: [ALGORITHM], typ: TYPE, issuer: this.issuer, audience: this.issuer };
      const { payload } = await jwtVerify(token, key, { ...checks, requiredClaims: ["exp", "iat"] });
      return Claims.parse(payload);
    } catch (error) {
      if (error instanceof errors.JOSEError) throw new TokenError(error.code);
      if (error instanceof z.ZodError || error instanceof TypeError)
        throw new TokenError("its header or its claims are not those of a token of ours");
      throw error;
    }
  }
}
