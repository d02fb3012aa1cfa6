import type { ErrorCode } from "@gatehouse/protocol";
import { GatehouseError } from "./error.ts";
import { reachForm, type Target } from "./transport.ts";

const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

/** What an agent asks for when it is to act for a user. */
export interface Exchange {
  /** The token that the user made for this agent. */
  subject: string;
  /** Slug of the space. */
  space: string;
  scope: readonly string[];
  ttlSeconds?: number;
}

/**
 * Exchanges a user's token for one by which the target's agent acts for that user (RFC 8693).
 * @throws GatehouseError FORBIDDEN with all that is missing, INVALID_PARAMS when the token was not made for this agent
 */
export async function exchangeToken(target: Target, { subject, space, scope, ttlSeconds }: Exchange) {
  const sentAt = Date.now();
  const { credential } = target;
  const actor = typeof credential === "function" ? await credential() : credential;
  const answer = await reachForm(target, "/api/v1/token", {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: subject,
    subject_token_type: ACCESS_TOKEN,
    // Said to be who acts: by any other token than one for it, this agent gets nothing.
    ...(actor !== undefined && { actor_token: actor, actor_token_type: ACCESS_TOKEN }),
    space,
    scope: scope.join(" "),
    ...(ttlSeconds !== undefined && { ttl: String(ttlSeconds) }),
  });
  const said = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  if (!answer.ok)
    throw new GatehouseError(
      (said.code as ErrorCode) ?? "BAD_ANSWER",
      String(said.error_description ?? "no token was given"),
      said as object,
    );
  const expiresAt = new Date(sentAt + Number(said.expires_in) * 1000).toISOString();
  return { token: String(said.access_token), expiresAt, scope: String(said.scope).split(" ") };
}
