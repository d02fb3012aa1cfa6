import { createHash, randomInt } from "node:crypto";
import { crc32 } from "node:zlib";
import { type KeyKind, keyPrefixes } from "@gatehouse/protocol";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH = 30;
const CHECKSUM_LENGTH = 6;

/** Finds keys in text, for secret scanners. */
export const KEY_PATTERN = `(${Object.values(keyPrefixes).join("|")})[0-9A-Za-z]{${RANDOM_LENGTH + CHECKSUM_LENGTH}}`;
const KEY = new RegExp(`^${KEY_PATTERN}$`);

/** Makes a key: prefix, 30 base62 characters from the CSPRNG (178 bits), 6 of checksum. */
export function makeKey(kind: KeyKind): string {
  const body = keyPrefixes[kind] + Array.from({ length: RANDOM_LENGTH }, () => BASE62[randomInt(BASE62.length)]).join("");
  return body + checksum(body);
}

/** The kind of a key, or undefined when its form or its checksum is wrong: known without asking the database. */
export function kindOfKey(key: string): KeyKind | undefined {
  const prefix = KEY.exec(key)?.[1];
  if (!prefix || checksum(key.slice(0, -CHECKSUM_LENGTH)) !== key.slice(-CHECKSUM_LENGTH)) return undefined;
  return (Object.keys(keyPrefixes) as KeyKind[]).find((kind) => keyPrefixes[kind] === prefix);
}

/** Whether a credential claims to be a key at all. */
export const looksLikeKey = (credential: string): boolean => credential.startsWith("me_");

/** What is kept of a key: its SHA-256. A key has enough entropy that a slow hash would add nothing. */
export const hashKey = (key: string): Uint8Array => new Uint8Array(createHash("sha256").update(key).digest());

/** What a key is shown as after it was made: its prefix and last 4 characters. */
export const hintOfKey = (key: string): string => `${KEY.exec(key)?.[1]}…${key.slice(-4)}`;

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
