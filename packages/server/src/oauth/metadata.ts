import type { FastifyInstance } from "fastify";
import { type House, RESOURCE_METADATA } from "../house.ts";
import { AUTH } from "../people/hand-over.ts";
import { EXCHANGE_GRANT } from "./exchange.ts";
import { DEVICE_GRANT } from "./login.ts";
import { RESOURCES } from "./resource.ts";
import { LOGIN_SCOPES, MCP, PROGRAM_SCOPES } from "./scopes.ts";

const AUTHORIZATION_SERVER_METADATA = "/.well-known/oauth-authorization-server";

/** What a client must know to sign people in (RFC 8414). */
const authorizationServer = (url: string) => ({
  issuer: url,
  authorization_endpoint: `${url}${AUTH}/oauth2/authorize`,
  token_endpoint: `${url}/api/v1/token`,
  device_authorization_endpoint: `${url}${AUTH}/device/code`,
  revocation_endpoint: `${url}/api/v1/revoke`,
  introspection_endpoint: `${url}/api/v1/introspect`,
  jwks_uri: `${url}/.well-known/jwks.json`,
  scopes_supported: [...new Set([...LOGIN_SCOPES, ...PROGRAM_SCOPES])],
  registration_endpoint: `${url}/api/v1/register`,
  response_types_supported: ["code"],
  response_modes_supported: ["query"],
  grant_types_supported: ["authorization_code", "refresh_token", DEVICE_GRANT, EXCHANGE_GRANT],
  // A secret is one of the keys: the client is whoever it speaks for.
  token_endpoint_auth_methods_supported: ["none", "client_secret_basic", "client_secret_post"],
  revocation_endpoint_auth_methods_supported: ["none", "client_secret_basic", "client_secret_post"],
  introspection_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
  code_challenge_methods_supported: ["S256"],
  authorization_response_iss_parameter_supported: true, // RFC 9207
});

/** What a client must know to come in (RFC 9728). */
const protectedResource = (url: string, path: string) => ({
  resource: url + path,
  authorization_servers: [url],
  scopes_supported: path === MCP ? PROGRAM_SCOPES : LOGIN_SCOPES,
  bearer_methods_supported: ["header"],
});

/** Publishes where and how to sign in: of the server as a whole, and of each RPC door. */
export function addMetadata(app: FastifyInstance, { publicUrl }: House): void {
  const options = { config: { rateLimit: false as const } };
  app.get(AUTHORIZATION_SERVER_METADATA, options, async () => authorizationServer(publicUrl));
  for (const path of RESOURCES) app.get(RESOURCE_METADATA + path, options, async () => protectedResource(publicUrl, path));
}
