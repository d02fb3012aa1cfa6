import { uuidv7 } from "uuidv7";
import type { Actor } from "./actor.ts";
import type { Sql } from "./db.ts";
import { currentTraceId } from "./telemetry.ts";

/** What a handler tells of its change, besides what is known of every call. */
export interface AuditNote {
  /** What was changed, by id or slug, and how: never a secret. */
  target?: string;
  /** Where, if not in the space the call is about. */
  spaceId?: string;
  /** Nothing was changed, so that there is nothing to record. */
  unchanged?: true;
}

/** A call, as the record tells it. */
export interface Audited {
  actor: Actor;
  method: string;
  requestId: string;
}

/** Who called what, as both records hold it. */
export const columnsOf = ({ actor, method, requestId }: Audited) => ({
  actor_id: actor.principal.id,
  actor_kind: actor.principal.kind,
  actor_name: actor.principal.name,
  credential_id: actor.credential.id,
  via: actor.credential.via,
  owner_id: actor.owner?.id ?? null,
  acting_id: actor.act?.principal.id ?? null,
  method,
  request_id: requestId,
  trace_id: currentTraceId() ?? null,
});

/** Adds many changes of one kind to the record, each of a target of its own. */
export async function recordChanges(sql: Sql, audited: Audited, targets: readonly string[]): Promise<void> {
  const { actor_id, actor_kind, actor_name, credential_id, via, owner_id, acting_id, method, request_id, trace_id } = columnsOf(audited);
  await sql`
    insert into audit (id, actor_id, actor_kind, actor_name, credential_id, via, owner_id, acting_id, method, request_id, trace_id, target, outcome)
    select new_id(), ${actor_id}, ${actor_kind}, ${actor_name}, ${credential_id}, ${via}, ${owner_id}, ${acting_id}, ${method}, ${request_id},
           ${trace_id}, one, 'OK' from unnest(${[...targets]}::text[]) one`;
}

/**
 * Adds a change to the record: in its own transaction, so that the two happen or do not happen together.
 * @returns the tags of all that has ended by it
 */
export async function recordChange(sql: Sql, audited: Audited, { target, spaceId }: AuditNote): Promise<string> {
  const row = {
    ...columnsOf(audited),
    id: uuidv7(),
    space_id: spaceId ?? audited.actor.standing?.space.id ?? null,
    target: target ?? null,
    outcome: "OK",
  };
  const [told] = await sql<
    { tags: string | null }[]
  >`insert into audit ${sql(row)} returning current_setting('gatehouse.told', true) as tags`;
  return told?.tags ?? "";
}
