import { isIPv6 } from "node:net";

/**
 * Whom an address counts as. An IPv6 address counts as its /64, of which anybody has 2⁶⁴; an IPv4 address written as
 * IPv6 as what it is.
 */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped) return mapped;
  const bare = address.split("%")[0] as string;
  if (!isIPv6(bare)) return address;
  // A URL writes an IPv6 address in its one shortest form.
  const [head = "", tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split("::");
  const [first, last] = [head, tail ?? ""].map((part) => part.split(":").filter(Boolean)) as [string[], string[]];
  const zeros = tail === undefined ? 0 : 8 - first.length - last.length;
  return `${[...first, ...Array<string>(zeros).fill("0"), ...last].slice(0, 4).join(":")}::`;
}
