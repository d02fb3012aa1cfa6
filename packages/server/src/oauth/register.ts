import { Name } from "@gatehouse/protocol";
import type { FastifyRequest } from "fastify";
import { uuidv7 } from "uuidv7";
import { z } from "zod";
import { hostOf, isLoopback } from "../config.ts";
import type { Sql } from "../db.ts";
import { tryReadJson } from "../json.ts";
import { removeInSteps } from "../retention.ts";
import { OAuthError } from "./error.ts";
import { PROGRAM_SCOPES } from "./scopes.ts";

const MAX_URIS = 10;
/**
 * A scheme of the program's own: a domain name in reverse (RFC 8252 §7.1). Any other may be one that the operating system or
 * another program acts upon, such as `search-ms:`, so that an answer would be a command to it.
 */
const PRIVATE_SCHEME = /^([a-z]{2,63}|xn--[a-z0-9-]+)(\.[a-z0-9-]+)+:$/;

/**
 * Where an answer may go: to a web address over TLS, to this computer (RFC 8252 §7.3), or by a scheme of the program's own
 * (§7.1). Never with a fragment (RFC 6749 §3.1.2), nor a name and password in it.
 */
export const RedirectUri = z
  .string()
  .max(2048, { abort: true })
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { protocol, hostname, username, password } = new URL(text);
    if (text.includes("#") || username || password) return false;
    return protocol === "https:" || PRIVATE_SCHEME.test(protocol) || (protocol === "http:" && isLoopback(hostOf({ hostname })));
  });

/** What a program tells of itself (RFC 7591 §2), as far as it is kept: nobody has looked at it. What else comes is left out. */
export const Metadata = z.object({
  redirect_uris: z.array(RedirectUri).min(1).max(MAX_URIS),
  client_name: Name.optional(),
  scope: z.string().max(2048).optional(),
});

export type Metadata = z.infer<typeof Metadata>;

/** @throws OAuthError invalid_redirect_uri, invalid_client_metadata; Refusal PAYLOAD_TOO_LARGE */
export function readMetadata(request: FastifyRequest): Metadata {
  const read = Metadata.safeParse(tryReadJson(request.body));
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new OAuthError(issue?.path[0] === "redirect_uris" ? "invalid_redirect_uri" : "invalid_client_metadata");
}

/**
 * Registers a program that people may sign in to (RFC 7591): a public client, which proves by PKCE that it is the one that
 * asked. Anyone may register one; what it may do is what a person allows it.
 */
export async function register(sql: Sql, { redirect_uris, client_name = "A program without a name" }: Metadata): Promise<object> {
  const client_id = uuidv7();
  const grant_types = ["authorization_code", "refresh_token"];
  const response_types = ["code"];
  await sql`
    insert into auth."oauthClient" (id, "clientId", name, "applicationType", "tokenEndpointAuthMethod", "requirePKCE", "skipConsent",
      "redirectUris", "grantTypes", "responseTypes", scopes)
    values (${uuidv7()}, ${client_id}, ${client_name}, 'native', 'none', true, false,
      ${sql.json(redirect_uris)}, ${sql.json(grant_types)}, ${sql.json(response_types)}, ${sql.json(PROGRAM_SCOPES)})`;
  return {
    client_id,
    client_id_issued_at: Math.floor(Date.now() / 1000),
    client_name,
    redirect_uris,
    grant_types,
    response_types,
    token_endpoint_auth_method: "none",
    scope: PROGRAM_SCOPES.join(" "),
  };
}

/** Forgets programs that registered a day ago, and that nobody has signed in to since. */
export const sweepClients = (sql: Sql) =>
  removeInSteps(
    sql,
    "auth.oauthClient",
    sql`"clientId" <> 'me' and "createdAt" < now() - interval '1 day'
      and not exists (select from auth."oauthRefreshToken" r where r."clientId" = t."clientId")
      and not exists (select from auth."oauthAccessToken" a where a."clientId" = t."clientId")`,
  );
