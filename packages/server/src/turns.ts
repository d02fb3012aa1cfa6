import { FairSemaphore } from "./fair-semaphore.ts";

/** How long work may go on in one turn of the event loop, in milliseconds: nobody else is served meanwhile. */
const SLICE_MS = 4;

/** The event loop is one for all servers of a process. */
let last = Promise.resolve();
let sliceEnds = 0;

/** Waits for a turn of the event loop of its own: of two that do so, the others' requests come between. */
export function ownTurn(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
  return last;
}

/** Lets everybody else go first, if what waits for nothing has gone on for a slice: to be called between its steps. */
export async function slice(): Promise<void> {
  if (performance.now() < sliceEnds) return;
  await ownTurn();
  sliceEnds = performance.now() + SLICE_MS;
}

const strangers = new FairSemaphore(1, 1, Number.POSITIVE_INFINITY);

/**
 * Waits for a turn of the event loop in which no other stranger is served; networks take turns. A caller who is known never
 * waits here, and comes between, however many strangers ask at once.
 */
export const strangersTurn = (network: string): Promise<void> =>
  new Promise((resolve) => {
    strangers.request(network, (release) => {
      setImmediate(release);
      resolve();
    });
  });
