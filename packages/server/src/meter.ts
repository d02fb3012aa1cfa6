import { AsyncLocalStorage } from "node:async_hooks";

/** Characters of an answer, and permissions that are read, which take about as long as the cheapest call. */
const CHARACTERS = 16_384;
const PERMISSIONS = 100;

/** What a request turns out to cost besides what its calls cost at least, in calls. */
interface Meter {
  cost: number;
}

const meters = new AsyncLocalStorage<Meter>();

/** Runs what answers a request. @returns what it answers, and what was counted meanwhile, in whole calls */
export async function metered<T>(run: () => Promise<T>): Promise<{ made: T; cost: number }> {
  const meter = { cost: 0 };
  const made = await meters.run(meter, run);
  return { made, cost: Math.floor(meter.cost) };
}

/** Counts an answer of so many characters. */
export const countAnswer = (characters: number): void => count(characters / CHARACTERS);

/** Counts so many permissions that were read from the database. */
export const countPermissions = (permissions: number): void => count(permissions / PERMISSIONS);

function count(cost: number): void {
  const meter = meters.getStore();
  if (meter) meter.cost += cost;
}
