import { parsePermission } from "@gatehouse/protocol";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { unauthenticated } from "../refusal.ts";
import type { TrustedIssuers } from "./issuers.ts";
import { type Jwt, readIssuer, TokenError } from "./jwt.ts";

/** A token that lives: whom it speaks for. */
export interface TokenRead {
  actor: Actor;
  /** The agent that it was made for: with that agent's own credential alone it is good, at the exchange. */
  mayAct?: string | undefined;
}

/**
 * Reads a JWT of this server, or of an issuer it trusts.
 * @param sql the pool, or the transaction that is open: it must not need a second connection
 * @throws Refusal UNAUTHENTICATED, whatever is wrong with it
 */
export type ReadToken = (sql: Sql, token: string) => Promise<TokenRead>;

export const createReadToken =
  ({ jwt, issuers }: { jwt: Jwt; issuers: TrustedIssuers }): ReadToken =>
  async (sql, token) => {
    try {
      const issuer = readIssuer(token);
      if (issuer !== jwt.issuer) return { actor: await issuers.read(sql, token, issuer) };
      const { jti, sub } = await jwt.verify(sql, token);
      const read = await readRow(sql, jti, sub);
      const { rule } = read.actor.credential;
      if (rule !== undefined && !issuers.stands(rule)) throw new TokenError("the rule is gone by which it came in");
      return read;
    } catch (error) {
      if (error instanceof TokenError) throw unauthenticated(`token: ${error.message}`);
      throw error;
    }
  };

interface TokenRow {
  id: string;
  principal: Actor["principal"];
  owner: Actor["owner"];
  account: string | null;
  ceiling: string[] | null;
  scope: string[];
  under: string[][];
  space: string;
  expiresAt: string;
  keyId: string | null;
  keyHash: Uint8Array | null;
  sessionId: string | null;
  loginId: string | null;
  mayActId: string | null;
  act: { id: string; name: string } | null;
  actOwner: Actor["owner"];
  actCeiling: string[] | null;
  actorKeyId: string | null;
  actorKeyHash: Uint8Array | null;
  rule: string | null;
  onlySessionId: string | null;
  /** The memberships that it hangs on, the keys that made them, and the session that it is for. */
  ties: (string | null)[];
  /** Principals whose keys made those memberships. */
  lenders: string[];
}

/** The row of a token that lives: `live_tokens` asks for all that it hangs on. */
async function readRow(sql: Sql, id: string, sub: string): Promise<TokenRead> {
  const ref = (p: string) =>
    sql`case when ${sql(p)}.id is not null then json_build_object('id', ${sql(p)}.id, 'kind', ${sql(p)}.kind, 'name', ${sql(p)}.name) end`;
  const [row] = await sql<TokenRow[]>`
    select t.id, t.scope, t.under, ends_at(t) as expires_at, t.key_id, t.key_hash, t.session_id, t.login_id, t.may_act_id, t.actor_key_id, t.actor_key_hash, t.rule, t.only_session_id,
           array(select unnest(array[t.membership, t.actor_membership, t.may_act_membership, t.only_session_id])
             union select key_id from members where membership in (t.membership, t.actor_membership, t.may_act_membership)) as ties,
           array(select lender.principal_id from members m join api_keys lender on lender.id = m.key_id
             where m.membership in (t.membership, t.actor_membership, t.may_act_membership)) as lenders, s.slug as space,
           json_build_object('id', p.id, 'kind', p.kind, 'name', p.name, 'email', u.email) as principal, ${ref("o")} as owner, account_of(p.id) as account, k.ceiling,
           ${ref("a")} as act, ${ref("ao")} as act_owner, ak.ceiling as act_ceiling
    from live_tokens t
    join principals p on p.id = t.principal_id
    join spaces s on s.id = t.space_id
    left join auth."user" u on u.id = p.id
    left join principals o on o.id = p.owner_id
    left join api_keys k on k.id = t.key_id
    left join principals a on a.id = t.actor_id
    left join principals ao on ao.id = a.owner_id
    left join api_keys ak on ak.id = t.actor_key_id
    where t.id = ${id} and coalesce(t.only_session_id, t.principal_id) = ${sub}`;
  if (!row) throw new TokenError("revoked, or what it came from is");
  const { principal, owner, account, space, expiresAt, keyId, keyHash, sessionId, loginId, actorKeyId, actorKeyHash } = row;
  const ceiling = row.ceiling?.map(parsePermission) ?? null;
  const under = row.under.map((scope) => scope.map(parsePermission));
  const source = {
    token: { id, ties: row.ties.filter((tie) => tie !== null), lenders: row.lenders },
    ...(keyId && keyHash && { key: { id: keyId, hash: keyHash } }),
    ...(sessionId && { session: sessionId }),
    ...(loginId && { login: loginId }),
    ...(actorKeyId && actorKeyHash && { actorKey: { id: actorKeyId, hash: actorKeyHash } }),
  };
  const actor: Actor = {
    principal,
    owner,
    account,
    credential: {
      via: row.onlySessionId === null ? "jwt" : "browser_token",
      id,
      expiresAt,
      ceiling,
      scope: row.scope.map(parsePermission),
      under,
      space,
      source,
      ...(row.rule !== null && { rule: row.rule }),
      ...(row.onlySessionId !== null && { onlySession: row.onlySessionId }),
    },
    ...(row.act && { act: { principal: row.act, owner: row.actOwner, ceiling: row.actCeiling?.map(parsePermission) ?? null } }),
  };
  return { actor, mayAct: row.mayActId ?? undefined };
}
