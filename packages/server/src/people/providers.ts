import { Name } from "@gatehouse/protocol";
import { APIError } from "better-auth/api";
import { type GenericOAuthConfig, genericOAuth } from "better-auth/plugins/generic-oauth";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { z } from "zod";
import { asciiDomain, type OidcProvider } from "../config.ts";
import type { Sql } from "../db.ts";

/** Is told of a person's address, and of the account at a provider that is theirs, as it is kept. */
type Vouched = (whom: { email: string; subject: string }) => Promise<void>;

const SCOPES = ["openid", "email", "profile"];

/**
 * The OpenID providers by which people sign in. Each is discovered when somebody first wants to, within ten seconds, as
 * better-auth does with those it did not reach at its start: a provider that hangs must not keep a server from starting.
 * @param vouched is told of whom a provider vouches for, before they are looked for among the accounts
 */
export function openIdProviders(providers: readonly OidcProvider[], vouched: Vouched) {
  const config = providers.map((provider) => toGenericProvider(provider, vouched));
  const genericOAuthPendingDiscovery = new Map(config.map((provider) => [provider.providerId, provider]));
  return { ...genericOAuth({ config }), init: async () => ({ context: { genericOAuthPendingDiscovery } }) };
}

/**
 * An e-mail address: one `@`, before it ASCII alone (that a Kelvin sign is a k in small letters makes it nobody else's address),
 * a domain in its one ASCII form (IDNA, RFC 5890), and no character that can't be seen.
 */
const Email = z
  .string()
  .max(254)
  .transform((text) => {
    const [local = "", domain = "", ...more] = text.split("@");
    return more.length > 0 || !/^[!-~]+$/.test(local) ? "" : `${local}@${asciiDomain(domain) ?? ""}`.toLowerCase();
  })
  .pipe(z.email().max(254));

/** How far a provider's clock may be ahead, in seconds. */
const MAX_SKEW = 60;

/** The allowed header of an ID token (RFC 8725 §3.11): not one of an access or logout token. */
const Header = z.object({ typ: z.stringFormat("jwt", /^(application\/)?jwt$/i).optional() });

/**
 * The claims of an ID token, besides those that better-auth checks: signature, issuer, audience, expiry and nonce. It is made for
 * this server alone, and now (OpenID Connect Core 1.0 §3.1.3.7).
 */
const claimsFor = (clientId: string) =>
  z.object({
    iss: z.string(),
    sub: z.string().regex(/^[!-~]{1,255}$/),
    aud: z.union([z.literal(clientId), z.tuple([z.literal(clientId)])]),
    azp: z.literal(clientId).optional(),
    iat: z.number().refine((seconds) => seconds <= Date.now() / 1000 + MAX_SKEW),
  });

/** The claims that are used of a person (Core §2, §5.1). All others are left out, pictures too. */
const Verified = z.object({ email_verified: z.literal([true, "true"]) });
const Profile = z.object({ email: Email, name: Name.catch("") });

/**
 * An OpenID provider as better-auth wants it: found by discovery, with PKCE, a nonce, and ID tokens that are verified.
 * A person is who the provider says by an e-mail address that it has verified, in one of its domains where they are given.
 * Their account is bound to the issuer and the subject, and to nothing that may pass to somebody else.
 */
function toGenericProvider(
  { id, name, issuer, clientId, clientSecret, scopes = [], domains }: OidcProvider,
  vouched: Vouched,
): GenericOAuthConfig {
  const claims = claimsFor(clientId);
  return {
    providerId: id,
    name,
    discoveryUrl: `${bare(issuer)}/.well-known/openid-configuration`,
    clientId,
    clientSecret,
    scopes: [...new Set([...SCOPES, ...scopes])],
    pkce: true,
    requireIdTokenVerification: true,
    // Of the ID token, which is verified by now: without one there is no telling who signed in (Core §3.1.3.3).
    accountSubject: async ({ tokens, profile }) => {
      Header.parse(decodeProtectedHeader(tokens.idToken ?? ""));
      const { iss, sub } = claims.parse(decodeJwt(tokens.idToken ?? ""));
      if (bare(iss) !== bare(issuer)) throw new Error("an ID token of another issuer (Discovery 1.0 §4.3)");
      const subject = accountId(issuer, sub);
      await vouched({ email: Profile.parse(profile).email, subject });
      return subject;
    },
    mapProfileToUser: (said) => {
      if (!Verified.safeParse(said).success) throw refused("email_not_verified");
      const read = Profile.safeParse(said);
      if (!read.success) throw refused("profile_not_usable");
      const { email, name } = read.data;
      const [local = "", domain = ""] = email.split("@");
      if (domains && !domains.includes(domain)) throw refused("domain_not_allowed");
      return { email, name: name || Name.catch("Somebody").parse(local), image: undefined };
    },
  };
}

const bare = (issuer: string): string => issuer.replace(/\/$/, "");
const accountId = (issuer: string, sub: string): string => `${bare(issuer)} ${sub}`;

/**
 * Binds the accounts that were bound to a subject alone to the issuer that their provider has now: a provider whose issuer
 * the operator changes later is another one.
 */
export async function bindToIssuers(sql: Sql, providers: readonly OidcProvider[]): Promise<void> {
  for (const { id, issuer } of providers)
    await sql`
      update auth.account set "accountId" = ${accountId(issuer, "")} || "accountId"
      where "providerId" = ${id} and "accountId" !~ '^https?://[^ ]+ '`;
}

const refused = (code: string) => new APIError("FORBIDDEN", { code, message: code });
