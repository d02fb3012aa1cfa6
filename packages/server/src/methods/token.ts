import { type CredentialKind, formatPermission, type Inspection, type tokenMethods } from "@gatehouse/protocol";
import { type Actor, isLimited, isToken } from "../actor.ts";
import type { Sql } from "../db.ts";
import { loginPrefixes, prefixOf } from "../key.ts";
import { heldWhile } from "../known.ts";
import { managedOwners } from "../needs.ts";
import { endLogin, loginOf } from "../people/login.ts";
import { endSessionIn } from "../people/users.ts";
import { nobody, Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import { mayNameMembers } from "../rules.ts";
import { readStanding } from "../standing.ts";
import { type Jwt, looksLikeJwt } from "../tokens/jwt.ts";
import { mintToken } from "../tokens/mint.ts";
import type { TokenRead } from "../tokens/read.ts";
import { one } from "./rows.ts";

/** What these methods need besides the database: what signs, and what tells whose a credential is. */
export interface Minting {
  jwt: Jwt;
  /** In the transaction that is open: a second connection might never come. @throws Refusal UNAUTHENTICATED for a credential that is not good */
  identify(sql: Sql, credential: string): Promise<TokenRead>;
}

export const tokenHandlers = ({ jwt, identify }: Minting): Handlers<typeof tokenMethods> => ({
  async "token.create"({ space, scope, ttlSeconds, mayAct }, { actor, sql, audit }) {
    const { id: spaceId } = one(await sql<{ id: string }[]>`select id from spaces where slug = ${space}`);
    if (mayAct !== undefined) await mustBeAbleToAct(sql, actor, mayAct, spaceId);
    const minted = await mintToken(sql, jwt, actor, { space: { id: spaceId, slug: space }, scope, ttlSeconds, mayAct });
    Object.assign(audit, { target: `${minted.id} ${scope.join(" ")}`, spaceId });
    return { ...minted, space, scope };
  },

  async "token.inspect"({ token }, at) {
    const found = await identified(identify, at.sql, token);
    return found && (await concerns(found, at)) ? describe(found) : { active: false };
  },

  async "token.revoke"({ token }, at) {
    if (prefixOf(token) === loginPrefixes.refresh) return endRenewal(token, at);
    // Another issuer's can't be revoked here; to ask that issuer would hold the transaction for as long as it likes.
    if (looksLikeJwt(token) && !jwt.isOwn(token)) {
      at.audit.unchanged = true;
      return {};
    }
    const found = await identified(identify, at.sql, token);
    if (!found || !(await concerns(found, at))) {
      at.audit.unchanged = true;
      return {};
    }
    const { via, id, source } = found.actor.credential;
    // A login ends as a whole: left with what renews it, whoever took it along would go on.
    if (source?.login && !source.token)
      await at.sql`delete from auth.logins where id = (select "authorizationCodeId" from auth."oauthAccessToken" where id = ${id})`;
    else if (isToken(found.actor.credential)) await at.sql`delete from tokens where id = ${id}`;
    else if (via === "session") await endSessionIn(at.sql, id);
    else await at.sql`delete from api_keys where id = ${id}`;
    at.audit.target = id;
    return {};
  },
});

/** Ends the login that a refresh token renews, which is no credential: to be the person who signed in is enough. */
async function endRenewal(token: string, { actor, sql, audit }: At): Promise<Record<string, never>> {
  const login = await loginOf(sql, token);
  if (login?.person === actor.principal.id) {
    await endLogin(sql, login.id);
    audit.target = login.id;
  } else audit.unchanged = true;
  return {};
}

/**
 * Only a user, themselves, lets an agent act for them: one that is on the roster of the space. By a credential that is limited
 * to less than reading who is there, they learn of nobody. @throws Refusal FORBIDDEN, NOT_FOUND
 */
async function mustBeAbleToAct(sql: Sql, actor: Actor, agent: string, spaceId: string): Promise<void> {
  if (actor.principal.kind !== "u" || actor.act)
    throw new Refusal("FORBIDDEN", "Only a user lets an agent act for them (mayAct), and only themselves.", { reason: "user-only" });
  if (isLimited(actor) && !mayNameMembers({ standing: await readStanding(sql, { id: spaceId }, actor) }))
    throw new Refusal("FORBIDDEN", "To name an agent (mayAct), this credential must be good for read:members. Use one that is.", {
      reason: "scope",
      missing: ["read:members"],
      layer: actor.credential.scope ? "token" : "ceiling",
    });
  await heldWhile(sql, agent, async () =>
    one(
      await sql`
        select from live_members m join principals p on p.id = m.principal_id
        where m.space_id = ${spaceId} and p.id = ${agent} and p.kind = 'a'`,
      "There is no such agent in that space. `me space members` shows those there are.",
    ),
  );
}

/** Whose a credential is; undefined when it is not good. */
const identified = (identify: Minting["identify"], sql: Sql, token: string): Promise<TokenRead | undefined> =>
  identify(sql, token).catch(nobody);

/**
 * Whether a credential is the caller's to know of: their own, an own agent's, one by which they act or are to act, or a
 * token for their space's service. That one must not take for an access token what is good for an agent's exchange alone.
 */
async function concerns({ actor: found, mayAct }: TokenRead, { actor, sql }: At): Promise<boolean> {
  const { principal } = actor;
  if ([found.principal.id, found.act?.principal.id, mayAct].includes(principal.id)) return true;
  if (principal.kind === "s") return !mayAct && isToken(found.credential) && found.credential.space === actor.credential.space;
  if (principal.kind !== "u" || isLimited(actor)) return false;
  const [row] =
    await sql`select from principals where id = ${found.principal.id} and kind = 'a' and owner_id in (${managedOwners(sql, actor)})`;
  return row !== undefined;
}

function describe({
  actor: {
    principal: { id, kind, name },
    credential,
    act,
  },
  mayAct,
}: TokenRead): Inspection {
  const scope = credential.scope ?? credential.ceiling;
  return {
    active: true,
    id: credential.id,
    kind: kindOf(credential.via),
    ...(credential.onlySession === undefined ? { principal: { id, kind, name } } : { session: credential.onlySession }),
    ...(act && credential.onlySession === undefined && { act: { id: act.principal.id, kind: "a" as const, name: act.principal.name } }),
    ...(mayAct && { mayAct }),
    ...(credential.space && { space: credential.space }),
    ...(credential.resource && { resource: credential.resource }),
    ...(scope && { scope: scope.map(formatPermission) }),
    ...(credential.expiresAt && { expiresAt: credential.expiresAt }),
  };
}

const kindOf = (via: CredentialKind): NonNullable<Inspection["kind"]> =>
  via === "jwt" ? "token" : via === "browser_token" ? "browser token" : via === "session" ? "session" : "key";
