import type { World } from "./worlds.ts";

// What anybody may do in a world, worked out in the slowest and plainest way, from the world alone. It shares no code
// with the server: when the two disagree, one of them has misread the rules.

/** Whether a row counts; of those that count, only what no key has made, where that is asked. */
const counts = (tie: string, lasting: boolean) => tie === "person" || (tie === "key" && !lasting);

export const isMember = (world: World, who: string, lasting: boolean) =>
  world.members.some((member) => member.who === who && counts(member.tie, lasting));

const granted = (world: World, to: string, lasting: boolean) =>
  world.grants.filter((grant) => grant.to === to && counts(grant.tie, lasting)).map(({ permission }) => permission);

/** What a principal holds by itself. */
export function holds(world: World, who: string, lasting = false): string[] {
  // A group is of its space from the first; everybody else holds nothing before they are members.
  if (who.startsWith("g")) return [...granted(world, who, lasting), `read:groups:@${who}`];
  if (!isMember(world, who, lasting)) return [];
  const held = granted(world, who, lasting);
  if (world.members.some((member) => member.who === who && member.admin)) held.push("admin");
  for (const { group, who: inside, admin, tie } of world.inGroups)
    if (inside === who && counts(tie, lasting))
      held.push(...granted(world, group, lasting), `${admin ? "admin" : "read"}:groups:@${group}`);
  return held;
}

/** Whether somebody is in the space, and if so what each layer of theirs holds. */
export function layersOf(world: World, who: string, ceiling: string[] | null, lasting = false): string[][] | null {
  if (!isMember(world, who, lasting)) return null;
  const layers = [holds(world, who, lasting)];
  if (who.startsWith("a")) layers.push(holds(world, world.owners[who] as string, lasting));
  if (ceiling) layers.push(ceiling);
  return layers;
}

/** Whether an agent's owner is there; without them it gets no further than the door. */
export const ownerIsThere = (world: World, who: string): boolean => {
  const owner = who.startsWith("a") ? (world.owners[who] as string) : who;
  return owner.startsWith("g") || isMember(world, owner, false);
};

const RANKS = ["read", "write", "admin"];

/** Whether one permission is enough where another is asked for: part by part. */
function suffices(held: string, asked: string): boolean {
  const [heldAction, heldType, heldPath] = held.split(":");
  const [askedAction, askedType, askedPath] = asked.split(":");
  if (RANKS.indexOf(heldAction as string) < RANKS.indexOf(askedAction as string)) return false;
  if (heldType === undefined) return true;
  if (heldType !== askedType) return false;
  if (heldPath === undefined) return true;
  if (askedPath === undefined) return false;
  const steps = askedPath.split("/");
  return heldPath.split("/").every((step, i) => step === steps[i]);
}

export const covered = (held: string[], asked: string): boolean => held.some((one) => suffices(one, asked));

/** Whether somebody may: every layer must say so. */
export const may = (world: World, who: string, ceiling: string[] | null, asked: string): boolean =>
  layersOf(world, who, ceiling)?.every((layer) => covered(layer, asked)) ?? false;

/** The world once somebody has left the space, and their agents with them. */
export function without(world: World, leaver: string): World {
  const stays = (who: string) => who !== leaver && world.owners[who] !== leaver;
  return {
    ...world,
    members: world.members.filter(({ who }) => stays(who)),
    inGroups: world.inGroups.filter(({ who }) => stays(who)),
    grants: world.grants.filter(({ to }) => stays(to)),
  };
}
