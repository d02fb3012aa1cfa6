import {
  type accessMethods,
  effective,
  formatPermission,
  type Grant,
  PAGE_BYTES,
  type Permission,
  type PrincipalRef,
} from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { type Actor, keyOf, standingOf } from "../actor.ts";
import { actorOf, answerQuestion, grantorsFor, ownerOfLayer } from "../explain.ts";
import { known, nameFor } from "../known.ts";
import { namedTo } from "../needs.ts";
import { Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import { seesLayer } from "../rules.ts";
import { endExpired } from "./join.ts";
import { one, paged } from "./rows.ts";

interface Which {
  principal?: string | undefined;
  permission?: string;
  after?: string | undefined;
  limit: number;
}

/** Grants of the space, in the order of ids: one more than a page holds. */
async function grantsOf(at: At, { principal, permission, after, limit }: Which): Promise<Grant[]> {
  const grants = await at.sql<Grant[]>`
    select g.id, json_build_object('id', p.id, 'kind', p.kind, 'name', ${nameFor(at)}) as principal, g.permission, g.created_at,
           case when b.id is not null then json_build_object('id', b.id, 'kind', b.kind, 'name', b.name) end as granted_by
    from live_grants g join principals p on p.id = g.principal_id left join principals b on b.id = g.granted_by
    where g.space_id = ${standingOf(at.actor).space.id}
      ${principal === undefined ? at.sql`` : at.sql`and g.principal_id = ${principal}`}
      ${permission === undefined ? at.sql`` : at.sql`and g.permission = ${permission}`}
      ${after === undefined ? at.sql`` : at.sql`and g.id > ${after}`}
    order by g.id limit ${limit + 1}`;
  return grants.map((grant) => ({
    ...grant,
    principal: namedTo(at.actor, grant.principal),
    grantedBy: grant.grantedBy && namedTo(at.actor, grant.grantedBy),
  }));
}

/** Whom an answer is about, as whoever asks may know them. */
const shown = ({ principal: { id, kind, name } }: Actor, caller: Actor): PrincipalRef => namedTo(caller, { id, kind, name });

/** Most permissions that an explanation names as missing, and the longest reason. */
const MAX_NEEDED = 64;
const MAX_REASON_LENGTH = 1000;

export const accessHandlers: Handlers<typeof accessMethods> = {
  async "access.grant"({ principal, permission }, at) {
    const { sql, actor, audit } = at;
    const { space } = standingOf(actor);
    // Users and agents can be prepared before they join.
    await known(at, principal, "u", "a", "g", "s");
    await endExpired(sql, space.id, principal);
    await sql`
      insert into grants (id, space_id, principal_id, permission, granted_by, key_id)
      values (${uuidv7()}, ${space.id}, ${principal}, ${permission}, ${actor.principal.id}, ${keyOf(actor)})
      on conflict (principal_id, space_id, permission) do update set key_id = excluded.key_id, granted_by = excluded.granted_by
        where grants.key_id is not null and (excluded.key_id is null or not key_lives(grants.key_id))`;
    audit.target = `${principal} ${permission}`;
    return one(await grantsOf(at, { principal, permission, limit: 1 }));
  },

  async "access.revoke"({ principal, permission }, { actor, sql, audit }) {
    const { count } = await sql`
      delete from grants where space_id = ${standingOf(actor).space.id} and principal_id = ${principal} and permission = ${permission}`;
    if (count === 0) throw new Refusal("NOT_FOUND", "That was not granted in these words. `me access list` shows what was.");
    audit.target = `${principal} ${permission}`;
    return { principal, permission };
  },

  async "access.list"({ principal, after, limit }, at) {
    const { rows, next } = paged(await grantsOf(at, { principal, after, limit }), limit);
    return { grants: rows, next };
  },

  async "access.effective"({ principal }, at) {
    const actor = await actorOf(principal, at);
    const { layers } = standingOf(actor);
    let bytes = 0;
    let truncated = false;
    // Half of what is left for each list, so that none leaves the others nothing.
    const few = (held: readonly Permission[]) => {
      const end = bytes + (PAGE_BYTES - bytes) / 2;
      const fitting: string[] = [];
      for (const permission of held) {
        const text = formatPermission(permission);
        const size = text.length + 3;
        if (bytes + size > end) {
          truncated = true;
          break;
        }
        bytes += size;
        fitting.push(text);
      }
      return fitting;
    };
    const permissions = few(effective(layers));
    const seen = layers.filter(({ name }) => seesLayer(name, actor, at.actor));
    const each = seen.map((layer) => ({
      layer: layer.name,
      of: ownerOfLayer(layer.name, actor, at.actor),
      permissions: few(effective([layer])),
    }));
    return { principal: shown(actor, at.actor), permissions, layers: each, truncated };
  },

  async "access.check"({ principal, ...question }, at) {
    const actor = await actorOf(principal, at);
    const { allowed } = await answerQuestion(question, { ...at, actor, caller: at.actor });
    return { allowed };
  },

  async "access.explain"({ principal, ...question }, at) {
    const actor = await actorOf(principal, at);
    const answer = await answerQuestion(question, { ...at, actor, caller: at.actor });
    return {
      allowed: answer.allowed,
      principal: shown(actor, at.actor),
      needed: answer.needed.slice(0, MAX_NEEDED).map(formatPermission),
      layers: answer.layers.map(({ by, ...said }) => ({
        ...said,
        of: ownerOfLayer(said.layer, actor, at.actor),
        by: seesLayer(said.layer, actor, at.actor) ? by : null,
      })),
      reason: answer.reason?.slice(0, MAX_REASON_LENGTH) ?? null,
      grantors: await grantorsFor(answer, { ...at, actor }, at.actor),
    };
  },
};
