import { createHash } from "node:crypto";

/** Dice that fall the same way for the same seed. */
export interface Dice {
  /** A whole number, both ends among them. */
  from(min: number, max: number): number;
  chance(share: number): boolean;
  one<T>(of: readonly T[]): T;
}

/** Marsaglia's xorshift32: what it falls on need not be secret, only the same again. */
export function dice(seed: string): Dice {
  let state = createHash("sha256").update(seed).digest().readUInt32LE() || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const from = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return { from, chance: (share) => next() < share, one: (of) => of[from(0, of.length - 1)] as never };
}

/** What is answered to an input, word by word, and how long each takes: whoever knows the input knows the answer. */
export function answerTo(inputId: string): { words: string[]; paceMs: number; fails: boolean } {
  const { from, chance } = dice(inputId);
  return {
    words: Array.from({ length: from(1, 12) }, (_, i) => `${inputId}/${i} `),
    paceMs: from(0, 60),
    fails: chance(0.1),
  };
}

/** Some answers are lost on their way: what was asked is done, and who asked does not know. */
export const losing = (share: number, { chance }: Dice): typeof fetch =>
  Object.assign(async (...asked: Parameters<typeof fetch>) => {
    const answer = await plain(...asked);
    if (!chance(share)) return answer;
    await answer.body?.cancel();
    throw new TypeError("The answer is lost.");
  }, plain);
const plain = globalThis.fetch;
