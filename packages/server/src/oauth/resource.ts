import { RPC } from "../house.ts";
import { COMMAND_LINE } from "../people/login.ts";
import { MCP } from "./scopes.ts";

/** The doors that say of themselves what they are protected by (RFC 9728), by path: the server as a whole, and those of its own. */
export const RESOURCES = ["", MCP, ...Object.keys(RPC)];

/**
 * Whether an address is the server's own (RFC 8707), with or without a slash, or that of a door which is part of it: clients
 * name what the metadata of the door says that they came to. The door for programs alone is a resource apart.
 */
export const isServer = (publicUrl: string, address: string): boolean =>
  ["/", ...RESOURCES].some((path) => path !== MCP && address === publicUrl + path);

/** What the tokens of a program are for (RFC 8707): of the command line for all of a server, of any other for its door for programs. */
export const resourceOf = (publicUrl: string, clientId: string | undefined): string =>
  clientId === COMMAND_LINE ? publicUrl : publicUrl + MCP;

/** Whether the resource that a program names, if it names one, is what its tokens are for. */
export function isResourceOf(publicUrl: string, clientId: string | undefined, resource: string | undefined): boolean {
  const own = resourceOf(publicUrl, clientId);
  return resource === undefined || resource === own || (own === publicUrl && isServer(publicUrl, resource));
}
