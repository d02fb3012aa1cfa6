import { hkdfSync } from "node:crypto";
import { MAX_TOKEN_SECONDS } from "@gatehouse/protocol";
import { CompactEncrypt, compactDecrypt, exportJWK, generateKeyPair, importJWK, type JWK } from "jose";
import { uuidv7 } from "uuidv7";
import { StartError } from "../database.ts";
import type { Database, Sql } from "../db.ts";

/** How tokens are signed: EdDSA on Ed25519 (RFC 8037). */
export const ALGORITHM = "EdDSA";
/** Days after which a key gets a successor by itself. */
const ROTATION_DAYS = 90;
/** Seconds between a key's publication and its first signature: longer than anybody keeps the key set. */
const PUBLISHED_BEFORE_SECONDS = 600;
/** The advisory lock that servers take turns on when they make a key. */
const LOCK = 7_070_003;

/** A key that signs, or that checks what it signed. */
type Key = Awaited<ReturnType<typeof importJWK>>;

/** The keys that sign tokens: in the database, their private halves encrypted under the server's secret. */
export class SigningKeys {
  readonly #sql: Database;
  readonly #secret: Uint8Array;
  readonly #private = new Map<string, Key>();
  readonly #public = new Map<string, Key>();

  constructor(sql: Database, secret: string) {
    this.#sql = sql;
    this.#secret = new Uint8Array(hkdfSync("sha256", secret, "gatehouse", "signing keys", 32));
  }

  /** Makes the first key, or a successor when the newest is old; forgets those whose tokens have all expired. @throws StartError */
  async ensure(): Promise<void> {
    await this.#sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${LOCK})`;
      const newest = await this.#newest(tx);
      if (!newest || newest.old) await this.#make(tx, newest ? PUBLISHED_BEFORE_SECONDS : 0);
      await forgetSpent(tx);
    });
  }

  /**
   * Makes a successor of the key that signs now: it is published at once and signs a little later, and what was signed
   * before stays good.
   * @param compromised the key is known to somebody: its successor signs at once, and every token signed before is dead
   * @returns the new key's id, and from when it signs
   * @throws StartError
   */
  async rotate(compromised = false): Promise<{ kid: string; signsFrom: string }> {
    return this.#sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${LOCK})`;
      if (compromised) {
        await tx`delete from signing_keys`;
        await tx`update tokens_since set at = clock_timestamp()`;
        await tx`insert into remains (of, kind) values (${uuidv7()}, 'spoiled')`;
        await tx`select tell('*')`;
      } else {
        await this.#newest(tx);
        await forgetSpent(tx);
      }
      return this.#make(tx, compromised ? 0 : PUBLISHED_BEFORE_SECONDS);
    });
  }

  /** The key that signs now, and its id. */
  async signer(sql: Sql): Promise<{ kid: string; key: Key }> {
    const [row] = await sql<{ id: string; encrypted: string }[]>`
      select id, encrypted from signing_keys where signs_from <= now() order by signs_from desc limit 1`;
    if (!row) throw new Error("there is no signing key");
    const known = this.#private.get(row.id);
    if (known) return { kid: row.id, key: known };
    const key = await importJWK(await this.#decrypt(row.encrypted), ALGORITHM);
    this.#private.set(row.id, key);
    return { kid: row.id, key };
  }

  /** The public half of a key, or undefined when there is no such key any more. */
  async verifier(sql: Sql, kid: string): Promise<Key | undefined> {
    const [row] = await sql<{ publicJwk: JWK }[]>`select public_jwk from signing_keys where id::text = ${kid}`;
    if (!row) return undefined;
    const known = this.#public.get(kid);
    if (known) return known;
    const key = await importJWK(row.publicJwk, ALGORITHM);
    this.#public.set(kid, key);
    return key;
  }

  /** The key set (RFC 7517): every key that signs, will sign, or signed what may live still. */
  async publicSet(): Promise<{ keys: JWK[] }> {
    const rows = await this.#sql<{ id: string; publicJwk: JWK }[]>`select id, public_jwk from signing_keys order by id`;
    return { keys: rows.map(({ id, publicJwk }) => ({ ...publicJwk, kid: id, alg: ALGORITHM, use: "sig" })) };
  }

  /** The newest key, which is of our secret: two are of no use to each other's servers. @throws StartError */
  async #newest(sql: Sql): Promise<{ old: boolean } | undefined> {
    const [newest] = await sql<{ old: boolean; encrypted: string }[]>`
      select created_at < now() - make_interval(days => ${ROTATION_DAYS}) as old, encrypted from signing_keys order by id desc limit 1`;
    if (newest) await this.#decrypt(newest.encrypted);
    return newest;
  }

  async #make(sql: Sql, seconds: number): Promise<{ kid: string; signsFrom: string }> {
    const { publicKey, privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
    const [row] = await sql<{ id: string; signsFrom: string }[]>`
      insert into signing_keys (id, public_jwk, encrypted, signs_from)
      values (${uuidv7()}, ${sql.json(await exportJWK(publicKey))}, ${await this.#encrypt(await exportJWK(privateKey))},
              now() + make_interval(secs => ${seconds}))
      returning id, signs_from`;
    if (!row) throw new Error("the signing key was not kept");
    return { kid: row.id, signsFrom: row.signsFrom };
  }

  /** As a JWE (RFC 7516), with the key that is derived from the server's secret. */
  #encrypt(jwk: JWK): Promise<string> {
    return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(jwk)))
      .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
      .encrypt(this.#secret);
  }

  async #decrypt(encrypted: string): Promise<JWK> {
    try {
      const { plaintext } = await compactDecrypt(encrypted, this.#secret);
      return JSON.parse(new TextDecoder().decode(plaintext));
    } catch (cause) {
      throw new StartError(
        "The signing keys were encrypted under another GATEHOUSE_SECRET. Set that one; or, if it is lost, make new keys: me keys rotate --compromised",
        { cause },
      );
    }
  }
}

/** Forgets the keys whose successor has signed for longer than any token lives. */
const forgetSpent = (sql: Sql) => sql`
  delete from signing_keys k where exists (
    select from signing_keys later
    where later.signs_from > k.signs_from and later.signs_from < now() - make_interval(secs => ${MAX_TOKEN_SECONDS + PUBLISHED_BEFORE_SECONDS}))`;
