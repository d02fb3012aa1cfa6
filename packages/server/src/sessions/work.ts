import type { Bell, Listener } from "./bell.ts";

/** What rings when a run of a task waits for a worker, as `ensure_run` in migrations/ says it too. @param space its id */
export const workTopic = (space: string, task: string): string => `work:${space}:${task}`;

/** Workers that wait for runs. */
export interface Work {
  /** Takes a place in the lines of some tasks. @param space its id */
  enter(space: string, tasks: readonly string[]): PlaceInLine;
}

interface PlaceInLine extends Listener {
  /** To be called when a look found a run: there may be more of its task. */
  took(task: string): void;
}

interface Waiter {
  wake(topic: string): void;
}

/**
 * Wakes as many workers as there are runs: those who wait for a task stand in line, and each ring wakes the first. One who
 * found a run, or has left with a ring that they did not look after, wakes the next.
 */
export function openWork(bell: Bell): Work {
  const lines = new Map<string, { waiters: Set<Waiter>; off: () => void }>();

  function wakeFirst(topic: string): void {
    const { waiters } = lines.get(topic) ?? {};
    const [first] = waiters ?? [];
    if (!waiters || !first) return;
    // The next ring is for the next.
    waiters.delete(first);
    waiters.add(first);
    first.wake(topic);
  }

  function heard(topic: string): void {
    if (bell.closed()) for (const waiter of lines.get(topic)?.waiters ?? []) waiter.wake(topic);
    else wakeFirst(topic);
  }

  function join(topic: string, waiter: Waiter): void {
    const line = lines.get(topic) ?? { waiters: new Set(), off: bell.on(topic, () => heard(topic)) };
    lines.set(topic, line);
    line.waiters.add(waiter);
  }

  function leave(topic: string, waiter: Waiter): void {
    const line = lines.get(topic);
    line?.waiters.delete(waiter);
    if (line?.waiters.size !== 0) return;
    line.off();
    lines.delete(topic);
  }

  return {
    enter(space, tasks) {
      const topics = [...new Set(tasks)].map((task) => workTopic(space, task));
      /** Rings that came since the last look began, and those that it is looking after. */
      let rung = new Set<string>();
      let looking = new Set<string>();
      let go = () => {};
      const waiter: Waiter = {
        wake(topic) {
          rung.add(topic);
          go();
        },
      };
      for (const topic of topics) join(topic, waiter);
      return {
        reset() {
          looking = rung;
          rung = new Set();
        },
        took(task) {
          looking.add(workTopic(space, task));
        },
        wait: async (ms) => {
          looking.clear(); // there was nothing
          if (rung.size === 0 && !bell.closed())
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, ms);
              go = () => {
                clearTimeout(timer);
                resolve();
              };
            });
          return !bell.closed();
        },
        end() {
          for (const topic of topics) leave(topic, waiter);
          for (const topic of new Set([...looking, ...rung])) wakeFirst(topic);
          looking.clear();
          rung.clear();
          go();
        },
      };
    },
  };
}
