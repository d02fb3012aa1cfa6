import { setTimeout as delay } from "node:timers/promises";
import { GatehouseError } from "@gatehouse/client";

const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2000;
/** What passes: a line that is cut, a server that starts again, too many calls. */
const PASSING = new Set<GatehouseError["code"]>([
  "UNREACHABLE",
  "BAD_ANSWER",
  "UNAVAILABLE",
  "INTERNAL_ERROR",
  "RATE_LIMITED",
  "REQUEST_TIMEOUT",
]);

/**
 * Makes a call, again and again while it fails by what passes; so it must be one that does no harm when it is repeated.
 * @param forMs how long to try, from the first failure on
 * @throws what the call failed with last
 */
export async function persist<T>(
  call: () => Promise<T>,
  { signal, forMs = Number.POSITIVE_INFINITY }: { signal: AbortSignal; forMs?: number },
): Promise<T> {
  let failedAt: number | undefined;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      return await call();
    } catch (error) {
      failedAt ??= performance.now();
      if (signal.aborted || !(error instanceof GatehouseError) || !PASSING.has(error.code) || performance.now() - failedAt > forMs)
        throw error;
    }
    // Not all workers at the same moment, when a server is back.
    await delay(wait * (0.5 + Math.random() / 2), undefined, { signal });
  }
}
