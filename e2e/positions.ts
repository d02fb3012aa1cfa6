import { formatPermission, type Layer, type Permission, parsePermission } from "@gatehouse/protocol";
import type { Actor } from "../packages/server/src/actor.ts";
import type { SpaceWorld } from "./space-world.ts";

/** Where somebody stands towards a space and a call. "Granted" is: exactly what the row needs, or the same of another path. */
export interface Position {
  holder: "bob" | "bot" | "shared";
  /** No longer there: they had all of it, and left. */
  left?: "the holder" | "the owner";
  outside?: true;
  admin?: true;
  /** In the group that the call names. */
  group?: "member" | "admin";
  granted?: "needed" | "aside";
  ownerGranted?: true;
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

/** What a call is about, as far as positions go by it. */
export interface About {
  /** What its row needs for these params; undefined where the row asks for no permission. */
  needed: Permission | undefined;
  /** The group it names, or else one. */
  group: string;
}

/** The same permission one path aside. */
export function aside({ action, type, path }: Permission, world: SpaceWorld): Permission {
  if (type === undefined) return { action, type: "aside" };
  return { action, type, path: type === "groups" && path !== undefined ? world.aside : "aside" };
}

const idOf = ({ bob, bot, shared }: SpaceWorld, holder: Position["holder"]) => ({ bob: bob.id, bot, shared })[holder];

/** What is granted to the holder of a position. */
const grantOf = ({ granted }: Position, { needed }: About, world: SpaceWorld): Permission | undefined =>
  granted && needed && (granted === "aside" ? aside(needed, world) : needed);

/** Brings about a position, by what admins do and people do. */
export async function take(position: Position, about: About, world: SpaceWorld): Promise<void> {
  const { holder, left, outside, admin, group, ownerGranted } = position;
  const { asAda, bob } = world;
  const id = idOf(world, holder);
  const owner = { bob: undefined, bot: bob.id, shared: world.owners }[holder];
  const granted = grantOf(position, about, world);
  await world.clear();
  // Bob is there with an agent: as its owner, or as that of another agent that a call may be about.
  if (holder !== "bob") await asAda("principal.add", { principal: bob.id });
  if (outside) return;
  await asAda("principal.add", { principal: id });
  if (admin) await asAda("principal.setAdmin", { principal: id, admin });
  if (group) await asAda("group.addMember", { group: about.group, member: id });
  if (group === "admin") await asAda("group.setMemberAdmin", { group: about.group, member: id, admin: true });
  if (granted) await asAda("access.grant", { principal: id, permission: formatPermission(granted) });
  if (ownerGranted && about.needed) await asAda("access.grant", { principal: owner, permission: formatPermission(about.needed) });
  if (left === "the owner") await world.must(bob.session, "space.leave", {}, world.slug);
  if (left === "the holder") await asAda("principal.remove", { principal: id });
}

/** Who somebody in a position is to the rules, worked out apart from the server's own reading of its tables. */
export function actorAt(
  position: Position,
  about: About,
  world: SpaceWorld,
  credential: Pick<Actor["credential"], "via" | "ceiling">,
): Actor {
  const { holder, left, outside, admin, group, ownerGranted } = position;
  const granted = grantOf(position, about, world);
  const held = [
    ...(admin ? ["admin"] : []),
    ...(granted ? [formatPermission(granted)] : []),
    ...(group ? [`${group === "admin" ? "admin" : "read"}:groups:${about.group}`] : []),
  ];
  const ownerPresent = left !== "the owner";
  const ownerHeld = [
    ...(ownerGranted && about.needed ? [formatPermission(about.needed)] : []),
    ...(holder === "shared" ? [`read:groups:${world.owners}`] : []),
  ];
  const layers: Layer[] = [{ name: "grants", permissions: held.map(parsePermission) }];
  if (holder !== "bob") layers.push({ name: "owner", permissions: ownerPresent ? ownerHeld.map(parsePermission) : [] });
  if (credential.ceiling) layers.push({ name: "ceiling", permissions: credential.ceiling });
  return {
    principal: { id: idOf(world, holder), kind: holder === "bob" ? "u" : "a", name: "", email: null },
    owner: null,
    credential: { id: "", expiresAt: null, ...credential },
    standing: outside || left === "the holder" ? null : { space: world.space, admin: admin ?? false, ownerPresent, layers },
  };
}
