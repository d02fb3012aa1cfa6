import type { PrincipalKind, PrincipalRef } from "@gatehouse/protocol";
import { standingOf } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal } from "./refusal.ts";
import type { Judging } from "./rules.ts";

/**
 * A principal that the params name, as one that the caller may know of: the function knows() has the rule. They are held
 * until the change is done. What the caller does not know is nothing to them, whether it exists or not: it is asked about
 * without looking the id up first, so that the answer takes the same time.
 * @param kinds what it may be; a group or a service is one of the space the call is about, if it is about one
 * @throws Refusal NOT_FOUND
 */
export async function known({ actor, sql }: Judging, id: string, ...kinds: PrincipalKind[]): Promise<PrincipalRef> {
  const space = actor.standing?.space.id ?? null;
  return heldWhile(sql, id, async () => {
    const [found] = await sql<PrincipalRef[]>`
      select id, kind, name from principals
      where id = ${id} and kind = any(${kinds}) and (kind not in ('g', 's') or space_id = coalesce(${space}, space_id))
        and knows(${actor.principal.id}, ${id}, ${space})`;
    if (!found) throw unknown();
    return found;
  });
}

/**
 * Finds somebody who is to be given something, and holds them until that is done. Whoever takes them out of a space waits,
 * and takes it too; where that came first, they are not found any more. Who is not found is not held, whether they exist or not.
 * @param find finds them, or throws
 */
export async function heldWhile<Found>(sql: Sql, id: string, find: () => Promise<Found>): Promise<Found> {
  await find();
  await sql`select hold_named(${id})`;
  return find();
}

/**
 * The name of a row of `principals p` of the caller's space, as the caller may know it. Of whom they do not know, such as
 * somebody who was prepared for by another and never came in, it is the id, which no name looks like: by that they can
 * take back what was prepared. What the limits of their credential leave out of it, `namedTo` has.
 */
export function nameFor({ actor, sql }: Judging) {
  const { id } = standingOf(actor).space;
  // Members are known, as knows() has it: it is asked about all others alone, since it takes longer than the row itself.
  return sql`case when exists (select from live_members lm where lm.space_id = ${id} and lm.principal_id = p.id)
    or knows(${actor.principal.id}, p.id, ${id}) then p.name else p.id::text end`;
}

/** The refusal of whom the caller does not know, whether they exist or not. */
export const unknown = (): Refusal =>
  new Refusal("NOT_FOUND", "There is no such principal that you know. Invite whoever is in no space with you: `me invite create`.");
