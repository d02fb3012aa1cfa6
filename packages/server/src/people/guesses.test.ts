import { expect, test } from "vitest";
import type { Actor } from "../actor.ts";
import { makeKey } from "../key.ts";
import { unauthenticated } from "../refusal.ts";
import { createGuesses } from "./guesses.ts";

const LIMIT = 3;
const ADDRESS = "192.0.2.1";

/** Guesses, and how many credentials were looked up for them at once. @param good those that prove somebody */
function guessing(good: Set<string>) {
  let [looking, most] = [0, 0];
  const guesses = createGuesses(LIMIT);
  const authenticate = guesses.guard(async ({ authorization = "" }) => {
    most = Math.max(most, ++looking);
    await new Promise((resolve) => setImmediate(resolve));
    looking--;
    if (!good.has(authorization.slice(7))) throw unauthenticated("unknown");
    return { principal: { id: "somebody" }, credential: { via: "pat" } } as Actor;
  });
  const tried = async (credential: string, address = ADDRESS) => {
    const presented = { authorization: `Bearer ${credential}`, address };
    return authenticate(presented).then(
      () => "good",
      (refusal) => refusal.code as string,
    );
  };
  return {
    guesses,
    tried,
    /** Most that were looked up at once. */
    most: () => most,
  };
}

test("over the limit an address has two unknown credentials looked up at once, and a good one among them is never refused", async () => {
  const [known, fresh] = [makeKey("pat"), makeKey("pat")];
  const { guesses, tried, most } = guessing(new Set([known, fresh]));
  expect(await tried(known)).toBe("good");
  for (let i = 0; i < LIMIT; i++) guesses.count(ADDRESS);
  const wrong = Array.from({ length: 500 }, () => tried(makeKey("pat")));
  expect(await Promise.all([tried(fresh), tried(makeKey("pat"), "192.0.2.2")])).toEqual(["good", "UNAUTHENTICATED"]);
  expect(new Set(await Promise.all(wrong))).toEqual(new Set(["RATE_LIMITED"]));
  expect(most(), "and one of the other address").toBe(3);
});

test("of one address only so many wait", async () => {
  const { guesses, tried } = guessing(new Set());
  for (let i = 0; i < LIMIT; i++) guesses.count(ADDRESS);
  let done = 0;
  const all = Array.from({ length: 21_000 }, () => tried(makeKey("pat")).finally(() => done++));
  expect(await Promise.race(all)).toBe("RATE_LIMITED");
  await all.at(-1);
  expect(done, "refused at once, while others wait").toBeLessThan(2000);
  await Promise.all(all);
});

test("a wrong checksum uses up no lookup", async () => {
  const fresh = makeKey("pat");
  const { guesses, tried } = guessing(new Set([fresh]));
  for (let i = 0; i < LIMIT; i++) guesses.count(ADDRESS);
  for (let i = 0; i < 100; i++) expect(await tried(`me_pat_${"0".repeat(36)}`)).toBe("RATE_LIMITED");
  expect(await tried(fresh)).toBe("good");
});

test("what is refused is known no more", async () => {
  const key = makeKey("pat");
  const good = new Set([key]);
  const { guesses, tried } = guessing(good);
  expect([await tried(key), guesses.isKnown({ authorization: `Bearer ${key}` })]).toEqual(["good", true]);
  good.clear();
  expect([await tried(key), guesses.isKnown({ authorization: `Bearer ${key}` })]).toEqual(["UNAUTHENTICATED", false]);
});
