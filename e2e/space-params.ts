import { randomBytes } from "node:crypto";
import { type SpaceApi, spaceApi } from "@gatehouse/protocol";
import { spacePolicy } from "@gatehouse/server";
import type { SpaceWorld } from "./space-world.ts";

export type SpaceMethod = keyof SpaceApi;
export const spaceMethods = Object.keys(spaceApi) as SpaceMethod[];

/** What a call is about, where the rules tell that apart. */
type Whom = "others" | "self" | "own agent" | "into a group";

/** A method, and what the call is about: once for each relation that its row names, and once more where it can put somebody into groups. */
export interface SpaceRow {
  title: string;
  method: SpaceMethod;
  whom: Whom;
}

export const spaceRows: SpaceRow[] = spaceMethods.flatMap((method) => {
  const relations = (spacePolicy[method][1]?.label ?? "").split(/ or |, /).filter((part): part is Whom => /^(self|own agent)$/.test(part));
  const intoGroup = "groups" in spaceApi[method].params.shape ? (["into a group"] as const) : [];
  return (["others", ...relations, ...intoGroup] as const).map((whom) => ({
    title: whom === "others" ? method : `${method}, ${whom}`,
    method,
    whom,
  }));
});

export const uniqueName = () => `n-${randomBytes(6).toString("hex")}`;

/** What a value may depend on: the params before it, and whom the call is about. */
interface Making {
  method: SpaceMethod;
  world: SpaceWorld;
  /** The id of whom the call is to be about; undefined = somebody. */
  whom: string | undefined;
  intoGroup: boolean;
  soFar: Record<string, unknown>;
}

const values: Record<string, (at: Making) => unknown> = {
  async principal({ method, world, whom }) {
    const id = whom ?? (await (method === "principal.add" ? world.newcomer() : world.newUser()));
    // A service is there from the first.
    if (method !== "principal.add" && id !== world.service) await world.asAda("principal.add", { principal: id });
    return id;
  },
  group: ({ world }) => world.newGroup(),
  async member({ method, world, whom, soFar: { group } }) {
    const member = whom ?? (await (method === "group.addMember" ? world.newcomer() : world.newUser()));
    if (group !== undefined && method !== "group.addMember") await world.asAda("group.addMember", { group, member });
    return member;
  },
  async permission({ method, world, soFar: { principal } }) {
    const permission = "write:docs:handbook";
    if (method === "access.revoke") await world.asAda("access.grant", { principal, permission });
    return permission;
  },
  id: async ({ method, world }) => (method.startsWith("secretKey.") ? await world.newSecret() : await world.asAda("invite.create", {})).id,
  ids: async ({ world }) => [await world.newUser()],
  groups: async ({ world, intoGroup }) => (intoGroup ? [await world.newGroup()] : []),
  name: uniqueName,
  email: () => `${uniqueName()}@example.com`,
  admin: () => true,
  ceiling: () => ["read:tasks"],
  expiresAt: () => new Date(Date.now() + 3_600_000).toISOString(),
  overlapHours: () => 1,
  expiresInHours: () => 1,
  limit: () => 3,
  after: ({ world }) => world.newId(),
  since: ({ world }) => world.newId(),
  actor: ({ world }) => world.newId(),
  outcome: () => "OK",
  // A question is about a permission or about a method, never about both.
  method: ({ method }) => (method === "audit.list" ? "space.get" : undefined),
  params: () => undefined,
};

/**
 * Valid params for any method of the space RPC, about fresh things of the world's space.
 * @param more.whom the id of whom the call is to be about, if not of somebody new
 * @param more.intoGroup whether it puts somebody into a group
 * @throws Error for a param that it has no value for: say here what a valid one looks like
 */
export async function validSpaceParams(
  method: SpaceMethod,
  world: SpaceWorld,
  { whom, intoGroup = false }: { whom?: string | undefined; intoGroup?: boolean } = {},
): Promise<Record<string, unknown>> {
  const soFar: Record<string, unknown> = {};
  for (const name of Object.keys(spaceApi[method].params.shape)) {
    const make = values[name];
    if (!make) throw new Error(`${method} has a param that no valid value is known for: ${name}`);
    soFar[name] = await make({ method, world, whom, intoGroup, soFar });
  }
  return soFar;
}
