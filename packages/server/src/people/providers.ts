import { Name } from "@gatehouse/protocol";
import { APIError } from "better-auth/api";
import { type GenericOAuthConfig, genericOAuth } from "better-auth/plugins/generic-oauth";
import type { OidcProvider } from "../config.ts";

const SCOPES = ["openid", "email", "profile"];

/**
 * The OpenID providers by which people sign in. Each is discovered when somebody first wants to, within ten seconds, as
 * better-auth does with those it did not reach at its start: a provider that hangs must not keep a server from starting.
 */
export function openIdProviders(providers: readonly OidcProvider[]) {
  const config = providers.map(toGenericProvider);
  const genericOAuthPendingDiscovery = new Map(config.map((provider) => [provider.providerId, provider]));
  return { ...genericOAuth({ config }), init: async () => ({ context: { genericOAuthPendingDiscovery } }) };
}

/**
 * An OpenID provider as better-auth wants it: found by discovery, with PKCE, a nonce, and ID tokens that are verified.
 * A person is who the provider says by an e-mail address that it has verified, in one of its domains where they are given.
 */
function toGenericProvider({ id, name, issuer, clientId, clientSecret, scopes = [], domains }: OidcProvider): GenericOAuthConfig {
  return {
    providerId: id,
    name,
    discoveryUrl: `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`,
    clientId,
    clientSecret,
    scopes: [...new Set([...SCOPES, ...scopes])],
    pkce: true,
    requireIdTokenVerification: true,
    mapProfileToUser: (profile) => {
      const { email, emailVerified } = profile as { email?: unknown; emailVerified?: unknown };
      if (typeof email !== "string" || emailVerified !== true) throw refused("email_not_verified");
      const domain = email.slice(email.lastIndexOf("@") + 1).toLowerCase();
      if (domains && !domains.includes(domain)) throw refused("domain_not_allowed");
      const called = Name.safeParse(profile.name);
      return { email: email.toLowerCase(), name: called.success ? called.data : email.slice(0, email.lastIndexOf("@")).slice(0, 64) };
    },
  };
}

const refused = (code: string) => new APIError("FORBIDDEN", { code, message: code });
