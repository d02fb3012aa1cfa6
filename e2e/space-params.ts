import { type SpaceApi, spaceApi } from "@gatehouse/protocol";
import { spacePolicy } from "@gatehouse/server";
import { uniqueName } from "./params.ts";
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
  const parts = (spacePolicy[method][1]?.label ?? "").split(/ or |, /).map((part) => part.replace(/ in person$/, ""));
  const relations = parts.filter((part): part is Whom => /^(self|own agent)$/.test(part));
  const intoGroup = "groups" in spaceApi[method].params.shape ? (["into a group"] as const) : [];
  return (["others", ...relations, ...intoGroup] as const).map((whom) => ({
    title: whom === "others" ? method : `${method}, ${whom}`,
    method,
    whom,
  }));
});

/** What a value may depend on: the params before it, and whom the call is about. */
interface Making {
  method: SpaceMethod;
  world: SpaceWorld;
  /** The id of whom the call is to be about; undefined = somebody. */
  whom: string | undefined;
  intoGroup: boolean;
  /** As whom a worker's hold is kept. */
  caller: string;
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
  task: async ({ method, world }) => {
    const task = `${uniqueName()}/task`;
    if (method === "task.get" || method === "task.delete") await world.asAda("task.register", { task });
    return task;
  },
  session: ({ world }) => world.newSession(),
  run: async ({ method, world, caller }) => (await world.newRun(method === "run.get" ? undefined : caller)).run,
  epoch: ({ world, soFar: { run } }) => world.epochOf(run as string),
  turn: () => 1,
  stop: () => true,
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
  // An event is named by its place.
  after: ({ method, world }) => (method === "session.events" ? 0 : method === "task.list" ? "a" : world.newId()),
  since: ({ world }) => world.newId(),
  actor: ({ world }) => world.newId(),
  outcome: ({ method }) => (method === "run.endTurn" ? "complete" : "OK"),
  // A question is about a permission or about a method, never about both.
  method: ({ method }) => (method === "audit.list" ? "space.get" : undefined),
  params: () => undefined,
  description: () => "What it does.",
  idleTimeoutSeconds: () => 5,
  externalId: uniqueName,
  metadata: () => ({ of: "a test" }),
  tags: () => ["test"],
  tag: () => "test",
  status: () => "open",
  message: () => "Hello",
  // What is said is a message or an action, never both.
  action: () => undefined,
  results: () => undefined,
  follows: () => undefined,
  inputId: uniqueName,
  tasks: () => [uniqueName()],
  worker: () => "a test",
  waitSeconds: () => 0,
  batch: () => 1,
  chunks: () => [{ type: "text-delta", id: "1", delta: "Hello" }],
  error: () => undefined,
  reason: () => "handover",
};

/**
 * Valid params for any method of the space RPC, about fresh things of the world's space.
 * @param more.whom the id of whom the call is to be about, if not of somebody new
 * @param more.intoGroup whether it puts somebody into a group
 * @param more.caller the id of who calls, where it is a worker's call; Bob's if left out
 * @throws Error for a param that it has no value for: say here what a valid one looks like
 */
export async function validSpaceParams(
  method: SpaceMethod,
  world: SpaceWorld,
  { whom, intoGroup = false, caller = world.bob.id }: { whom?: string | undefined; intoGroup?: boolean; caller?: string } = {},
): Promise<Record<string, unknown>> {
  const soFar: Record<string, unknown> = {};
  for (const name of Object.keys(spaceApi[method].params.shape)) {
    const make = values[name];
    if (!make) throw new Error(`${method} has a param that no valid value is known for: ${name}`);
    soFar[name] = await make({ method, world, whom, intoGroup, caller, soFar });
  }
  return soFar;
}
