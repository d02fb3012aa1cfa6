import { RPC } from "../house.ts";
import { COMMAND_LINE } from "../people/login.ts";
import { LOGIN_SCOPES, MCP, PROGRAM_SCOPES } from "./scopes.ts";

/** The doors that say of themselves what they are protected by (RFC 9728), by path: the server as a whole, and those of its own. */
export const RESOURCES = ["", MCP, ...Object.keys(RPC)];

/**
 * Whether an address is the server's own (RFC 8707), with or without a slash, or that of a door which is part of it: clients
 * name what the metadata of the door says that they came to. The door for programs alone is a resource apart.
 */
export const isServer = (publicUrl: string, address: string): boolean =>
  RESOURCES.some((path) => path !== MCP && isSame(address, publicUrl + path));

/** What the tokens of a program are for (RFC 8707): of the command line for all of a server, of any other for its door for programs. */
export const resourceOf = (publicUrl: string, clientId: string | undefined): string =>
  clientId === COMMAND_LINE ? publicUrl : publicUrl + MCP;

/**
 * Whether the resource that a program names, if it names one, is what its tokens are for. The server as a whole is, too: a
 * client that has read only its metadata knows no more. What it gets opens the same door.
 */
export function isResourceOf(publicUrl: string, clientId: string | undefined, resource: string | undefined): boolean {
  const own = resourceOf(publicUrl, clientId);
  if (resource === undefined || isSame(resource, own) || isSame(resource, publicUrl)) return true;
  return own === publicUrl && isServer(publicUrl, resource);
}

/** Whether two addresses are the same in all that does not depend on who wrote them: case of scheme and host, default port (RFC 3986 §6.2). */
const isSame = (address: string, own: string): boolean =>
  !address.includes("#") && URL.canParse(address) && new URL(address).href === new URL(own).href;

/**
 * What is known of a scope that a program asks for. The rest is left out, and the answer says what was granted (RFC 6749
 * §3.3): clients ask everybody for `openid` or `profile`. Where nothing is known, it is as it was, to be refused.
 */
export function knownScope(clientId: string | undefined, scope: string): string {
  const known: readonly string[] = clientId === COMMAND_LINE ? LOGIN_SCOPES : PROGRAM_SCOPES;
  return (
    scope
      .split(" ")
      .filter((word) => known.includes(word))
      .join(" ") || scope
  );
}
