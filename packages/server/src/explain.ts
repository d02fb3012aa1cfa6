import { judge, type Permission, parsePermission, type SpaceApi, spaceApi } from "@gatehouse/protocol";
import { type Actor, standingOf } from "./actor.ts";
import { namedTo } from "./needs.ts";
import { parseParams } from "./params.ts";
import { spacePolicy } from "./policy.ts";
import { Refusal } from "./refusal.ts";
import { type Decision, grantorsOf, type Judging, type Rule, withinSight } from "./rules.ts";
import { readStanding } from "./standing.ts";

/** A question of access: for a permission, or for a method of the space RPC with params. */
export interface Question {
  permission?: string | undefined;
  method?: string | undefined;
  params?: Record<string, unknown> | undefined;
}

/** What came of a question, by the very rules and layers that the path of a call goes by. */
export interface Answer extends Decision {
  /** Why not; null when allowed. */
  reason: string | null;
}

/**
 * The actor that a question is about: the caller as they are, ceiling included, or a member as they would be
 * by a credential without limits.
 * @throws Refusal NOT_FOUND for who is not in the space
 */
export async function actorOf(principal: string | undefined, { actor, sql }: Judging): Promise<Actor> {
  if (principal === undefined || principal === actor.principal.id) return actor;
  const [row] = await sql<{ id: string; kind: Actor["principal"]["kind"]; name: string; email: string | null; owner: Actor["owner"] }[]>`
    select p.id, p.kind, p.name, u.email,
           case when o.id is not null then json_build_object('id', o.id, 'kind', o.kind, 'name', o.name) end as owner
    from live_members m join principals p on p.id = m.principal_id
    left join auth."user" u on u.id = p.id left join principals o on o.id = p.owner_id
    where m.space_id = ${standingOf(actor).space.id} and p.id = ${principal}`;
  const unlimited: Actor | undefined = row && {
    principal: row,
    owner: row.owner,
    credential: { via: unlimitedBy[row.kind], id: "", expiresAt: null, ceiling: null },
  };
  const standing = unlimited && (await readStanding(sql, { id: standingOf(actor).space.id }, unlimited));
  if (!standing) throw new Refusal("NOT_FOUND", "There is no such member. `me space members` shows those there are.");
  return { ...unlimited, standing };
}

/** The credential by which a kind of principal calls without limits. */
const unlimitedBy = { u: "session", a: "agent_key", s: "secret_key" } as const;

/** Answers a question about an actor. @throws Refusal METHOD_NOT_FOUND, INVALID_PARAMS */
export async function answerQuestion({ permission, method, params }: Question, at: Judging): Promise<Answer> {
  if (method !== undefined) return aboutMethod(method, params, at);
  const needed: Permission[] = [parsePermission(permission as string)];
  const { allowed, layers } = judge(standingOf(at.actor).layers, needed);
  return withReason({ allowed, layers, needed }, at);
}

async function aboutMethod(name: string, params: unknown, at: Judging): Promise<Answer> {
  const contract = Object.hasOwn(spaceApi, name) ? spaceApi[name as keyof SpaceApi] : undefined;
  if (!contract)
    throw new Refusal(
      "METHOD_NOT_FOUND",
      `The space RPC has no such method. Ask about one of its own: ${Object.keys(spaceApi).join(", ")}.`,
    );
  const [who, need] = spacePolicy[name as keyof SpaceApi] as unknown as Rule<unknown>;
  const refused = who.refuses(at.actor);
  if (refused) return { allowed: false, layers: [], needed: [], reason: `${refused.reason}: ${refused.why}` };
  const outlook = need?.outlook?.(at.actor);
  if (outlook && !outlook.allowed) return withReason(outlook, at);
  const input = parseParams(contract, params, []);
  return withReason(need?.decide ? await need.decide(input, at) : { allowed: true, layers: [], needed: [] }, at);
}

/** An answer as far as whoever asks may know it. */
function withReason(decision: Decision, { actor, caller = actor }: Judging): Answer {
  const { allowed, why } = decision;
  const layers = withinSight(decision.layers, caller);
  const lacking = layers.find(({ allows }) => !allows)?.layer ?? "grants";
  return { ...decision, layers, reason: allowed ? null : why ? `${why.reason}: ${why.text}` : `${lacking} lacks it` };
}

/** Whose a layer is, by name, as whoever asks may know it. */
export const ownerOfLayer = (layer: Decision["layers"][number]["layer"], { principal, owner, act }: Actor, caller: Actor): string =>
  ({
    grants: namedTo(caller, principal).name,
    owner: owner ? namedTo(caller, owner).name : "",
    ceiling: "this key",
    actor: act?.principal.name ?? "",
    "actor-owner": act?.owner?.name ?? "",
    "actor-ceiling": "the agent's key",
    token: "this token",
  })[layer];

/** Who could give what an answer found missing, as far as the caller may know. */
export async function grantorsFor(answer: Answer, at: Judging, caller: Actor): Promise<string[]> {
  const lacking = answer.layers.find(({ allows }) => !allows);
  return answer.allowed || !lacking ? [] : grantorsOf(lacking.layer, at, caller);
}
