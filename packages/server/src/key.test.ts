import { keyPrefixes } from "@gatehouse/protocol";
import { expect, test } from "vitest";
import { hashKey, hintOfKey, KEY_PATTERN, kindOfKey, loginPrefixes, looksLikeKey, makeKey, makeSecret, prefixOf } from "./key.ts";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const kinds = Object.keys(keyPrefixes) as (keyof typeof keyPrefixes)[];
const replaced = (text: string, at: number, char: string) => text.slice(0, at) + char + text.slice(at + 1);

test.each(kinds)("a key of kind %s is its prefix, 30 random and 6 checksum characters", (kind) => {
  const key = makeKey(kind);
  expect(key).toMatch(new RegExp(`^${keyPrefixes[kind]}[0-9A-Za-z]{36}$`));
  expect(kindOfKey(key)).toBe(kind);
  expect(looksLikeKey(key)).toBe(true);
});

test("the checksum is CRC-32 in six base62 digits, so that others can check it", () => {
  // Worked out apart from this code: 4188294142 and 9764791, the second with digits to fill up.
  expect(kindOfKey(`me_pat_${"0".repeat(30)}4ZRedK`)).toBe("pat");
  expect(kindOfKey(`me_agent_${"Gatehouse".repeat(3)}Key00eyGd`)).toBe("agent_key");
});

test.each(kinds)("no change of one character in a key of kind %s goes unseen", (kind) => {
  const key = makeKey(kind);
  for (let at = 0; at < key.length; at++)
    for (const char of `${BASE62}_-. é`)
      if (char !== key[at]) expect(kindOfKey(replaced(key, at, char)), `${char} at ${at}`).toBeUndefined();
});

test("neighbours that changed places, lost or doubled characters, and text around a key are seen", () => {
  const key = makeKey("pat");
  for (let at = 0; at < key.length - 1; at++) {
    const [one, other] = [key[at] as string, key[at + 1] as string];
    if (one !== other) expect(kindOfKey(replaced(replaced(key, at, other), at + 1, one))).toBeUndefined();
    expect(kindOfKey(key.slice(0, at) + key.slice(at + 1))).toBeUndefined();
    expect(kindOfKey(key.slice(0, at) + one + key.slice(at))).toBeUndefined();
  }
  for (const text of ["", ` ${key}`, `${key} `, `${key}\n`, `${key}0`, key.toUpperCase(), key + key])
    expect(kindOfKey(text)).toBeUndefined();
});

test("a key does not pass as one of another kind", () => {
  const [one, other] = [makeKey("pat"), makeKey("agent_key")];
  expect(kindOfKey(one.replace(keyPrefixes.pat, keyPrefixes.agent_key))).toBeUndefined();
  expect(kindOfKey(other.replace(keyPrefixes.agent_key, keyPrefixes.pat))).toBeUndefined();
});

test("each of the 62 characters is as likely as any other, at every place", () => {
  const keys = Array.from({ length: 3000 }, () => makeKey("pat").slice(keyPrefixes.pat.length, -6));
  expect(new Set(keys).size).toBe(keys.length);
  const chiSquare = (text: string) => {
    const expected = text.length / BASE62.length;
    return [...BASE62].reduce((sum, char) => sum + (text.split(char).length - 1 - expected) ** 2 / expected, 0);
  };
  // 61 degrees of freedom: 61 on average, and above 170 less than once in 10¹¹ times. A byte taken modulo 62 comes to some 650.
  expect(chiSquare(keys.join(""))).toBeLessThan(170);
  for (let at = 0; at < 30; at++) expect(chiSquare(keys.map((key) => key[at]).join("")), `place ${at}`).toBeLessThan(170);
});

test("the tokens of a login have the form of a key, and are none", () => {
  for (const prefix of Object.values(loginPrefixes)) {
    const token = makeSecret(prefix);
    expect(prefixOf(token)).toBe(prefix);
    expect(prefixOf(`${token.slice(0, -1)}${token.endsWith("a") ? "b" : "a"}`)).toBeUndefined();
    expect(kindOfKey(token)).toBeUndefined();
    expect(token.match(new RegExp(KEY_PATTERN))?.[0]).toBe(token);
  }
});

test("the documented pattern finds every key in text, and nothing else", () => {
  const [pat, agent] = [makeKey("pat"), makeKey("agent_key")];
  const text = `
    ME_API_KEY=${pat}
    {"authorization":"Bearer ${agent}"} https://example.com/?key=${pat}&x=1 '${agent}', (${pat})
    me_pat_ me_pat_short me_agent_${"a".repeat(35)} ME_PAT_${"a".repeat(36)} me_other_${"a".repeat(36)}`;
  expect([...text.matchAll(new RegExp(KEY_PATTERN, "g"))].map(([found]) => found)).toEqual([pat, agent, pat, agent, pat]);
});

test("what is kept and shown of a key does not tell the key", () => {
  const key = makeKey("pat");
  expect(hashKey(key)).toHaveLength(32);
  expect(hashKey(key)).not.toEqual(hashKey(makeKey("pat")));
  expect(hintOfKey(key)).toBe(`me_pat_…${key.slice(-4)}`);
});
