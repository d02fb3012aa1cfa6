import type { AuditEntry, auditMethods } from "@gatehouse/protocol";
import { standingOf } from "../actor.ts";
import type { Denials } from "../denials.ts";
import { countRows } from "../meter.ts";
import type { Handlers } from "../rpc.ts";
import { MOST_ROWS_READ, paged } from "./rows.ts";

export const auditHandlers = (denials: Denials): Handlers<typeof auditMethods> => ({
  async "audit.list"({ actor: actorId, method, outcome, since, after, limit }, { actor, sql }) {
    await denials.written(); // on this server, one reads what was refused before
    const { space } = standingOf(actor);
    // Newest first, by place: an id is made before its entry is committed, and may come late.
    const placeOf = (id: string) => sql`(
      select place from audit where id = ${id} and space_id = ${space.id}
      union all select place from audit_denials where id = ${id} and space_id = ${space.id})`;
    const record = sql`
      select *, row_number() over (order by place desc) as nth from (
        select id, place, space_id, at, actor_id, actor_kind, actor_name, via, credential_id, owner_id, acting_id, method, target, outcome,
               null as reason, 1 as count, request_id, trace_id from audit
        union all
        select id, place, space_id, minute, actor_id, actor_kind, actor_name, via, credential_id, owner_id, acting_id, method, null, 'FORBIDDEN',
               reason, count, request_id, trace_id from audit_denials
      ) as record
      where space_id = ${space.id}
        ${since === undefined ? sql`` : sql`and place > coalesce(${placeOf(since)}, 0)`}
        ${after === undefined ? sql`` : sql`and place < ${placeOf(after)}`}
      order by place desc limit ${MOST_ROWS_READ}`;
    const wanted = sql`(true
      ${actorId === undefined ? sql`` : sql`and actor_id = ${actorId}`}
      ${method === undefined ? sql`` : sql`and method = ${method}`}
      ${outcome === undefined ? sql`` : sql`and outcome = ${outcome}`})`;
    const found = await sql<(AuditEntry & { wanted: boolean; last: boolean })[]>`
      select id, at, json_build_object('id', actor_id, 'kind', actor_kind, 'name', actor_name) as actor,
             via, credential_id, owner_id as on_behalf_of, acting_id as act, method, target, outcome, reason, count, request_id, trace_id,
             ${wanted} as wanted, nth = ${MOST_ROWS_READ} as last
      from (${record}) as looked_through where ${wanted} or nth = ${MOST_ROWS_READ}
      order by place desc limit ${limit + 1}`;
    const end = found.at(-1);
    if (end?.last) countRows(MOST_ROWS_READ);
    else if (found.length <= limit && [actorId, method, outcome].some((asked) => asked !== undefined)) {
      const [read] = await sql<{ rows: number }[]>`select count(*)::integer as rows from (${record}) as looked_through`;
      countRows(read?.rows ?? 0);
    }
    const entries = found.filter((one) => one.wanted).map(({ wanted: _, last: __, ...entry }) => entry);
    const { rows, next } = paged(entries, limit);
    return { entries: rows, next: next ?? (end?.last ? end.id : null) };
  },
});
