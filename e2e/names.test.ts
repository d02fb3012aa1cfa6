import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Name, nameKey, sameName } from "@gatehouse/protocol";
import { migrate, openDatabase } from "@gatehouse/server";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let space: string;
beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("Ada");
  space = (await must("space.create", { name: "Team" })).slug;
});
afterAll(() => server.close());

async function must(method: string, params: object, slug?: string) {
  const { result, error } = await server.call(ada.session, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}

/** Names that look alike; each list is of one name. */
const alike = [
  ["Caf\u00e9", "Cafe\u0301", "CAF\u00c9", "cafe\u0301"],
  ["\u1ea7", "a\u0302\u0300", "\u00e2\u0300"],
  ["Stra\u00dfe", "STRASSE", "stra\u1e9ee"],
  ["\u03a3\u0391\u03a3", "\u03c3\u03b1\u03c2", "\u03c3\u03b1\u03c3"],
  ["\u212bngstr\u00f6m", "\u00c5ngstro\u0308m", "A\u030angstr\u00f6m"],
  ["\uff33upport", "Support"],
  ["two words", "two\u00a0words"],
  ["\u0646\u0631\u0645\u200c\u0627\u0641\u0632\u0627\u0631", "\u0646\u0631\u0645\u0627\u0641\u0632\u0627\u0631"],
  ["\u2764\ufe0f", "\u2764"],
  ["\u{10400}", "\u{10428}"],
  ["\ud55c\uae00", "\u1112\u1161\u11ab\u1100\u1173\u11af"],
];
const kinds: Record<string, (name: string) => Promise<{ code?: string | undefined; end: () => Promise<unknown> }>> = {
  agent: (name) => made("agent.create", { name }, (id) => ["agent.delete", { id }]),
  "agent, renamed": async (name) => {
    const { id } = await must("agent.create", { name: crypto.randomUUID().slice(0, 8) });
    const { error } = await server.call(ada.session, "agent.rename", { id, name });
    return { code: error?.data.code, end: () => must("agent.delete", { id }) };
  },
  group: (name) => made("group.create", { name }, (group) => ["group.delete", { group }, space], space),
  key: (name) => made("apiKey.create", { name }, (id) => ["apiKey.delete", { id }]),
  "secret key": (name) => made("secretKey.create", { name }, (id) => ["secretKey.revoke", { id }, space], space),
};
async function made(method: string, params: object, end: (id: string) => [string, object, string?], slug?: string) {
  const { result, error } = await server.call(ada.session, method, params, slug);
  return { code: error?.data.code, end: async () => result && must(...end(result.id)) };
}

test.each(Object.keys(kinds))("two of one owner can't have names that look alike: %s", async (kind) => {
  const make = kinds[kind] as (typeof kinds)[string];
  for (const names of alike)
    for (const first of names)
      for (const second of names) {
        const [one, other] = [await make(first), await make(second)];
        expect([one.code, other.code], JSON.stringify([first, second])).toEqual([undefined, "CONFLICT"]);
        await Promise.all([one.end(), other.end()]);
      }
});

test("a member is found by a name however it is written", async () => {
  for (const names of alike) {
    const { id } = await must("group.create", { name: names[0] }, space);
    for (const name of names) {
      const { principals } = await must("principal.resolve", { name }, space);
      expect(
        principals.map((found: { id: string }) => found.id),
        JSON.stringify(name),
      ).toContain(id);
    }
    await must("group.delete", { group: id }, space);
  }
});

describe("the database and the programs", () => {
  /** The keys that the database makes. */
  const keysOf = async (names: readonly string[]): Promise<string[]> =>
    (
      await server.sql<{ key: string }[]>`
        select name_key(name) as key from unnest(${[...names]}::text[]) with ordinality as n (name, nth) order by nth`
    ).map(({ key }) => key);

  test("make the same key of every character that a name may hold", async () => {
    const characters = Array.from({ length: 0x110000 }, (_, code) => code)
      .filter((code) => code < 0xd800 || code > 0xdfff)
      .map((code) => String.fromCodePoint(code))
      .filter((character) => !/[\p{C}\p{Z}]/u.test(character));
    // Such as the tables of any database may not know yet are no part of a name, where they would have several forms.
    const unknown = new Set(
      (await server.sql<{ c: string }[]>`select c from unnest(${characters}::text[]) c where not unicode_assigned(c)`).map(({ c }) => c),
    );
    const asked = characters.filter((character) => !unknown.has(character) || Name.safeParse(character).success);
    expect(asked.length).toBeGreaterThan(140_000);
    for (const names of [asked, asked.map((character) => `a\u0323${character}\u0334b`)]) {
      const keys = await keysOf(names);
      expect(names.filter((name, i) => keys[i] !== nameKey(name))).toEqual([]);
    }
  });

  test("agree on any text, and on what is composed, decomposed, or in another case", async () => {
    const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }).filter((name) => Name.safeParse(name).success);
    for (const names of fc
      .sample(text, { numRuns: 2000 })
      .map((name) => [name, name.normalize("NFD"), name.normalize("NFC"), name.toUpperCase()])) {
      expect(names.filter((name) => !sameName(name, names[0] as string))).toEqual([]);
    }
    const sample = fc.sample(text, { numRuns: 2000 });
    expect(await keysOf(sample)).toEqual(sample.map(nameKey));
    expect(sample.map((name) => nameKey(nameKey(name)))).toEqual(sample.map(nameKey));
  });
});

