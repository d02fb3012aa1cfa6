import { createHash } from "node:crypto";
import type { Actor } from "./actor.ts";
import { type Authenticate, hashOf } from "./authenticate.ts";
import { createCache } from "./cache.ts";
import type { Feed } from "./feed.ts";
import type { Enter } from "./rpc.ts";
import { adminsOf } from "./rules.ts";
import { readTies } from "./standing.ts";

/** How many actors are kept, whose credentials hold few permissions. */
const ACTORS = 20_000;
/** Permissions of a credential that take as much room as an actor. */
const PERMISSIONS_PER_ACTOR = 20;
/** How many permissions are kept, in all standings together. */
const PERMISSIONS = 500_000;

/** What an actor hangs on, as the feed tells of it. */
function tagsOf({ principal, owner, credential, act }: Actor): string[] {
  const { key, session, login, token, actorKey } = credential.source ?? {};
  const credentials = [credential.id, key?.id, session, login, ...(token ? [token.id, ...token.ties] : []), actorKey?.id].filter(
    (id) => id !== undefined,
  );
  const principals = [principal, owner, act?.principal, act?.owner].flatMap((one) => (one ? [one.id] : [])).concat(token?.lenders ?? []);
  return [...credentials.map((id) => `c:${id}`), ...principals.map((id) => `p:${id}`)];
}

/** The first of some moments, in milliseconds since 1970; null among them is never. */
const firstOf = (moments: readonly (string | null)[]): number =>
  Math.min(...moments.filter((moment) => moment !== null).map((moment) => Date.parse(moment)));

/** Remembers, by a hash of what was presented, whom it belongs to: a warm call asks the database nothing. */
export function rememberActors(feed: Feed, authenticate: Authenticate): Authenticate {
  const recall = createCache<Actor>(feed, ACTORS);
  return (presented) =>
    recall(hashOf(presented), async () => {
      const actor = await authenticate(presented);
      // Of what another issuer takes back, no feed tells.
      const until = actor.credential.source ? firstOf([actor.credential.expiresAt]) : 0;
      return { value: actor, tags: tagsOf(actor), until, size: 1 + Math.ceil(heldBy(actor) / PERMISSIONS_PER_ACTOR) };
    });
}

/** How many permissions a credential holds, by all that limits it. */
const heldBy = ({ credential: { ceiling, scope, under = [] }, act }: Actor): number =>
  [ceiling, scope, act?.ceiling, ...under].reduce((sum, layer) => sum + (layer?.length ?? 0), 0);

/** Remembers where actors stand in a space. Strangers are not remembered: by their next call they may be members. */
export function rememberStandings(feed: Feed, enter: Enter): Enter {
  const recall = createCache<Actor["standing"]>(feed, PERMISSIONS);
  /** Made once for an actor that is remembered, as its credential may hold thousands of permissions. */
  const keys = new WeakMap<Actor, string>();
  return async (sql, actor, asked) => {
    const { source, ...credential } = actor.credential;
    const slug = asked ?? credential.space;
    if (slug === undefined) return enter(sql, actor, slug);
    // By all that limits the actor, and not only by whose it is.
    const limits = keys.get(actor) ?? hashed([actor.principal.id, credential, actor.act]);
    keys.set(actor, limits);
    const key = `${limits} ${slug}`;
    const standing = await recall(key, async () => {
      // Ties first: what has ended when they are read does not count in the standing that is read after.
      const ties = await readTies(sql, slug, actor);
      const { standing } = await enter(sql, actor, slug);
      if (!standing) return { value: null, tags: [], until: 0, size: 1 };
      return {
        value: { ...standing, admins: once(() => adminsOf(sql, standing.space.id)) },
        tags: [...tagsOf(actor), `s:${standing.space.id}`, ...ties.flatMap(({ id, principalId }) => [`c:${id}`, `p:${principalId}`])],
        until: firstOf(ties.map(({ expiresAt }) => expiresAt)),
        size: standing.layers.reduce((sum, { permissions }) => sum + permissions.length, 1),
      };
    });
    return { ...actor, standing };
  };
}

const hashed = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("base64url");

/** Reads something when it is first asked for, and keeps it; what could not be read is read again. */
function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined;
  return () => {
    reading ??= read().catch((cause) => {
      reading = undefined;
      throw cause;
    });
    return reading;
  };
}
