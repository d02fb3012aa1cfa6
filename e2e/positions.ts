import { formatPermission, type Layer, type Permission, parsePermission } from "@gatehouse/protocol";
import type { Actor } from "../packages/server/src/actor.ts";
import type { SpaceWorld } from "./space-world.ts";

/** Where somebody stands towards a space and a call. "Granted" is: exactly what the row needs, or the same of another path. */
export interface Position {
  holder: "bob" | "bot" | "shared" | "service";
  /** No longer there: they had all of it, and left. */
  left?: "the holder" | "the owner" | "the agent";
  outside?: true;
  admin?: true;
  /** In the group that the call names. */
  group?: "member" | "admin";
  granted?: "needed" | "aside";
  ownerGranted?: true;
  /** Where the shared agent acts for the holder: what it and its owner were granted, and what its key is limited to. */
  acting?: { granted?: true; ownerGranted?: true; ceiling?: "needed" };
}

export const userPositions: Record<string, Position> = {
  stranger: { holder: "bob", outside: true },
  member: { holder: "bob" },
  "group member": { holder: "bob", group: "member" },
  "group admin": { holder: "bob", group: "admin" },
  granted: { holder: "bob", granted: "needed" },
  "granted aside": { holder: "bob", granted: "aside" },
  "space admin": { holder: "bob", admin: true },
  "ex-member": { holder: "bob", granted: "needed", group: "admin", left: "the holder" },
};

export const agentPositions: Record<string, Position> = {
  stranger: { holder: "bot", outside: true },
  "owner a member": { holder: "bot" },
  "granted, owner not": { holder: "bot", granted: "needed" },
  "granted, owner too": { holder: "bot", granted: "needed", ownerGranted: true },
  "granted aside, owner too": { holder: "bot", granted: "aside", ownerGranted: true },
  "granted, owner left": { holder: "bot", granted: "needed", ownerGranted: true, left: "the owner" },
  "ex-member": { holder: "bot", granted: "needed", ownerGranted: true, left: "the holder" },
  "of a group, granted": { holder: "shared", granted: "needed" },
  "of a group, both granted": { holder: "shared", granted: "needed", ownerGranted: true },
};

export const servicePositions: Record<string, Position> = {
  member: { holder: "service" },
  granted: { holder: "service", granted: "needed" },
  "granted aside": { holder: "service", granted: "aside" },
};

const both = { granted: true, ownerGranted: true } as const;
export const actingPositions: Record<string, Position> = {
  "all granted": { holder: "bob", granted: "needed", acting: both },
  "user not": { holder: "bob", acting: both },
  "agent not": { holder: "bob", granted: "needed", acting: { ownerGranted: true } },
  "its owner not": { holder: "bob", granted: "needed", acting: { granted: true } },
  "its key limited": { holder: "bob", granted: "needed", acting: { ...both, ceiling: "needed" } },
  "user left": { holder: "bob", granted: "needed", acting: both, left: "the holder" },
  "agent left": { holder: "bob", granted: "needed", acting: both, left: "the agent" },
};

/** Positions in which somebody can have got a token. */
export const insiders = (positions: Record<string, Position>): Record<string, Position> =>
  Object.fromEntries(Object.entries(positions).filter(([, { outside }]) => !outside));

/** What a call is about, as far as positions go by it. */
export interface About {
  /** What its row needs for these params; undefined where the row asks for no permission. */
  needed: Permission | undefined;
  /** The group it names, or else one. */
  group: string;
  /** The session it names, or whose run it names. */
  session?: string | undefined;
}

/** The same permission one path aside. */
export function aside({ action, type, path }: Permission, world: SpaceWorld): Permission {
  if (type === undefined) return { action, type: "aside" };
  return { action, type, path: type === "groups" && path !== undefined ? world.aside : "aside" };
}

export const idOf = ({ bob, bot, shared, service }: SpaceWorld, holder: Position["holder"]) =>
  ({ bob: bob.id, bot, shared, service })[holder];

/** Who owns an agent. */
export const ownerOf = ({ bob, owners }: SpaceWorld, holder: Position["holder"]) =>
  ({ bob: undefined, bot: bob.id, shared: owners, service: undefined })[holder];

/** What is granted to the holder of a position. */
const grantOf = ({ granted }: Position, { needed }: About, world: SpaceWorld): Permission | undefined =>
  granted && needed && (granted === "aside" ? aside(needed, world) : needed);