const accepted = {
  "Persian, with a zero width non-joiner": "\u0646\u0631\u0645\u200c\u0627\u0641\u0632\u0627\u0631",
  "Hindi, with a zero width joiner": "\u0915\u094d\u200d\u0937",
  "Hindi, with a zero width non-joiner": "\u0915\u094d\u200c\u0937",
  "Sinhala, with a zero width joiner": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
  "a family": "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}",
  "an emoji with a skin tone and a profession": "\u{1f469}\u{1f3fd}\u200d\u2695\ufe0f",
  "a flag of two": "\u{1f3f3}\ufe0f\u200d\u{1f308}",
  "a key of a telephone": "5\ufe0f\u20e3",
  "a heart": "I \u2764\ufe0f tests",
  "a variant of an ideograph": "\u845b\u{e0100}",
  "a country's flag": "\u{1f1ee}\u{1f1f7}",
  "a combining mark": "Cafe\u0301",
};
test.each(Object.entries(accepted))("a name may be %s", async (_what, name) => {
  const { id } = await must("agent.create", { name });
  expect((await must("agent.get", { id })).name).toBe(name);
  await must("agent.delete", { id });
});

const refused = {
  "a zero width joiner between Latin letters": "ad\u200dmin",
  "a zero width non-joiner between Latin letters": "ad\u200cmin",
  "a zero width non-joiner at the end of a Persian word": "\u0646\u0631\u0645\u200c",
  "a zero width joiner after an emoji": "\u{1f468}\u200d",
  "two zero width joiners": "\u{1f468}\u200d\u200d\u{1f469}",
  "a variation selector after a letter": "a\ufe0fb",
  "a zero width space": "ad\u200bmin",
  "a word joiner": "ad\u2060min",
  "a byte order mark": "ad\ufeffmin",
  "a right-to-left override": "nim\u202eda",
  "a right-to-left isolate": "ad\u2067min",
  "a left-to-right mark": "admin\u200e",
  "a tag": "admin\u{e0061}",
  "a soft hyphen": "ad\u00admin",
  "a combining grapheme joiner": "ad\u034fmin",
  "a Hangul filler": "admin\u3164",
  "a blank of Braille": "\u2800",
  "a note of music without a head": "x\u{1d159}",
  "a filler of Khitan": "b\u{16fe4}",
  "a variation selector after a digit": "a1\ufe0f",
  "two spaces in a row": "a  b",
  "a space and another that does not break": "a\u00a0 b",
  "two ideographic spaces": "a\u3000\u3000b",
  "an invisible plus": "a\u2064b",
  "a mark whose order an older Unicode does not know": "bo\u0323\u1ad0t",
  "a letter that an older Unicode does not decompose": "\ua7f1bot",
  "an escape": "a\u001b[31m",
  "a character of nobody's": "a\u{f0000}",
  "an id in full width digits": "01980000-0000-7000-8000-00000000000\uff11",
  "a space at its end": "admin ",
  "nothing but a space": " ",
};
test.each(Object.entries(refused))("a name must not hold %s", async (_what, name) => {
  const { error } = await server.call(ada.session, "agent.create", { name });
  expect(error?.data).toMatchObject({ code: "INVALID_PARAMS", issues: [{ path: "name" }] });
});

test("names that look alike are told apart when a database is brought up to date", async () => {
  const source = join(import.meta.dirname, "../packages/server/src/migrations");
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-names-"));
  const sql = openDatabase(await makeDatabase());
  try {
    for (const file of (await readdir(source)).filter((name) => name < "0013")) await cp(join(source, file), join(folder, file));
    await migrate(sql, folder);
    const user = async (n: number) => {
      const [row] = await sql<
        { id: string }[]
      >`insert into auth."user" (id, name, email) values (new_id(), 'A', ${`a${n}@example.com`}) returning id`;
      return row?.id as string;
    };
    const [one, other] = [await user(1), await user(2)];
    const [row] = await sql<{ id: string }[]>`insert into spaces (id, slug, name) values (new_id(), 'abcdefghijkl', 'S') returning id`;
    const names = ["Caf\u00e9", "Cafe\u0301", "caf\u00e9 2", "plain", "\u0646\u0631\u0645\u0627\u0641"];
    for (const name of names) {
      await sql`insert into principals (id, kind, name, owner_id) values (new_id(), 'a', ${name}, ${one})`;
      await sql`insert into principals (id, kind, name, space_id) values (new_id(), 'g', ${name}, ${row?.id as string})`;
      await sql`insert into api_keys (id, principal_id, name, hash, hint) values (new_id(), ${one}, ${name}, sha256(${name}::text::bytea), '')`;
    }
    await sql`insert into principals (id, kind, name, owner_id) values (new_id(), 'a', ${"Cafe\u0301"}, ${other})`;
    await migrate(sql);
    const read = async (rows: Promise<readonly { name: string }[]>) => (await rows).map(({ name }) => name);
    const told = ["Caf\u00e9", "Cafe\u0301 3", "caf\u00e9 2", "plain", "\u0646\u0631\u0645\u0627\u0641"];
    expect(await read(sql<{ name: string }[]>`select name from principals where owner_id = ${one} order by id`)).toEqual(told);
    expect(await read(sql<{ name: string }[]>`select name from principals where kind = 'g' order by id`)).toEqual(told);
    expect(await read(sql<{ name: string }[]>`select name from api_keys order by id`)).toEqual(told);
    expect(await read(sql<{ name: string }[]>`select name from principals where owner_id = ${other}`)).toEqual(["Cafe\u0301"]);
  } finally {
    await sql.end();
    await rm(folder, { recursive: true, force: true });
  }
});
