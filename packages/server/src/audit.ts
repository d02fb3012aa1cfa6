import { uuidv7 } from "uuidv7";
import type { Actor } from "./actor.ts";
import type { Database, Sql } from "./db.ts";
import type { Refusal } from "./refusal.ts";
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

const columnsOf = ({ actor, method, requestId }: Audited) => ({
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

/** Adds a change to the record: in its own transaction, so that the two happen or do not happen together. */
export async function recordChange(sql: Sql, audited: Audited, { target, spaceId }: AuditNote): Promise<void> {
  const row = {
    ...columnsOf(audited),
    id: uuidv7(),
    space_id: spaceId ?? audited.actor.standing?.space.id ?? null,
    target: target ?? null,
    outcome: "OK",
  };
  await sql`insert into audit ${sql(row)}`;
}

/**
 * Adds a denial to the record, or to the count of its like within the minute: that alone takes no place in the record,
 * so that a storm of denials holds up nobody who changes something. A table that is locked is waited for only briefly.
 */
export async function recordDenial(sql: Database, audited: Audited, refusal: Refusal): Promise<void> {
  const columns = columnsOf(audited);
  const spaceId = refusal.spaceId ?? audited.actor.standing?.space.id ?? null;
  const minute = new Date(Math.floor(Date.now() / 60_000) * 60_000).toISOString();
  await sql.begin(async (tx) => {
    await tx`set local lock_timeout = '1s'`;
    const { count } = await tx`
      update audit_denials set count = count + 1
      where actor_id = ${columns.actor_id} and credential_id = ${columns.credential_id} and method = ${columns.method}
        and minute = ${minute} and space_id is not distinct from ${spaceId}`;
    if (count > 0) return;
    const row = { ...columns, id: uuidv7(), minute, space_id: spaceId, reason: refusal.details.reason ?? null };
    await tx`
      insert into audit_denials ${tx(row)}
      on conflict (actor_id, credential_id, method, space_id, minute) do update set count = audit_denials.count + 1`;
  });
}
