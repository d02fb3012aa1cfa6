import { covered, holds, isMember, layersOf } from "./authority-model.ts";
import type { World } from "./worlds.ts";

/** A call whose row of the policy asks for a permission, and that changes nothing where it is let through. */
export interface Knock {
  method: string;
  params: (id: Record<string, string>, nobody: string) => Record<string, unknown>;
  /** What the caller must hold, `@g0` standing for the id of g0. */
  needs: string;
  /** For what makes authority: a group whose grants the caller must hold as well; "nothing" where there is none. */
  makes?: "g0" | "nothing";
}

/** Some of the rows of the policy, as anybody would read them out of the table: what is asked of whom. */
export const knocks: Knock[] = [
  { method: "principal.list", params: () => ({}), needs: "read:members" },
  { method: "access.list", params: () => ({}), needs: "read:grants" },
  { method: "invite.list", params: () => ({}), needs: "read:members" },
  { method: "audit.list", params: () => ({}), needs: "read:audit" },
  { method: "group.listMembers", params: (id) => ({ group: id.g0 }), needs: "read:groups:@g0" },
  { method: "group.rename", params: (id) => ({ group: id.g1, name: "g1" }), needs: "admin:groups:@g1" },
  { method: "group.removeMember", params: (id, nobody) => ({ group: id.g0, member: nobody }), needs: "admin:groups:@g0" },
  { method: "principal.remove", params: (_id, nobody) => ({ principal: nobody }), needs: "write:members" },
  { method: "principal.remove", params: (id) => ({ principal: id.g0 }), needs: "write:members" },
  { method: "invite.revoke", params: (_id, nobody) => ({ id: nobody }), needs: "write:members" },
  {
    method: "access.revoke",
    params: (_id, nobody) => ({ principal: nobody, permission: "read:docs:a" }),
    needs: "admin:docs:a",
  },
  {
    method: "access.grant",
    params: (_id, nobody) => ({ principal: nobody, permission: "write:docs:a" }),
    needs: "admin:docs:a",
    makes: "nothing",
  },
  { method: "principal.add", params: (_id, nobody) => ({ principal: nobody }), needs: "write:members", makes: "nothing" },
  {
    method: "group.addMember",
    params: (id, nobody) => ({ group: id.g0, member: nobody }),
    needs: "admin:groups:@g0",
    makes: "g0",
  },
];

/** Whether the gate lets a member through who knocks. */
export function letsThrough(world: World, who: string, ceiling: string[] | null, { needs, makes }: Knock): boolean {
  const mayAll = (lasting: boolean, asked: string[]) =>
    asked.every((one) => layersOf(world, who, ceiling, lasting)?.every((layer) => covered(layer, one)) ?? false);
  if (makes === undefined) return mayAll(false, [needs]);
  const given = (lasting: boolean) => (makes === "g0" ? holds(world, "g0", lasting).filter((one) => one !== "read:groups:@g0") : []);
  return isMember(world, who, true) && mayAll(false, [needs, ...given(false)]) && mayAll(true, [needs, ...given(true)]);
}
