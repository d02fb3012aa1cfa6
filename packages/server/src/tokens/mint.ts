import { formatPermission } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import type { Actor } from "../actor.ts";
import type { Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { Jwt } from "./jwt.ts";

/** Most tokens of which one is minted from the other: each holds the scopes of all above it. */
const MAX_DEPTH = 8;

/** What a token is to be good for. */
interface Wanted {
  space: { id: string; slug: string };
  scope: readonly string[];
  ttlSeconds: number;
  mayAct?: string | undefined;
  /** The session that it is for, and no other: then it is a browser's, and tells nothing of the caller. */
  onlySession?: string;
}

/**
 * Mints a token of a caller's credential, on which it hangs: it never lives longer, and every layer of the credential
 * stays a layer of the token. Whether the scope is the caller's to ask for is for who calls this to know.
 * @throws Refusal LIMIT_REACHED where too many tokens stand above it
 */
export async function mintToken(sql: Sql, jwt: Jwt, actor: Actor, { space, scope, ttlSeconds, mayAct, onlySession }: Wanted) {
  const { key, session, login, token: parent, actorKey } = actor.credential.source ?? {};
  const { scope: above, under = [], rule } = actor.credential;
  const layers = [...(above ? [above] : []), ...under];
  if (layers.length >= MAX_DEPTH)
    throw new Refusal(
      "LIMIT_REACHED",
      `This token is the ${MAX_DEPTH}th that was minted from another. Mint from the key or the login itself.`,
    );
  const id = uuidv7();
  // In whole seconds, as the claim is.
  const [row] = await sql<{ issuedAt: number; expires: number; expiresAt: string }[]>`
    insert into tokens (id, principal_id, space_id, scope, under, expires_at, key_id, key_hash, session_id, login_id, parent_id, may_act_id, actor_id, actor_key_id, actor_key_hash, rule, only_session_id)
    values (${id}, ${actor.principal.id}, ${space.id}, ${[...scope]},
            ${sql.json(layers.map((layer) => layer.map(formatPermission)))},
            date_trunc('second', least(date_trunc('second', now()) + make_interval(secs => ${ttlSeconds}), ${actor.credential.expiresAt}::timestamptz)),
            ${key?.id ?? null}, ${key?.hash ?? null}, ${session ?? null}, ${login ?? null}, ${parent?.id ?? null}, ${mayAct ?? null},
            ${actor.act?.principal.id ?? null}, ${actorKey?.id ?? null}, ${actorKey?.hash ?? null}, ${rule ?? null}, ${onlySession ?? null})
    returning floor(extract(epoch from now()))::integer as issued_at, extract(epoch from expires_at)::integer as expires, expires_at`;
  if (!row) throw new Error("the token was not kept");
  const whose = {
    sub: actor.principal.id,
    client_id: key?.id ?? session ?? login ?? parent?.id ?? actor.credential.id,
    ...(actor.act && { act: { sub: actor.act.principal.id } }),
    ...(mayAct !== undefined && { may_act: { sub: mayAct } }),
  };
  const claims = {
    ...(onlySession === undefined ? whose : { sub: onlySession, client_id: onlySession }),
    jti: id,
    iat: row.issuedAt,
    exp: row.expires,
    space: space.slug,
    scope: scope.join(" "),
  };
  return { id, token: await jwt.sign(sql, claims), expiresAt: row.expiresAt };
}
