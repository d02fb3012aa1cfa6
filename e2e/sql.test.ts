import { setTimeout as delay } from "node:timers/promises";
import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { makeDatabase } from "./harness.ts";

type Database = ReturnType<typeof openDatabase>;

let sql: Database;
let other: Database;
beforeAll(async () => {
  const url = new URL(await makeDatabase());
  sql = openDatabase(url.href);
  url.searchParams.set("prepare", "false");
  other = openDatabase(url.href);
  await sql.unsafe(
    "create table kinds (id int primary key); create table notes (text text unique, kind int references kinds deferrable initially deferred)",
  );
});
beforeEach(() => sql`delete from notes`);
afterAll(async () => {
  await sql.end();
  await other.end();
});

const notes = async (): Promise<string[]> =>
  (await other<{ text: string }[]>`select text from notes order by text`).map(({ text }) => text);
const note = (on: Pick<Database, "unsafe">, text: string) => on.unsafe("insert into notes (text) values ($1)", [text]);

describe("the template", () => {
  const ODD = ["", " ", "null", "NULL", "a,b", '"', "\\", '\\"', "{}", "{a}", "'", "\n", "ä🦉", "$1", "--", "\\x00"];

  test("parts go into parts, and each value is a parameter of its own", async () => {
    const only = (least: number, most: number) => sql`n between ${least} and ${most}`;
    const which = sql`(${only(2, 3)} or ${only(7, 7)}) and ${sql("n")} <> ${3}`;
    expect(await sql`select ${"a"} as first, n, ${"z"} as last from generate_series(1, 9) n where ${which} and ${true}`).toEqual([
      { first: "a", n: 2, last: "z" },
      { first: "a", n: 7, last: "z" },
    ]);
  });

  test.each([
    ["prepared", () => sql],
    ["not prepared", () => other],
  ])("text comes back as it went, alone and in an array: %s", async (_how, on) => {
    const [row] = await on()`select ${ODD}::text[] as odd, ${ODD[5]}::text as one, ${[]}::text[] as none, ${null}::text as nothing`;
    expect(row).toEqual({ odd: ODD, one: ODD[5], none: [], nothing: null });
    expect(await on()`select text from unnest(${ODD}::text[]) text where text = any(${ODD.slice(3)}::text[])`).toHaveLength(ODD.length - 3);
  });

  test("columns are camelCase, the keys in json are not; moments, large numbers, lists and bytes come as they are told", async () => {
    const id = "019a0000-0000-7000-8000-000000000000";
    const [row] = await sql`
      select ${sql.json({ a_b: [1, null, "x"] })} as some_json, ${"2026-01-02T03:04:05.678+01:00"}::timestamptz as created_at_last, ${1}::int as _n,
             9007199254740993 as large, 1.10 as exact, ${[id]}::uuid[] as ids, ${new Uint8Array([0, 255])}::bytea as bytes, 1 = ${1} as yes`;
    expect(row).toEqual({
      someJson: { a_b: [1, null, "x"] },
      createdAtLast: "2026-01-02T02:04:05.678Z",
      _n: 1,
      large: "9007199254740993",
      exact: "1.10",
      ids: [id],
      bytes: Buffer.from([0, 255]),
      yes: true,
    });
  });

  test("names are quoted, a row is inserted by its columns, and what was changed is counted", async () => {
    await sql.begin(async (tx) => {
      await tx`create table ${tx("y z")} (${tx('a"b')} text, c jsonb)`;
      const { count } = await tx`insert into ${tx("y z")} ${tx({ 'a"b': "'); drop table notes", c: tx.json(null) })}`;
      expect(count).toBe(1);
      expect(await tx`select ${tx(['a"b', "c"])} from ${tx("public.y z")}`).toEqual([{ 'a"b': "'); drop table notes", c: null }]);
      await tx`drop table ${tx("y z")}`;
    });
  });

  test("undefined is no value", async () => {
    const refused = { code: "UNDEFINED_VALUE" };
    await expect(sql`select ${undefined}::text`).rejects.toMatchObject(refused);
    await expect(sql`select ${sql`${undefined}`}::text`).rejects.toMatchObject(refused);
    await expect(sql`select ${sql.json(undefined)}`).rejects.toMatchObject(refused);
    await expect(sql.begin((tx) => Promise.all([tx`select 1`, tx`select ${undefined}::text`, tx`select 2`]))).rejects.toMatchObject(
      refused,
    );
    expect(await sql`select 1 as one`).toEqual([{ one: 1 }]);
  });

  test("a query is sent when it is awaited, and once", async () => {
    const query = note(sql, "once");
    expect(await notes()).toEqual([]);
    await Promise.all([query, query]);
    expect(await notes()).toEqual(["once"]);
  });
});

describe("a transaction", () => {
  test("is all or nothing; what is asked in it at once is done in turn", async () => {
    const made = sql.begin(async (tx) => {
      await Promise.all(["a", "b", "c"].map((text) => note(tx, text)));
      return (await tx`select from notes`).length;
    });
    expect(await made).toBe(3);
    const failed = sql.begin(async (tx) => {
      await note(tx, "d");
      throw new Error("changed my mind");
    });
    await expect(failed).rejects.toThrow("changed my mind");
    expect(await notes()).toEqual(["a", "b", "c"]);
  });

  test("in which a query failed is no success, whoever caught it", async () => {
    const swallowed = sql.begin(async (tx) => {
      await note(tx, "a");
      await note(tx, "a").catch(() => {});
    });
    await expect(swallowed).rejects.toMatchObject({ code: "23505" });
    const atTheEnd = sql.begin((tx) => tx`insert into notes (kind) values (${7})`);
    await expect(atTheEnd).rejects.toMatchObject({ code: "23503" });
    expect(await notes()).toEqual([]);
  });

  test("that is over takes no more queries", async () => {
    const tx = await sql.begin(async (tx) => [tx] as const);
    await expect(note(tx[0], "late")).rejects.toThrow("over");
    expect(await notes()).toEqual([]);
  });

  test("that lost its connection leaves nothing behind, and what it asks later is done nowhere", async () => {
    const crowd = Array.from({ length: 30 }, async (_, i) => {
      const outcome = sql.begin(async (tx) => {
        await note(tx, `before ${i}`);
        if (i % 3 > 0) return delay(5);
        const [own] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
        await other`select pg_terminate_backend(${own?.pid})`;
        await note(tx, `after ${i}`).catch(() => {});
        await note(tx, `later ${i}`).catch(() => {});
        await delay(20); // time to connect again
        await note(tx, `at last ${i}`).catch(() => {});
      });
      if (i % 3 > 0) return outcome;
      return expect(outcome).rejects.toThrow(/connection|ECONN|EPIPE/i);
    });
    await Promise.all(crowd);
    const stayed = Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 3 > 0);
    expect(await notes()).toEqual(stayed.map((i) => `before ${i}`).sort());
    expect(await sql`select 1 as one`).toEqual([{ one: 1 }]);
  });
});
