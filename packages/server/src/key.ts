import { createHash, randomInt } from "node:crypto";
import { crc32 } from "node:zlib";
import { type CallerKind, type KeyKind, keyPrefixes } from "@gatehouse/protocol";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH = 30;
const CHECKSUM_LENGTH = 6;

/** The tokens of a login (OAuth), by the prefixes that show them. */
export const loginPrefixes = { access: "me_login_", refresh: "me_refresh_" } as const;

/** The kind of key by which a kind of principal calls. */
export const kindsOf: Record<CallerKind, KeyKind> = { u: "pat", a: "agent_key", s: "secret_key" };

/** Finds keys and tokens in text, for secret scanners. */
export const KEY_PATTERN = `(${[...Object.values(keyPrefixes), ...Object.values(loginPrefixes)].join("|")})[0-9A-Za-z]{${RANDOM_LENGTH + CHECKSUM_LENGTH}}`;
const SECRET = new RegExp(`^${KEY_PATTERN}$`);

/** Makes a secret: prefix, 30 base62 characters from the CSPRNG (178 bits), 6 of checksum. */
export function makeSecret(prefix: string): string {
  const body = prefix + Array.from({ length: RANDOM_LENGTH }, () => BASE62[randomInt(BASE62.length)]).join("");
  return body + checksum(body);
}

/** Makes an API key. */
export const makeKey = (kind: KeyKind): string => makeSecret(keyPrefixes[kind]);

/** The prefix of a secret, or undefined when its form or its checksum is wrong: known without asking the database. */
export function prefixOf(secret: string): string | undefined {
  const prefix = SECRET.exec(secret)?.[1];
  return prefix && checksum(secret.slice(0, -CHECKSUM_LENGTH)) === secret.slice(-CHECKSUM_LENGTH) ? prefix : undefined;
}

/** The kind of an API key, or undefined when it is none. */
export function kindOfKey(key: string): KeyKind | undefined {
  const prefix = prefixOf(key);
  return (Object.keys(keyPrefixes) as KeyKind[]).find((kind) => keyPrefixes[kind] === prefix);
}

/** Whether a credential claims to be a key at all. */
export const looksLikeKey = (credential: string): boolean => credential.startsWith("me_");

/** What is kept of a key: its SHA-256. A key has enough entropy that a slow hash would add nothing. */
export const hashKey = (key: string): Uint8Array => new Uint8Array(createHash("sha256").update(key).digest());

/** What a key is shown as after it was made: its prefix and last 4 characters. */
export const hintOfKey = (key: string): string => `${SECRET.exec(key)?.[1]}…${key.slice(-4)}`;

/** CRC-32 (ISO-HDLC) in base62, most significant digit first. */
function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = BASE62[rest % 62] + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
