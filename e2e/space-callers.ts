import { formatPermission } from "@gatehouse/protocol";
import type { Actor } from "../packages/server/src/actor.ts";
import { type About, actorAt, agentPositions, aside, type Position, take, userPositions } from "./positions.ts";
import type { SpaceWorld } from "./space-world.ts";

/** A kind of credential, and where whoever brings it may stand. */
export interface Means {
  title: string;
  via: Actor["credential"]["via"];
  /** What the key is limited to: just what the row needs, or the same of another path. */
  ceiling?: "needed" | "aside";
  positions: Record<string, Position>;
}

/** Every kind of credential that proves who is calling. */
export const means: Means[] = [
  { title: "A user, signed in", via: "session", positions: userPositions },
  { title: "A user, by a personal access token", via: "pat", positions: userPositions },
  { title: "A user, by a token whose ceiling is just what the row needs", via: "pat", ceiling: "needed", positions: userPositions },
  { title: "A user, by a token with a ceiling aside of that", via: "pat", ceiling: "aside", positions: userPositions },
  { title: "An agent, by its key", via: "agent_key", positions: agentPositions },
  { title: "An agent, by a key whose ceiling is just what the row needs", via: "agent_key", ceiling: "needed", positions: agentPositions },
  { title: "An agent, by a key with a ceiling aside of that", via: "agent_key", ceiling: "aside", positions: agentPositions },
];

/** What opens the door of the world's space, for who brings the token. */
export const inSpace = ({ slug }: SpaceWorld, token?: string): Record<string, string> => ({
  "x-me-space": slug,
  ...(token !== undefined && { authorization: `Bearer ${token}` }),
});

/** Takes a position and gets a credential. @returns what to send, and who that is to the rules */
export async function come(
  position: Position,
  { via, ceiling }: Pick<Means, "via" | "ceiling">,
  about: About,
  world: SpaceWorld,
): Promise<{ headers: Record<string, string>; actor: Actor }> {
  await take(position, about, world);
  // A row that asks for no permission is open whatever the ceiling: any will do.
  const right = about.needed ?? { action: "read" as const };
  const limits = ceiling && [ceiling === "aside" ? aside(right, world) : right];
  const token =
    via === "session" ? world.bob.session : await world.newKey(position.holder, limits ? { ceiling: limits.map(formatPermission) } : {});
  return { headers: inSpace(world, token), actor: actorAt(position, about, world, { via, ceiling: limits ?? null }) };
}
