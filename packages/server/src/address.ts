import { readFileSync } from "node:fs";
import { isIP, type NetConnectOpts } from "node:net";
import { userInfo } from "node:os";
import type { ConnectionOptions } from "node:tls";

/** Where a database is, and how to sign in there. */
export interface Address {
  /** How its socket is opened. */
  target: NetConnectOpts & { host?: string; port?: number };
  user: string;
  password: string;
  database: string;
  /** Settings of TLS; false: none. */
  tls: ConnectionOptions | false;
  /** Whether statements may be prepared by name. */
  prepare: boolean;
  /** Startup option of libpq: `options`. */
  options: string | undefined;
}

const PORT = 5432;

/**
 * Reads a `postgres://` URL, as libpq writes them. The URL says everything: no `PG*` variable of the environment is read.
 * In its query: `host`, `port`, `user`, `password`, `dbname`, `options`, `sslmode` with `sslrootcert`, `sslcert` and
 * `sslkey`, and our own `prepare=false`. Any `sslmode` but `disable` and `no-verify` checks the server's certificate and name.
 */
export function readAddress(address: string): Address {
  const url = new URL(address);
  const query = (name: string) => url.searchParams.get(name) || undefined;
  const host = query("host") ?? (decodeURIComponent(url.hostname).replace(/^\[|\]$/g, "") || "localhost");
  const port = Number(query("port") ?? (url.port || PORT));
  const user = query("user") ?? (decodeURIComponent(url.username) || userInfo().username);
  const local = host.startsWith("/");
  return {
    target: local ? { path: `${host}/.s.PGSQL.${port}` } : { host, port },
    user,
    password: query("password") ?? decodeURIComponent(url.password),
    database: query("dbname") ?? (decodeURIComponent(url.pathname.slice(1)) || user),
    tls: !local && readTls(host, query),
    prepare: query("prepare") !== "false",
    options: query("options"),
  };
}

function readTls(host: string, query: (name: string) => string | undefined): ConnectionOptions | false {
  const mode = query("sslmode") ?? (/^(true|1)$/.test(query("ssl") ?? "") ? "verify-full" : "disable");
  if (mode === "disable") return false;
  const file = (name: string) => {
    const path = query(name);
    return path && path !== "system" ? readFileSync(path, "utf8") : undefined;
  };
  return {
    rejectUnauthorized: mode !== "no-verify",
    ca: file("sslrootcert"),
    cert: file("sslcert"),
    key: file("sslkey"),
    ...(!isIP(host) && { servername: host }),
  };
}