/** Brings about a position: all but the leaving. */
export async function take(position: Position, about: About, world: SpaceWorld): Promise<void> {
  const { holder, outside, admin = false, group, ownerGranted, acting } = position;
  const id = idOf(world, holder);
  const needed = about.needed && formatPermission(about.needed);
  const granted = grantOf(position, about, world);
  const grants = [
    { to: id, permission: granted && formatPermission(granted) },
    { to: ownerOf(world, holder), permission: ownerGranted && needed },
    { to: world.shared, permission: acting?.granted && needed },
    { to: world.owners, permission: acting?.ownerGranted && needed },
  ];
  await world.place({
    members: [
      ...(holder !== "bob" ? [{ id: world.bob.id, admin: false }] : []), // as its owner, or as that of an agent that a call may be about
      ...(outside || holder === "service" ? [] : [{ id, admin }]),
      ...(acting ? [{ id: world.shared, admin: false }] : []),
    ],
    inGroups: group ? [{ group: about.group, id, admin: group === "admin" }] : [],
    grants: outside ? [] : grants.filter((grant): grant is { to: string; permission: string } => Boolean(grant.to && grant.permission)),
  });
}

/** Somebody leaves, where a position says so. */
export async function leave({ holder, left }: Position, world: SpaceWorld): Promise<void> {
  if (left === "the owner") {
    await world.must(world.bob.session, "space.leave", {}, world.slug);
    // The agent has left, too: an admin has it back, without its owner.
    await world.asAda("principal.add", { principal: idOf(world, holder) });
  }
  if (left === "the holder") await world.asAda("principal.remove", { principal: idOf(world, holder) });
  if (left === "the agent") await world.asAda("principal.remove", { principal: world.shared });
}

const kinds = { bob: "u", bot: "a", shared: "a", service: "s" } as const;
/** What a service holds from the first. */
const OF_A_SERVICE = ["admin:tasks", "admin:sessions"];

/** Who somebody in a position is to the rules, worked out apart from the server's own reading of its tables. */
export function actorAt(
  position: Position,
  about: About,
  world: SpaceWorld,
  credential: Pick<Actor["credential"], "via" | "ceiling" | "scope" | "onlySession">,
): Actor {
  const { holder, left, outside, admin, group, ownerGranted, acting } = position;
  const granted = grantOf(position, about, world);
  const needed = about.needed ? [formatPermission(about.needed)] : [];
  // Who has left, and is back, holds nothing.
  const held =
    left === "the owner"
      ? []
      : [
          ...(admin ? ["admin"] : []),
          ...(holder === "service" ? OF_A_SERVICE : []),
          ...(granted ? [formatPermission(granted)] : []),
          ...(group ? [`${group === "admin" ? "admin" : "read"}:groups:${about.group}`] : []),
        ];
  const ownerPresent = left !== "the owner";
  const ofOwners = `read:groups:${world.owners}`;
  const ownerHeld = [...(ownerGranted ? needed : []), ...(holder === "shared" ? [ofOwners] : [])];
  const layers: [Layer["name"], string[]][] = [["grants", held]];
  if (kinds[holder] === "a") layers.push(["owner", ownerPresent ? ownerHeld : []]);
  if (credential.ceiling) layers.push(["ceiling", credential.ceiling.map(formatPermission)]);
  if (acting) layers.push(["actor", acting.granted ? needed : []], ["actor-owner", [...(acting.ownerGranted ? needed : []), ofOwners]]);
  if (acting?.ceiling) layers.push(["actor-ceiling", [formatPermission(about.needed ?? ANY)]]);
  if (credential.scope) layers.push(["token", credential.scope.map(formatPermission)]);
  // That of the token which the user made for the agent stays a layer of its own.
  if (credential.scope && acting) layers.push(["token", ["admin"]]);
  return {
    principal: { id: idOf(world, holder), kind: kinds[holder], name: "", email: null },
    owner: null,
    credential: { id: "", expiresAt: null, ...credential },
    ...(acting && { act: { principal: { id: world.shared, name: "" }, owner: null, ceiling: null } }),
    standing:
      outside || left === "the holder"
        ? null
        : {
            space: world.space,
            admin: admin ?? false,
            ownerPresent,
            layers: layers.map(([name, texts]) => ({ name, permissions: texts.toSorted().map(parsePermission) })),
          },
  };
}

/** Limits where the row asks for no permission: it is open whatever they are. */
export const ANY: Permission = { action: "read" };
