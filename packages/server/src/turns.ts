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

/**
 * Serves one request per turn of the event loop; the parties that wait take turns.
 * @param sliceMs where what is served is small: as many as fit into so many milliseconds
 */
function openTurns(sliceMs = 0): (party: string) => Promise<void> | undefined {
  let ends = 0;
  const next = (release: () => void) => {
    if (performance.now() < ends) return queueMicrotask(release);
    setImmediate(() => {
      ends = performance.now() + sliceMs;
      release();
    });
  };
  const semaphore = new FairSemaphore(1, 1, Number.POSITIVE_INFINITY);
  return (party) => {
    let granted = false;
    let resolve = () => {
      granted = true;
    };
    semaphore.request(party, (release) => {
      next(release);
      resolve();
    });
    if (granted) return undefined;
    return new Promise((go) => {
      resolve = go;
    });
  };
}

/**
 * Waits for a turn of the event loop in which no other stranger is served; networks take turns. A caller who is known never
 * waits here, and comes between, however many strangers ask at once.
 * @returns nothing, where there was no wait
 */
export const strangersTurn = openTurns();

/**
 * Waits for a turn of the event loop in which few other requests of known callers are taken up, before anything is done for
 * them; parties take turns.
 * @returns nothing, where there was no wait
 */
export const arrivalsTurn = openTurns(1);

/**
 * Waits for a turn of the event loop in which no other request of a known caller is begun; parties take turns. Whoever sends
 * many requests at once holds up the next of another by one of them.
 * @returns nothing, where there was no wait
 */
export const callersTurn = openTurns();

/** Waits for a turn of the event loop in which few readers of streams are judged; parties take turns. @returns nothing, where there was no wait */
export const judgesTurn = openTurns(1);
