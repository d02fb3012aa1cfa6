import { splitScope } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { lineInPerson } from "../budgets.ts";
import type { Sql } from "../db.ts";
import type { House } from "../house.ts";
import { handOver } from "../people/hand-over.ts";
import { countAttempt } from "../people/limits.ts";
import { endLogin, hashLogin, loginOf } from "../people/login.ts";
import { isOpen } from "../people/proofs.ts";
import { DEFAULT_SCOPE } from "../people/routes.ts";
import { madeAt } from "../people/users.ts";
import { Refusal } from "../refusal.ts";
import { publicForm } from "./client.ts";
import { OAuthError, toOAuthError } from "./error.ts";
import { count, type Endpoint, type Form, need } from "./form.ts";
import { isResourceOf, knownScope, resourceOf } from "./resource.ts";

export const DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";

type Answer = Awaited<ReturnType<Endpoint>>;

export async function byCode(house: House, request: FastifyRequest, sent: Form): Promise<Answer> {
  const form = publicForm(request, sent);
  const params = need(form, {
    grant_type: z.string(),
    client_id: z.string(),
    code: z.string(),
    redirect_uri: z.string().optional(),
    code_verifier: z.string(),
  });
  await mustBeClient(house, params.client_id, form.resource);
  const code = await codeOf(house, params.code);
  const grant = { ...params, redirect_uri: params.redirect_uri ?? code?.redirectUri };
  // Nothing is missing: whatever better-auth finds wrong now is wrong with the code.
  const answer = await exchange(house, request, grant, { invalid_request: "invalid_grant" });
  await mustStand(house, answer, (revoked) => revoked === null || (code !== undefined && code.allowedAt > new Date(revoked)));
  return answer;
}

/**
 * The address that a code was sent to, and the time at which it was allowed, if there is such a code: PKCE has made it needless that
 * a client names the address again (OAuth 2.1 §10.2), and better-auth still asks for it.
 */
async function codeOf({ auth }: House, code: string): Promise<{ redirectUri: string; allowedAt: Date } | undefined> {
  const { internalAdapter } = await auth.$context;
  const kept = await internalAdapter.findVerificationValue(hashLogin(code));
  return kept ? { redirectUri: CodeKept.parse(JSON.parse(kept.value)).query.redirect_uri, allowedAt: madeAt(kept.id) } : undefined;
}

/**
 * Ends a login that has just been made, unless what it was made by stands: better-auth looks at the code first, and makes the login last.
 * @param stands whether it does, by when the person last revoked all, if they ever did
 * @throws OAuthError invalid_grant
 */
async function mustStand(
  house: House,
  answer: Record<string, unknown>,
  stands: (revoked: string | null) => boolean | Promise<boolean>,
): Promise<void> {
  const { sql, feed } = house.doors.user;
  const login = await loginOf(sql, String(answer.access_token));
  if (login && (await stands(await revokedBy(sql, login.person)))) return;
  if (login) await endLogin(sql, login.id).finally(() => feed.doubt());
  throw new OAuthError("invalid_grant");
}

/** The time at which a person last revoked all; null = never. */
async function revokedBy(sql: Sql, person: string): Promise<string | null> {
  const [row] = await sql<{ at: string }[]>`select at from all_revoked where principal_id = ${person}`;
  return row?.at ?? null;
}

/** What better-auth keeps of a code. */
const CodeKept = z.object({ query: z.object({ redirect_uri: z.string() }) });

export async function byDevice(house: House, request: FastifyRequest, sent: Form): Promise<Answer> {
  const form = publicForm(request, sent);
  const params = need(form, { grant_type: z.string(), client_id: z.string(), device_code: z.string() });
  await mustBeClient(house, params.client_id, form.resource);
  const { sql } = house.doors.user;
  const [code] = await sql<{ session: string | null; revoked: string | null }[]>`
    select c.session_id as session, r.at as revoked from auth."deviceCode" c left join all_revoked r on r.principal_id = c."userId"
    where c."deviceCode" = ${params.device_code}`;
  const answer = await exchange(house, request, params);
  // The session in which it was allowed may have ended by then, or the person may have revoked all.
  const { session = null, revoked: before = null } = code ?? {};
  await mustStand(house, answer, async (revoked) => revoked === before && session !== null && (await isOpen(sql, session)));
  return answer;
}

/**
 * A refresh token is good for one time. Who comes with a used one, or somebody before them, has stolen it: the login ends
 * (RFC 9700 §4.14.2). One after the other, so that two at once are seen to be two; and what ends the login waits its turn.
 */
