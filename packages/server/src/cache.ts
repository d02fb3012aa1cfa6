import { LRUCache } from "lru-cache";
import type { Feed } from "./feed.ts";

/** Longest that anything is kept: what the feed does not tell of (rows changed past all triggers) ends with it. */
const LIFE_MS = 60_000;

/** What was loaded, and how to keep it: not at all, without `until`. */
interface Loaded<V> {
  value: V;
  /** What ends it, as the feed calls it. */
  tags: readonly string[];
  /** When it ends by itself, in milliseconds since 1970; Infinity: when a minute is over. */
  until: number;
  /** How much room it takes, against the `room` of the cache. */
  size: number;
}

/** Answers with what is kept under a key, else with what `load` answers, which may be kept. What it throws never is. */
export type Recall<V> = (key: string, load: () => Promise<Loaded<V>>) => Promise<V>;

/**
 * Makes a cache that is used only while the feed is fresh, and forgets what the feed tells the end of.
 * @param room sum of the sizes of all that is kept
 */
export function createCache<V>(feed: Feed, room: number): Recall<V> {
  const keysOf = new Map<string, Set<string>>();
  const kept = new LRUCache<string, Loaded<V>>({
    maxSize: room,
    sizeCalculation: ({ size }) => size,
    dispose({ tags }, key) {
      for (const tag of tags) {
        const keys = keysOf.get(tag);
        keys?.delete(key);
        if (keys?.size === 0) keysOf.delete(tag);
      }
    },
  });
  /** What has ended while each load was under way; undefined among them: anything may have. */
  const loading = new Set<Set<string | undefined>>();
  /** Loads that others may wait for: nothing has ended since they began. */
  const shared = new Map<string, Promise<V>>();

  feed.watch((tag) => {
    for (const ended of loading) ended.add(tag);
    shared.clear();
    if (tag === undefined) kept.clear();
    else for (const key of [...(keysOf.get(tag) ?? [])]) kept.delete(key);
  });

  async function fill(key: string, load: () => Promise<Loaded<V>>): Promise<V> {
    const ended = new Set<string | undefined>();
    loading.add(ended);
    try {
      const loaded = await load();
      const until = Math.min(loaded.until, Date.now() + LIFE_MS);
      // What ended meanwhile may have been read before it did.
      if (until > Date.now() && !ended.has(undefined) && !loaded.tags.some((tag) => ended.has(tag))) keep(key, { ...loaded, until });
      return loaded.value;
    } finally {
      loading.delete(ended);
    }
  }

  function keep(key: string, loaded: Loaded<V>): void {
    kept.set(key, loaded);
    if (!kept.has(key)) return;
    for (const tag of loaded.tags) {
      const keys = keysOf.get(tag) ?? new Set();
      keysOf.set(tag, keys.add(key));
    }
  }

  return async (key, load) => {
    const fresh = feed.fresh();
    const known = fresh ? kept.get(key) : undefined;
    if (known && known.until > Date.now()) return known.value;
    const underWay = fresh ? shared.get(key) : undefined;
    if (underWay) return underWay;
    const filling = fill(key, load);
    shared.set(key, filling);
    const done = () => {
      if (shared.get(key) === filling) shared.delete(key);
    };
    filling.then(done, done);
    return filling;
  };
}
