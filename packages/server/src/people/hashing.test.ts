import { expect, test } from "vitest";
import { createHashing } from "./hashing.ts";

/** A line whose work ends when it is told to, and the order in which it began. */
function line(atOnce: number) {
  const hashing = createHashing(atOnce);
  const began: string[] = [];
  const ends: (() => void)[] = [];
  const ask = async (key: string, known = false): Promise<string> => {
    try {
      return await hashing.run({ key, known }, () => {
        began.push(key);
        return new Promise<string>((resolve) => ends.push(() => resolve(key)));
      });
    } catch (refusal) {
      const { code, details } = refusal as { code: string; details: { retryAfter: number } };
      return `${code} ${details.retryAfter}`;
    }
  };
  /** All that can begin has begun. */
  const settled = () => new Promise(setImmediate);
  /** Ends what has run longest. */
  const end = async () => {
    ends.shift()?.();
    await settled();
  };
  return { hashing, began, ask, end, settled };
}

test("each network has its turn, however many wait by another", async () => {
  const { began, ask, end, settled } = line(2);
  for (const key of ["a", "a", "a", "a", "b", "c"]) void ask(key);
  await settled();
  for (let i = 0; i < 6; i++) await end();
  expect(began).toEqual(["a", "a", "b", "c", "a", "a"]);
});

test("whoever is known goes first, and finds a place where strangers have taken all of theirs", async () => {
  const { hashing, began, ask, end, settled } = line(3);
  for (const key of ["a", "b", "c", "d"]) void ask(key);
  await settled();
  expect([began, hashing.busy()]).toEqual([["a", "b"], true]);
  void ask("ada", true);
  await settled();
  expect(began).toEqual(["a", "b", "ada"]);
  void ask("bob", true);
  await end();
  await end();
  expect(began).toEqual(["a", "b", "ada", "bob", "c"]);
});

test("too many who wait, of one network or of all, are refused at once; what fails makes room too", async () => {
  const { began, ask, end } = line(2);
  void ask("a");
  for (let i = 0; i < 4; i++) void ask("a");
  expect(await ask("a")).toBe("RATE_LIMITED 1");
  const answers: Promise<string>[] = [];
  for (let i = 0; i < 10_000; i++) answers.push(ask(`n${i}`));
  // However many there are, none of them waits to be told so.
  const refused = await Promise.all(answers.slice(1000));
  expect(refused.every((answer) => answer === "RATE_LIMITED 1")).toBe(true);
  const before = began.length;
  await end();
  expect(began.length).toBe(before + 1);

  const failing = createHashing(2);
  await expect(failing.run({ key: "a", known: false }, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(failing.busy()).toBe(false);
});
