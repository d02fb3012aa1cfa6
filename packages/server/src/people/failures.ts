const MINUTE_MS = 60_000;
/** Networks that are counted at most: those that failed first are forgotten first. */
const MAX_NETWORKS = 50_000;

/**
 * Counts wrong credentials by network, for this server alone: what they cost is this server's time.
 * @param perMinute from how many on a network has to wait; 0 = never
 */
export function createFailures(perMinute: number, now: () => number = Date.now) {
  const failures = new Map<string, { count: number; until: number }>();
  return {
    /** Seconds for which a network has to wait; 0 = it may go on. */
    wait(network: string): number {
      const counted = failures.get(network);
      if (perMinute === 0 || !counted || counted.count < perMinute || counted.until <= now()) return 0;
      return Math.ceil((counted.until - now()) / 1000);
    },
    count(network: string): void {
      if (perMinute === 0) return;
      const counted = failures.get(network);
      if (counted && counted.until > now()) counted.count++;
      else {
        failures.delete(network);
        failures.set(network, { count: 1, until: now() + MINUTE_MS });
        if (failures.size > MAX_NETWORKS) failures.delete(failures.keys().next().value as string);
      }
    },
  };
}
