import type { Api, DenialReason, InputOf } from "@gatehouse/protocol";
import type { Actor } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal } from "./refusal.ts";

/**
 * Who may call a method at all: decided from the actor alone, before a single param is read.
 * `refuses` names what is wrong with the actor, or nothing.
 */
export interface Who {
  readonly label: string;
  /** In words, for the table. */
  readonly text: string;
  refuses(actor: Actor): { reason: DenialReason; why: string } | undefined;
}

/** What the parsed params must name: decided after the schema, inside the handler's transaction. */
export interface Need<Input> {
  readonly label: string;
  readonly text: string;
  /** @throws Refusal NOT_FOUND for what the actor may not know of, FORBIDDEN for what they know but may not do */
  check(input: Input, at: { actor: Actor; sql: Sql }): Promise<void>;
}

/** One row of the policy. Default deny: what has no row is refused to everyone. */
export type Rule<Input> = readonly [who: Who, needs?: Need<Input>];

/** A policy for `A`: a row for every method, whose need can only name params the method has. */
export type Policy<A extends Api> = { readonly [M in keyof A]: Rule<InputOf<A, M>> };

export const anyone: Who = {
  label: "anyone",
  text: "whoever has a valid credential: a user or an agent, by session or by key, with or without a ceiling",
  refuses: () => undefined,
};

export const users: Who = {
  label: "users",
  text: "a user, by session or by a personal access token without a ceiling",
  refuses({ principal, credential }) {
    if (principal.kind !== "u")
      return { reason: "user-only", why: "it acts on a person's account, and an agent has none. Ask the agent's owner" };
    if (credential.ceiling)
      return {
        reason: "ceiling",
        why: "this key is limited to a ceiling, which opens nothing of the account. Use a key without one, or sign in",
      };
    return undefined;
  },
};

export const interactive: Who = {
  label: "interactive",
  text: "a user, by a signed-in session: never by a key, so that no key makes or outlives another",
  refuses(actor) {
    const refused = users.refuses(actor);
    if (refused) return refused;
    if (actor.credential.via !== "session")
      return { reason: "interactive-only", why: "a key never mints, rotates or revokes keys. Sign in as a person: me login" };
    return undefined;
  },
};

/** The agent named must belong to the caller. */
export const ownAgent = <Input>(pick: (input: Input) => string): Need<Input> => ({
  label: "own agent",
  text: "the agent named belongs to the caller",
  check: (input, at) => mustOwnAgent(pick(input), at),
});

/** The agent named, if any, must belong to the caller; none means the caller. */
export const selfOrOwnAgent = <Input>(pick: (input: Input) => string | undefined): Need<Input> => ({
  label: "self or own agent",
  text: "the agent named belongs to the caller; with none named, the caller",
  async check(input, at) {
    const agent = pick(input);
    if (agent !== undefined) await mustOwnAgent(agent, at);
  },
});

/** The key named must be the caller's, or that of an agent of theirs. */
export const ownKey = <Input>(pick: (input: Input) => string): Need<Input> => ({
  label: "own key",
  text: "the key named is the caller's own, or one of their agents'",
  async check(input, { actor, sql }) {
    const [row] = await sql`
      select from api_keys k join principals p on p.id = k.principal_id
      where k.id = ${pick(input)} and ${actor.principal.id} in (p.id, p.owner_id)`;
    if (!row) throw new Refusal("NOT_FOUND", "You have no such key. `me apikey list` shows those you have.");
  },
});

/** The caller must administer the space named. */
export const spaceAdmin = <Input>(pick: (input: Input) => string): Need<Input> => ({
  label: "space admin",
  text: "the caller administers the space named",
  async check(input, { actor, sql }) {
    const [row] = await sql<{ admin: boolean }[]>`
      select m.admin from members m join spaces s on s.id = m.space_id
      where s.slug = ${pick(input)} and m.principal_id = ${actor.principal.id}`;
    if (!row) throw new Refusal("NOT_FOUND", "You are in no such space. `me space list` shows those you are in.");
    if (!row.admin)
      throw new Refusal("FORBIDDEN", "Only an admin of this space may do this. Ask one of its admins.", {
        reason: "permission",
        missing: "admin",
      });
  },
});

async function mustOwnAgent(id: string, { actor, sql }: { actor: Actor; sql: Sql }): Promise<void> {
  const [row] = await sql`select from principals where id = ${id} and kind = 'a' and owner_id = ${actor.principal.id}`;
  if (!row) throw new Refusal("NOT_FOUND", "You have no such agent. `me agent list` shows those you have.");
}

/**
 * Step "who" of the path of a call: the same answer whatever the params are.
 * @throws Refusal FORBIDDEN
 */
export function admit(rule: Rule<never> | undefined, method: string, actor: Actor): void {
  if (!rule) throw new Refusal("FORBIDDEN", `${method} is open to nobody: the policy has no row for it.`, { reason: "no-rule" });
  const refused = rule[0].refuses(actor);
  if (refused) throw new Refusal("FORBIDDEN", `${method} is refused (${refused.reason}): ${refused.why}.`, { reason: refused.reason });
}