export async function refresh(house: House, request: FastifyRequest, sent: Form): Promise<Answer> {
  const form = publicForm(request, sent);
  const { scope, ...params } = need(form, {
    grant_type: z.string(),
    client_id: z.string(),
    refresh_token: z.string(),
    scope: z.string().optional(),
  });
  await mustBeClient(house, params.client_id, form.resource);
  const { sql } = house.doors.user;
  const [login] = await sql<{ id: string; userId: string }[]>`
    select "authorizationCodeId" as id, "userId" from auth."oauthRefreshToken"
    where token = ${hashLogin(params.refresh_token)} and "clientId" = ${params.client_id}`;
  if (!login) throw new OAuthError("invalid_grant");
  await count(countAttempt(sql, "token", { account: login.userId }));
  // In the person's own name: nobody else waits behind those who wait for one login.
  const work = sql.as(lineInPerson(login.userId)).begin(async (tx) => {
    await tx`select from auth.logins where id = ${login.id} for no key update`;
    const [token] = await tx<{ scopes: string[] }[]>`
      select scopes from auth."oauthRefreshToken" where token = ${hashLogin(params.refresh_token)} and revoked is null`;
    if (token) {
      const narrowed = scope === undefined ? undefined : within(token.scopes, scope);
      const answer = await exchange(house, request, params);
      return narrowed ? narrow(tx, answer, narrowed) : answer;
    }
    await endLogin(tx, login.id);
    return undefined; // and not an error, which would undo it
  });
  // A login that ended is not to be trusted from its memory.
  const answer = await work.finally(() => house.doors.user.feed.doubt());
  if (!answer) throw new OAuthError("invalid_grant");
  return answer;
}

/** The part of what was granted that a refresh asks for. @throws OAuthError invalid_scope where that is nothing, or more (RFC 6749 §6) */
function within(granted: readonly string[], scope: string): string[] {
  const asked = [...new Set(splitScope(scope))];
  if (asked.length === 0 || !asked.every((word) => granted.includes(word))) throw new OAuthError("invalid_scope");
  return asked;
}

/**
 * Narrows an access token that nobody has yet. The refresh token keeps all that was granted: the next refresh may ask for it
 * again (RFC 6749 §6), which better-auth does not do.
 */
async function narrow(sql: Sql, answer: Record<string, unknown>, scopes: string[]): Promise<Answer> {
  await sql`update auth."oauthAccessToken" set scopes = ${sql.json(scopes)} where token = ${hashLogin(String(answer.access_token))}`;
  return { ...answer, scope: scopes.join(" ") };
}

export async function beginDevice(house: House, request: FastifyRequest, sent: Form): Promise<Answer> {
  const form = publicForm(request, sent);
  const { client_id, scope } = need(form, { client_id: z.string(), scope: z.string().default(DEFAULT_SCOPE) });
  await mustBeClient(house, client_id, form.resource);
  return ask(house, request, "/device/code", { client_id, scope: knownScope(client_id, scope) });
}

/** @throws OAuthError invalid_client, invalid_target: before a code is used up */
export async function mustBeClient(house: House, clientId: string, resource?: string): Promise<void> {
  const [client] = await house.doors.user.sql`select from auth."oauthClient" where "clientId" = ${clientId} and not disabled`;
  if (!client) throw new OAuthError("invalid_client");
  if (!isResourceOf(house.publicUrl, clientId, resource))
    throw new OAuthError("invalid_target", { says: `resource must be ${resourceOf(house.publicUrl, clientId)}.` });
}

/** @throws OAuthError; invalid_grant also where what a login hangs on ends while it is made */
const exchange = (house: House, request: FastifyRequest, params: object, rename?: Record<string, "invalid_grant">) =>
  ask(house, request, "/oauth2/token", params, rename).catch((thrown: unknown) => {
    throw (thrown as { code?: unknown }).code === FOREIGN_KEY_VIOLATION ? new OAuthError("invalid_grant") : thrown;
  });
const FOREIGN_KEY_VIOLATION = "23503";

/** Asks better-auth, without cookies: a program is not who happens to be signed in. @throws OAuthError, Refusal INTERNAL_ERROR */
async function ask(house: House, request: FastifyRequest, path: string, params: object, rename: Record<string, "invalid_grant"> = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  const answered = await handOver(house, request, { method: "POST", path, body: new URLSearchParams(given) });
  const body = (await answered.json()) as Record<string, unknown> & { error?: string };
  if (answered.ok) return body;
  const { error = "" } = body;
  if (answered.status >= 500)
    throw new Refusal("INTERNAL_ERROR", undefined, {}, { cause: `better-auth answered ${answered.status} ${error}` });
  throw toOAuthError(rename[error] ?? error);
}
