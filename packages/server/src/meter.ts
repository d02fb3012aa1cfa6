import { AsyncLocalStorage } from "node:async_hooks";

/** Bytes of a request that cost as much as the cheapest call. */
export const BYTES_PER_CALL = 8192;
/** Characters of an answer that do: it is read from the database, put together, checked and sent. */
export const ANSWERED_PER_CALL = 4096;
/** Permissions that take about as long to read. */
const PERMISSIONS_PER_CALL = 100;
/** Rows that take about as long to look through. */
const ROWS_PER_CALL = 100;

/** The cost of a request beyond the fixed cost of its calls, in calls. */
interface Meter {
  cost: number;
}

const meters = new AsyncLocalStorage<Meter>();

/** Answers a request, and counts what that costs. @param run is given a function that tells the count so far, in whole calls */
export function metered<T>(run: (spent: () => number) => Promise<T>): Promise<T> {
  const meter = { cost: 0 };
  return meters.run(meter, () => run(() => Math.floor(meter.cost)));
}

/** Counts an answer of so many characters. */
export const countAnswer = (characters: number): void => count(characters / ANSWERED_PER_CALL);

/** Counts so many permissions that were read from the database. */
export const countPermissions = (permissions: number): void => count(permissions / PERMISSIONS_PER_CALL);

/** Counts so many rows that were looked through for a page of a list. */
export const countRows = (rows: number): void => count(rows / ROWS_PER_CALL);

function count(cost: number): void {
  const meter = meters.getStore();
  if (meter) meter.cost += cost;
}
