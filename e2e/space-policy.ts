import { formatPermission, judge, type Layer, type Permission, parsePermission } from "@gatehouse/protocol";
import { spacePolicy } from "@gatehouse/server";
import type { Actor } from "../packages/server/src/actor.ts";
import type { Decision, Rule } from "../packages/server/src/rules.ts";
import { type Cell, OK, refused } from "./grid.ts";
import type { TestServer } from "./harness.ts";
import type { SpaceMethod } from "./space-params.ts";
import type { SpaceWorld } from "./space-world.ts";

const ruleOf = (method: SpaceMethod) => spacePolicy[method] as unknown as Rule<unknown>;

/** What a row of the space's policy says to an actor: the cell, and what an explanation of it has to say. */
export interface Predicted {
  cell: Cell;
  explained: { allowed: boolean; needed: string[]; layers: { layer: string; allows: boolean; by: string | null }[]; reason: unknown };
}

/** The policy's answer before the params are read; undefined where it depends on them. @param caller as for `predict` */
export function predictBefore(method: SpaceMethod, actor: Actor, caller = actor): Predicted | undefined {
  const [who, need] = ruleOf(method);
  const no = (cell: Cell, reason: string): Predicted => ({ cell, explained: { allowed: false, needed: [], layers: [], reason } });
  if (actor.standing === null) return no(refused(200, "NOT_FOUND", "stranger"), "");
  const denial = who.refuses(actor);
  if (denial) return no(refused(200, "FORBIDDEN", denial.reason), `${denial.reason}: ${denial.why}`);
  const outlook = need?.outlook?.(actor);
  return outlook?.allowed === false ? fromDecision(outlook, actor, caller) : undefined;
}

/** The policy's answer to a call with valid params. @param caller who asks what the actor may do; left out, the actor */
export async function predict(method: SpaceMethod, params: object, actor: Actor, { sql }: TestServer, caller = actor): Promise<Predicted> {
  const before = predictBefore(method, actor, caller);
  if (before) return before;
  const [, need] = ruleOf(method);
  return fromDecision((await need?.decide?.(params, { actor, caller, sql })) ?? { allowed: true, layers: [], needed: [] }, actor, caller);
}

function fromDecision({ allowed, layers: all, needed: any, why }: Decision, actor: Actor, caller: Actor): Predicted {
  const { credential } = actor;
  const needed = any.map(formatPermission);
  const layers = toldOf(all, caller);
  if (allowed) return { cell: OK, explained: { allowed, layers, needed, reason: null } };
  // A browser is not told which layer lacks what: that tells of who made its token.
  if (credential.via === "browser_token")
    return { cell: refused(200, "FORBIDDEN", "browser"), explained: { allowed, layers, needed, reason: "" } };
  const lacking = (some: Decision["layers"]) => some.find((said) => !said.allows)?.layer ?? "grants";
  const layer = lacking(toldOf(all, actor));
  return why
    ? { cell: refused(200, "FORBIDDEN", why.reason), explained: { allowed, layers, needed, reason: `${why.reason}: ${why.text}` } }
    : {
        cell: refused(200, "FORBIDDEN", "permission", layer),
        explained: { allowed, layers, needed, reason: `${lacking(layers)} lacks it` },
      };
}

const isLimit = (name: string) => ["ceiling", "actor-ceiling", "token"].includes(name);

/** The layers of a decision that a caller is told: where the limits of their credential refuse already, and leave read:grants out, those alone. */
function toldOf(layers: Decision["layers"], { standing }: Actor): Decision["layers"] {
  const limits = (standing?.layers ?? []).filter(({ name }) => isLimit(name));
  const open = limits.length === 0 || judge(limits, [{ action: "read", type: "grants" }]).allowed;
  const refusing = layers.some(({ layer, allows }) => isLimit(layer) && !allows);
  return open || !refusing ? layers : layers.filter(({ layer }) => isLimit(layer));
}

/** Which of their layers a caller is told the permissions of. */
export function seenBy({ standing }: Actor): (layer: Pick<Layer, "name">) => boolean {
  const held = standing?.layers ?? [];
  const limits = held.filter(({ name }) => isLimit(name));
  const reads = (layers: readonly Layer[]) => judge(layers, [{ action: "read", type: "grants" }]).allowed;
  return (layer) =>
    reads(held) || isLimit(layer.name) || (!["owner", "actor-owner"].includes(layer.name) && (limits.length === 0 || reads(limits)));
}

/** Somebody in the space who holds nothing. */
const nobodyIn = ({ space }: SpaceWorld): Actor => ({
  principal: { id: "", kind: "a", name: "", email: null },
  owner: null,
  credential: { via: "agent_key", id: "", expiresAt: null, ceiling: [parsePermission("read")] },
  standing: { space, admin: false, ownerPresent: true, layers: [] },
});

/** Ada, who may do everything in the space, and so is told everything. */
export const adminIn = (world: SpaceWorld): Actor => ({
  principal: { id: world.ada.id, kind: "u", name: "", email: null },
  owner: null,
  credential: { via: "session", id: "", expiresAt: null, ceiling: null },
  standing: { space: world.space, admin: true, ownerPresent: true, layers: [{ name: "grants", permissions: [{ action: "admin" }] }] },
});

/** The first permission that would meet a row's need, its path from the params; undefined where it asks for none. */
export async function neededFor(method: SpaceMethod, params: object, world: SpaceWorld): Promise<Permission | undefined> {
  return (await ruleOf(method)[1]?.decide?.(params, { actor: nobodyIn(world), caller: adminIn(world), sql: world.server.sql }))?.needed[0];
}
