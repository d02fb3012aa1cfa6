import { exchangeToken } from "@gatehouse/client";
import { formatPermission, type Permission } from "@gatehouse/protocol";
import type { Actor } from "../packages/server/src/actor.ts";
import {
  type About,
  ANY,
  actingPositions,
  actorAt,
  agentPositions,
  aside,
  idOf,
  insiders,
  leave,
  ownerOf,
  type Position,
  servicePositions,
  take,
  userPositions,
} from "./positions.ts";
import type { SpaceWorld } from "./space-world.ts";

/** A kind of credential, and where whoever brings it may stand. */
export interface Means {
  title: string;
  /** What the caller has from the first; a token is minted from it. */
  via: Exclude<Actor["credential"]["via"], "jwt" | "browser_token">;
  /** What the key is limited to: just what the row needs, or the same of another path. */
  ceiling?: "needed" | "aside";
  /** The same of a token. */
  scope?: "needed" | "aside";
  /** It is the token of one session for a browser: of the session that the call names, or of another one. */
  browser?: true;
  positions: Record<string, Position>;
}

const NEEDED = "is just what the row needs";

/** Every kind of credential that proves who is calling. */
export const means: Means[] = [
  { title: "A user, signed in", via: "session", positions: userPositions },
  { title: "A user, by a personal access token", via: "pat", positions: userPositions },
  { title: `A user, by a personal access token whose ceiling ${NEEDED}`, via: "pat", ceiling: "needed", positions: userPositions },
  { title: "A user, by a personal access token with a ceiling aside of that", via: "pat", ceiling: "aside", positions: userPositions },
  { title: `A user, by a token whose scope ${NEEDED}`, via: "session", scope: "needed", positions: insiders(userPositions) },
  { title: "A user, by a token with a scope aside of that", via: "session", scope: "aside", positions: insiders(userPositions) },
  { title: "An agent, by its key", via: "agent_key", positions: agentPositions },
  { title: `An agent, by a key whose ceiling ${NEEDED}`, via: "agent_key", ceiling: "needed", positions: agentPositions },
  { title: "An agent, by a key with a ceiling aside of that", via: "agent_key", ceiling: "aside", positions: agentPositions },
  { title: `An agent, by a token whose scope ${NEEDED}`, via: "agent_key", scope: "needed", positions: insiders(agentPositions) },
  { title: `An agent for a user, by a token whose scope ${NEEDED}`, via: "session", scope: "needed", positions: actingPositions },
  { title: "A browser, by the token that a user made", via: "session", browser: true, positions: insiders(userPositions) },
  { title: "A browser, by the token that an agent made", via: "agent_key", browser: true, positions: insiders(agentPositions) },
  { title: "The service, by a secret key", via: "secret_key", positions: servicePositions },
  { title: `The service, by a secret key whose ceiling ${NEEDED}`, via: "secret_key", ceiling: "needed", positions: servicePositions },
  { title: `The service, by a token whose scope ${NEEDED}`, via: "secret_key", scope: "needed", positions: servicePositions },
];

/** What opens the door of the world's space, for who brings the token. */
export const inSpace = ({ slug }: SpaceWorld, token?: string): Record<string, string> => ({
  "x-me-space": slug,
  ...(token !== undefined && { authorization: `Bearer ${token}` }),
});

/** What a credential is limited to. */
function limitsOf(limit: "needed" | "aside" | undefined, { needed = ANY }: About, world: SpaceWorld): Permission[] | null {
  return limit === undefined ? null : [limit === "aside" ? aside(needed, world) : needed];
}

/** The scope of the token of a session. */
const scopeOf = (session: string): Permission[] =>
  (["read", "write"] as const).map((action) => ({ action, type: "sessions", path: session }));

/** Who somebody who comes is to the rules. */
export function callerAt(position: Position, { via, ceiling, scope, browser }: Means, about: About, world: SpaceWorld): Actor {
  if (browser) {
    const onlySession = about.session ?? world.session;
    const credential = { via: "browser_token", ceiling: null, scope: scopeOf(onlySession), onlySession } as const;
    return actorAt(position, about, world, credential);
  }
  const scopes = limitsOf(scope, about, world);
  return actorAt(position, about, world, {
    via: scopes ? "jwt" : via,
    ceiling: limitsOf(ceiling, about, world),
    ...(scopes && { scope: scopes }),
  });
}

/** Whether the token of a position is dead: it hangs on the membership of those whom it speaks for, which ends with that of an agent's owner. */
export const isDead = ({ left }: Position, { scope, browser }: Means): boolean =>
  (scope !== undefined || browser === true) && left !== undefined;

/** Takes a position and gets a credential. @returns what to send, and who that is to the rules */
export async function come(
  position: Position,
  by: Means,
  about: About,
  world: SpaceWorld,
): Promise<{ headers: Record<string, string>; actor: Actor }> {
  await take(position, about, world);
  const key = by.via === "session" ? world.bob.session : await world.keyOf(position.holder, limitsOf(by.ceiling, about, world));
  const scopes = limitsOf(by.scope, about, world);
  const credential = by.browser
    ? await mintForBrowser(position, key, about, world)
    : scopes
      ? await mint(position, key, scopes.map(formatPermission), about, world)
      : key;
  await leave(position, world);
  return { headers: inSpace(world, credential), actor: callerAt(position, by, about, world) };
}

/** A token that was minted while all could have been asked for: what may be done by it goes by what is granted at the call. */
async function mint({ holder, acting }: Position, key: string, scope: string[], about: About, world: SpaceWorld): Promise<string> {
  const { shared, owners, slug: space, server } = world;
  const holders = [idOf(world, holder), ownerOf(world, holder), ...(acting ? [shared, owners] : [])].filter((id) => id !== undefined);
  const wanted = { space, scope: acting ? ["admin"] : scope, ...(acting && { mayAct: shared }) };
  return world.lend(holders, async () => {
    const { token } = await world.must(key, "token.create", wanted);
    if (!acting) return token;
    const credential = await world.keyOf("shared", limitsOf(acting.ceiling, about, world));
    return (await exchangeToken({ server: server.url, credential }, { subject: token, space, scope })).token;
  });
}

/** The token of a session for a browser, made while whoever makes it could start any. */
async function mintForBrowser({ holder }: Position, key: string, about: About, world: SpaceWorld): Promise<string> {
  const { sql } = world.server;
  const [session] = await sql<{ task: string; externalId: string }[]>`
    select task, external_id from sessions where id = ${about.session ?? world.session}`;
  const holders = [idOf(world, holder), ownerOf(world, holder)].filter((id) => id !== undefined);
  return world.lend(holders, async () => (await world.must(key, "session.create", { ...session }, world.slug)).token);
}
