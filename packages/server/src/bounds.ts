import { judge, type Permission, parsePermission } from "@gatehouse/protocol";
import { type Actor, isToken, type Standing } from "./actor.ts";
import { unknown } from "./known.ts";
import { admin, agentOfMine, anyOf } from "./needs.ts";
import { type Decision, denied, type Judging, mayReadGrants, type Need, told } from "./rules.ts";
import { readStanding } from "./standing.ts";

/** What a call would give somebody. */
interface Given {
  /** What the params themselves name. */
  named?: readonly Permission[];
  /** What others were granted: refusals name it to those alone who may read grants. */
  granted: readonly Permission[];
  /** Whether that is the caller's own to know. */
  own?: boolean;
}

/** What a call would give, of all there is to give or of what lasts alone. */
type Gives<Input> = (input: Input, at: Judging, lasting: boolean) => Promise<Given>;
type Judge<Input> = (input: Input, at: Judging) => Promise<Decision>;

const bounded = <Input>(
  need: Need<Input>,
  bound: NonNullable<Need<Input>["bound"]>,
  decide: Judge<Input>,
  outlook: Need<Input>["outlook"] = need.outlook,
): Need<Input> => ({
  ...need,
  ...(outlook && { outlook }),
  label: `${need.label}, ${bound.label}`,
  bound,
  decide,
  async check(input, at) {
    const decision = await decide(input, at);
    if (!decision.allowed) throw await denied(decision, at);
  },
});

const decisionOf = async <Input>(need: Need<Input>, input: Input, at: Judging): Promise<Decision> => {
  if (!need.decide) throw new Error("only a need that is a permission can be bounded");
  return need.decide(input, at);
};

/**
 * Bounds the need of a method that makes authority, so that what it makes neither exceeds its maker nor outlives
 * them: the caller may do themselves what they give, and they may do so by what lasts. What a key has given them
 * goes when the key goes, and what they made of it would stay.
 */
export function making<Input>(need: Need<Input>, gives: Gives<Input> = async () => ({ granted: [] })): Need<Input> {
  const outlook = (actor: Actor): Decision =>
    isToken(actor.credential) ? PASSING : (need.outlook?.(actor) ?? { allowed: true, layers: [], needed: [] });
  const decide: Judge<Input> = async (input, at) => {
    if (isToken(at.actor.credential)) return PASSING;
    const decision = await decisionOf(need, input, at);
    if (!decision.allowed) return decision;
    const given = await gives(input, at, false);
    if (!within(at.actor, given)) {
      const over = tellable(at.actor, given);
      return { ...decision, allowed: false, needed: over, why: exceeds(over) };
    }

    const standing = await lastingStanding(at);
    const there = { ...at, actor: { ...at.actor, standing } };
    const lasts =
      standing !== null && (await decisionOf(need, input, there)).allowed && within(there.actor, await gives(input, there, true));
    return lasts ? decision : { ...decision, allowed: false, why: BORROWED };
  };
  return bounded(need, MAKING, decide, outlook);
}

/**
 * Bounds the need of a method that takes somebody away, and all they have there: an admin goes by an admin, whom no key made one;
 * and oneself, and one's own agents, are taken away in person alone.
 */
export function sparingAdmins<Input>(need: Need<Input>, pick: (input: Input) => string): Need<Input> {
  return bounded(need, SPARING, async (input, at) => {
    const decision = await decisionOf(need, input, at);
    if (!decision.allowed) return decision;
    const { id } = at.actor.principal;
    const [target] = await at.sql<{ admin: boolean; own: boolean }[]>`
      select m.admin, ${id} in (p.id, p.owner_id) as own from live_members m join principals p on p.id = m.principal_id
      where m.space_id = ${spaceId(at.actor)} and p.id = ${pick(input)}`;
    const person = at.actor.credential.via === "session";
    if (!person && target?.own) return { allowed: false, layers: [], needed: decision.needed, why: OWN_IN_PERSON };
    if (!target?.admin) return decision;
    if (!person) return { allowed: false, layers: [], needed: [{ action: "admin" }], why: IN_PERSON };
    return decisionOf(LASTING_ADMIN, input, at);
  });
}

