import { expect, test } from "vitest";
import type { Actor } from "../actor.ts";
import { makeKey } from "../key.ts";
import { unauthenticated } from "../refusal.ts";
import { createGuesses } from "./guesses.ts";

const LIMIT = 3;
const ADDRESS = "192.0.2.1";

/** Guesses, and how many credentials were looked up for them. @param good those that prove somebody */
function guessing(good: Set<string>) {
  let [now, looked] = [0, 0];
  const guesses = createGuesses(LIMIT, () => now);
  const authenticate = guesses.guard(async ({ authorization = "" }) => {
    looked++;
    if (!good.has(authorization.slice(7))) throw unauthenticated("unknown");
    return {} as Actor;
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
    pass: (ms: number) => {
      now += ms;
    },
    looked: () => looked,
  };
}

test("over the limit an address has 20 unknown credentials a second looked up, and those that were good as often as they come", async () => {
  const [known, fresh] = [makeKey("pat"), makeKey("pat")];
  const { guesses, tried, pass, looked } = guessing(new Set([known, fresh]));
  expect(await tried(known)).toBe("good");
  for (let i = 0; i < LIMIT; i++) guesses.count(ADDRESS);
  const before = looked();
  for (let i = 0; i < 500; i++) expect(await tried(makeKey("pat"))).toBe("RATE_LIMITED");
  expect(looked() - before).toBe(20);
  expect([await tried(known), await tried(fresh)]).toEqual(["good", "RATE_LIMITED"]);
  expect(await tried(makeKey("pat"), "192.0.2.2"), "another address").toBe("UNAUTHENTICATED");
  pass(1000);
  expect(await tried(fresh)).toBe("good");
  for (let i = 0; i < 500; i++) await tried(makeKey("pat"));
  expect([await tried(known), await tried(fresh)]).toEqual(["good", "good"]);
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
