import { GatehouseError } from "./error.ts";

/**
 * The address of a server as it is used: its origin, and the path that it is served beneath, without a slash at its end.
 * @throws GatehouseError UNREACHABLE for what is no such address; the message does not repeat it, as it may hold a password
 */
export function serverAddress(text: string): string {
  const url = URL.parse(text);
  if (!url && /^\s*https?:/i.test(text)) throw notAnAddress("must name a host without spaces, and a port of at most 65535 if it names one");
  if (!url || !/^https?:$/.test(url.protocol)) throw notAnAddress("must begin with http:// or https://");
  if (url.username || url.password) throw notAnAddress("must not hold a user name or password: set ME_API_KEY, or sign in");
  if (/[?#]/.test(text)) throw notAnAddress("must end before ? and #");
  return url.origin + url.pathname.replace(/\/+$/, "");
}

const notAnAddress = (why: string) =>
  new GatehouseError("UNREACHABLE", `The address of a server ${why}. Such as http://127.0.0.1:7070, or https://example.com/gatehouse.`);

/** Names of this machine itself (RFC 6761, section 6.3; RFC 1122, section 3.2.1.3; RFC 4291, section 2.5), as a URL has them. */
const LOOPBACK = /^((.+\.)?localhost\.?|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\[::ffff:(7f[\da-f]{2}:[\da-f]{1,4}|0:0)\])$/;

/** Whether an address is this machine's own, so that no proxy is asked for it. */
export const isLoopback = ({ hostname }: URL): boolean => LOOPBACK.test(hostname);
