/** What was measured of calls that should all take the same time. */
export interface Comparison {
  /** How much better than a coin one guesses which of a pair is there, from which took longer. Chance alone makes it 0.011, give or take as much. */
  advantage: number;
  /** How far medians lie from that of what is there, as a share of it. */
  apart: number[];
}
export const withinNoise = ({ advantage, apart }: Comparison) => advantage < 0.04 && apart.every((share) => share < 0.06);

type Asking = (round: number) => Promise<unknown>;
type Kinds = Record<"there" | "missing", Asking> & Record<string, Asking>;

const ROUNDS = 2000;

/** Times what is asked about what is there and about what is not. A difference that is there is there each time; what a busy machine puts there is not. */
export async function timed(kinds: Kinds): Promise<Comparison> {
  for (let i = 0; i < 200; i++) for (const ask of Object.values(kinds)) await ask(i); // connections, plans and code are warm
  let seen = await compare(kinds);
  for (let again = 0; again < 2 && !withinNoise(seen); again++) seen = await compare(kinds);
  return seen;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

async function compare(kinds: Kinds): Promise<Comparison> {
  const times = new Map(Object.keys(kinds).map((kind) => [kind, [] as number[]]));
  for (let i = 0; i < ROUNDS; i++) {
    // In any order: neither the place in a round nor what came before it makes one of them slower.
    for (const [kind, ask] of Object.entries(kinds).toSorted(() => Math.random() - 0.5)) {
      const start = performance.now();
      await ask(i);
      times.get(kind)?.push(performance.now() - start);
    }
  }
  const { there = [], missing = [], ...others } = Object.fromEntries(times);
  return {
    advantage: Math.abs(there.filter((time, i) => time > (missing[i] as number)).length / there.length - 0.5),
    apart: [missing, ...Object.values(others)].map((other) => Math.abs(median(other) / median(there) - 1)),
  };
}