const MAKING = {
  label: "making",
  text: "what the call makes does not exceed its maker, nor outlive what made them: the caller may do themselves what they give, and not only by what a key gave them; by a token, nothing",
};
/** Admin by more than what a key made. */
const LASTING_ADMIN: Need<unknown> = making(anyOf(admin()));

const SPARING = {
  label: "sparing admins",
  text: "an admin goes only by an admin, in person, who is one by more than what a key made; oneself, and one's own agents, go in person",
};
const OWN_IN_PERSON: Decision["why"] = {
  reason: "interactive-only",
  text: "nobody takes themselves or their own agents off a roster by a key: what was granted there would be gone. Sign in: me login",
};
const IN_PERSON: Decision["why"] = {
  reason: "interactive-only",
  text: "an admin is removed by a person who is signed in. Sign in: me login",
};

/**
 * What awaits a principal for when they are on the roster. A person lets in whoever was prepared; a key, whom it does not exceed.
 * Whom the caller does not know is nobody to them, whatever awaits them. A call ends with that once all else is judged, and before
 * they could become known; in a question, nothing awaits them.
 */
export const awaiting =
  <Input>(pick: (input: Input) => string): Gives<Input> =>
  async (input, at, lasting) => {
    const { actor, caller, sql } = at;
    if (actor.credential.via === "session") return { granted: [] };
    const id = pick(input);
    const space = spaceId(actor);
    const [row] = await sql<{ held: string[] }[]>`
      select held(${space}, ${id}, false, ${lasting}) as held from principals
      where id = ${id} and kind in ('u', 'a') and knows(${actor.principal.id}, ${id}, ${space})
        ${caller ? sql`and knows(${caller.principal.id}, ${id}, ${space})` : sql``}`;
    if (!row && !caller && lasting) throw unknown();
    const own = id === actor.principal.id || (await agentOfMine(pick).holds?.(input, at));
    return { granted: (row?.held ?? []).map(parsePermission), ...(own && { own }) };
  };

/** What being in groups gives; to put somebody into one is for those who may administer it. */
export const inGroups =
  <Input>(pick: (input: Input) => readonly string[]): Gives<Input> =>
  async (input, { actor, sql }, lasting) => {
    const groups = pick(input);
    const granted = await sql<{ permission: string }[]>`
      select permission from live_grants join principals g on g.id = principal_id and g.kind = 'g'
      where principal_id = any(${[...groups]}::uuid[]) and live_grants.space_id = ${spaceId(actor)} and not (${lasting} and key_id is not null)`;
    return {
      named: groups.map((path) => ({ action: "admin", type: "groups", path })),
      granted: granted.map(({ permission }) => parsePermission(permission)),
    };
  };

const spaceId = ({ standing }: Actor): string | null => standing?.space.id ?? null;

/** Where the caller would stand without what keys have made. */
export const lastingStanding = async ({ actor, sql }: Judging): Promise<Standing | null> =>
  actor.standing ? readStanding(sql, { id: actor.standing.space.id }, actor, { lasting: true }) : null;

/** The permissions that an actor does not have themselves. */
export const exceeding = ({ standing }: Pick<Actor, "standing">, permissions: readonly Permission[]): Permission[] =>
  permissions.filter((permission) => !judge(standing?.layers ?? [], [permission]).allowed);

const within = (actor: Actor, { named = [], granted }: Given): boolean => exceeding(actor, [...named, ...granted]).length === 0;

/** What a refusal may name of what exceeds the caller. */
const tellable = (actor: Actor, { named = [], granted, own = false }: Given): Permission[] =>
  exceeding(actor, own || mayReadGrants(actor) ? [...named, ...granted] : named);

/** What a token would make outlives it: refused before a param is read. */
const PASSING: Decision = {
  allowed: false,
  layers: [],
  needed: [],
  why: { reason: "token", text: "a token makes nothing that could outlive it. Use the key it came from, or sign in: me login" },
};

const BORROWED: Decision["why"] = {
  reason: "borrowed",
  text: "what a key has given you is yours to use, and not to pass on. A person can confirm it: by giving you the same once more",
};

const exceeds = (over: readonly Permission[]): Decision["why"] => ({
  reason: "exceeds",
  text: `you can't give what you may not do yourself: ${told(over).join(", ") || "somebody with read:grants can see what it is"}`,
});
