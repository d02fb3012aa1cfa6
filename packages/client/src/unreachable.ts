import { isLoopback } from "./address.ts";
import { GatehouseError } from "./error.ts";

/** Faults of a certificate, or of one above it, that no other cause names (X509_verify_cert_error_string). */
const UNACCEPTED =
  /^(CERT_|ERR_TLS_CERT|INVALID_(CA|NON_CA|PURPOSE|\w*EXTENSION|CALL)|PATH_L|UNHANDLED_CRITICAL|UNSUPPORTED_(CONSTRAINT|NAME|EXTENSION)|PERMITTED_|EXCLUDED_|SUBTREE_|SUBJECT_ISSUER|AKID_|KEYUSAGE_|NO_EXPLICIT_POLICY|NAME_CONSTRAINTS|UNNESTED_|UNABLE_TO_|ERROR_IN_C|CRL_|DIFFERENT_CRL|CA_|EE_|SUITE_B_|APPLICATION_VERIFICATION|UNSPECIFIED$)/;

/**
 * Why a server can't be reached, by the codes of Bun, Node.js and OpenSSL, and what to do about it. Each text goes on behind
 * the server's address.
 */
const causes: readonly (readonly [codes: RegExp, says: (secure: boolean) => string])[] = [
  [
    /^(ECONNREFUSED|ConnectionRefused)$/,
    () => "does not answer: nothing accepts connections there. Start the server, or check host and port.",
  ],
  [/^(ENOTFOUND|EAI_\w+)$/, () => "can't be found: no host of that name is known. Check the spelling, then your network and its DNS."],
  [/^(EHOST|ENET|EADDRNOTAVAIL)/, () => "can't be reached from this network. Check that you are online, and whether it takes a VPN."],
  [
    /^(ETIMEDOUT|UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT|TimeoutError)$/,
    () => "does not answer: no answer came in time. Try again; if it stays so, check for a firewall, or ask the server's operator.",
  ],
  [
    /^CERT_HAS_EXPIRED$/,
    () =>
      "has a certificate that has expired. Check the clock of this machine; if it is right, the server's operator must renew the certificate.",
  ],
  [
    /^CERT_NOT_YET_VALID$/,
    () => "has a certificate that is not valid yet. Check the clock of this machine; if it is right, ask the server's operator.",
  ],
  [
    /^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH|IP_ADDRESS_MISMATCH)$/,
    () => "has a certificate for another host name. Use the name that is in the certificate.",
  ],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(GET_ISSUER_CERT|VERIFY_LEAF_SIGNATURE)\w*)$/,
    () =>
      "has a certificate that this machine does not trust: self-signed, or of a private authority. If it is right, trust it: NODE_EXTRA_CA_CERTS=FILE.pem",
  ],
  [
    UNACCEPTED,
    () => "has a certificate that is not accepted: it, or one that vouches for it, is not made for this. Ask the server's operator.",
  ],
  // All that Bun says of a handshake: a step to http:// would send the key in clear to a server that only wants other TLS.
  [
    /^(EPROTO|ERR_SSL_\w+|ERR_TLS_\w+)$/,
    () =>
      "does not agree on TLS: it speaks none there, none since version 1.2, or asks for a client certificate. Check the scheme and the port; if they are right, ask the server's operator.",
  ],
  [/^(ERR_PROXY_TUNNEL|UnsupportedProxyProtocol|ERR_INVALID_ARG_VALUE)$/, () => "can't be reached through the proxy."],
  [/^(Malformed_HTTP_Response|HPE_\w+)$/, () => "answers, but not in HTTP. Check the port."],
  [
    /^(InvalidHTTPResponse|InvalidContentLength|UnsupportedTransferEncoding|UnrequestedUpgrade|(Zlib|Brotli\w*|Zstd\w*)Error|Z_\w+|ERR_(BROTLI|ZSTD)?_\w+)$/,
    () =>
      "answers, but the answer is damaged. Try again; if it stays so, check what stands between, such as a proxy, or ask the server's operator.",
  ],
  [
    /^(ECONNRESET|EPIPE|UND_ERR_SOCKET|ConnectionClosed)$/,
    (secure) =>
      `does not answer: the connection was closed. Try again; if it stays so, check the address${secure ? "" : ", which may have to begin with https://"}.`,
  ],
];

/** Where the platform names no cause: a browser hides it from pages. */
const UNKNOWN =
  "document" in globalThis
    ? "does not answer. Check that the server is running there, and that the origin of this page is in its ALLOWED_ORIGINS."
    : "does not answer. Is the server running there?";

/** The error of a server that can't be reached, in words that name the cause and the next step. */
export function unreachable({ server }: { server: string }, cause: unknown): GatehouseError {
  const codes = [...codesOf(cause)];
  const [, says] = causes.find(([known]) => codes.some((code) => known.test(code))) ?? [];
  return new GatehouseError("UNREACHABLE", `${server} ${says?.(server.startsWith("https:")) ?? UNKNOWN}${viaProxy(server)}`, {}, { cause });
}

/** The variable that names a proxy for the server, if there is one. Its value is not told: it may hold a password. */
export function viaProxy(server: string): string {
  const url = URL.parse(server);
  const env: Record<string, string | undefined> = globalThis.process?.env ?? {};
  if (!url || isLoopback(url) || isDirect(url, env.NO_PROXY || env.no_proxy || "")) return "";
  const names = [url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]);
  const named = names.find((name) => env[name]);
  return named === undefined ? "" : ` ${named} is set: check that proxy, or put the host into NO_PROXY.`;
}

/** True if NO_PROXY names a host: itself, with or without its port, its domain, its network, or all hosts (`*`). */
function isDirect({ hostname, protocol, port }: URL, noProxy: string): boolean {
  const withPort = `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
  const isAddress = /^[\d.]+$|^\[/.test(hostname);
  return noProxy
    .split(",")
    .map((each) => each.trim().toLowerCase())
    .some((each) => {
      if (each === "*" || each === hostname || each === withPort || `[${each}]` === hostname) return true;
      // Which networks an address is of, the runtime knows: nothing is said of a proxy where there may be none.
      if (each.includes("/")) return isAddress;
      return each !== "" && hostname.endsWith(`.${each.replace(/^[*]?[.]/, "")}`);
    });
}

/** The codes of an error and of all that caused it: Node.js has those of the network further down. */
function* codesOf(error: unknown): Generator<string> {
  for (let each = error; each instanceof Error; each = each.cause ?? (each as AggregateError).errors?.[0]) {
    yield String((each as NodeJS.ErrnoException).code);
    yield each.name;
  }
}
