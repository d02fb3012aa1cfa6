import { SpanStatusCode } from "@opentelemetry/api";
import postgres from "postgres";
import { startQuerySpan } from "./telemetry.ts";

/** A pool of connections, or one transaction of it: a tagged template that runs SQL. */
export type Sql = postgres.Sql<{}> | postgres.TransactionSql<{}>;

/** The pool. */
export type Database = postgres.Sql<{}>;

/** Most connections of the pool that serves calls. */
const POOL_SIZE = 10;
/** Longest wait between attempts to reach a database that is gone, in seconds: calls fail, and recover, within it. */
const MAX_BACKOFF = 1;
const TIMESTAMPTZ = 1184;
const TEXT_ARRAY = 1009;
const UUID_ARRAY = 2951;

/**
 * Opens a pool with what all pools share.
 * @param address a `postgres://` URL; a unix socket's folder goes into `?host=`, as libpq has it
 */
export function connect(address: string, options: postgres.Options<{}>): Database {
  const url = new URL(address);
  const host = url.searchParams.get("host");
  url.searchParams.delete("host");
  const backoff = (attempt: number) => Math.min(2 ** attempt / 50, MAX_BACKOFF);
  return postgres(url.href, { ...options, ...(host && { host }), onnotice: () => {}, connect_timeout: 10, backoff });
}

/**
 * Opens the pool that serves calls. Columns come as camelCase, moments as RFC 3339 text; of arrays, it knows those of
 * text and uuid. Each query is one span.
 */
export function openDatabase(address: string): Database {
  return traceQueries(
    connect(address, {
      max: POOL_SIZE,
      // Else it looks the types of arrays up on every new connection; nobody handles it when that fails, which ends the process.
      // The price: its reserve() may wait for ever, on a pool that has no open connection yet.
      fetch_types: false,
      // `column` alone: the whole camel transform would also rewrite the keys inside json values.
      transform: { column: postgres.toCamel },
      types: {
        moment: {
          to: TIMESTAMPTZ,
          from: [TIMESTAMPTZ],
          serialize: (value: string) => value,
          parse: (text: string) => new Date(text).toISOString(),
        },
        texts: { to: TEXT_ARRAY, from: [TEXT_ARRAY, UUID_ARRAY], serialize: writeTexts, parse: readTexts },
      },
    }),
  );
}

/** The literal of an array: every element in quotes. */
const writeTexts = (texts: readonly string[]): string => `{${texts.map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;

/** The elements of an array, none of them null: in quotes where it takes them. */
const readTexts = (literal: string): string[] =>
  Array.from(literal.matchAll(/"((?:[^"\\]|\\.)*)"|[^{},]+/gs), ([bare, quoted]) => quoted?.replace(/\\(.)/gs, "$1") ?? bare);

/** The part of postgres.js's query that is needed to see it start and end. */
interface LazyQuery {
  strings: readonly string[];
  executed: boolean;
  handle(): unknown;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

/**
 * Whether an error means that the connection is gone: FATAL ends a session.
 * @see https://www.postgresql.org/docs/current/runtime-config-logging.html#RUNTIME-CONFIG-SEVERITY-LEVELS
 */
const isLoss = ({ severity, code }: { severity?: unknown; code?: unknown }): boolean =>
  severity === "FATAL" || severity === "PANIC" || /^(CONNECTION_|ECONN|EPIPE)/.test(String(code));

/**
 * Keeps the loss of a transaction's connection from postgres.js, which would answer it with a ROLLBACK on a socket that
 * is no more, and end the process with that (porsager/postgres#1208). It learns of the loss on its own, and rejects.
 */
async function unlessLost(body: unknown): Promise<unknown> {
  try {
    return await body;
  } catch (error) {
    if (isLoss(error as object)) return new Promise(() => {});
    throw error;
  }
}

/** Wraps a pool so that each query it really sends is one span, inside transactions too. A query built only to be a part of another is none. */
function traceQueries<S extends object>(sql: S): S {
  return new Proxy(sql, {
    apply(target, self, args) {
      const made = Reflect.apply(target as unknown as (...args: unknown[]) => unknown, self, args);
      if (Array.isArray((args[0] as { raw?: unknown })?.raw)) traceQuery(made as LazyQuery);
      return made;
    },
    get(target, key) {
      const value: unknown = Reflect.get(target, key);
      if ((key !== "begin" && key !== "savepoint") || typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const run = args.pop() as (transaction: object) => unknown;
        return value.call(target, ...args, (transaction: object) => unlessLost(run(traceQueries(transaction))));
      };
    },
  });
}

function traceQuery(query: LazyQuery): void {
  const { handle, resolve, reject } = query;
  query.handle = () => {
    if (!query.executed) {
      const span = startQuerySpan(query.strings.join("?"));
      query.resolve = (value) => {
        span.end();
        resolve(value);
      };
      query.reject = (reason) => {
        span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
        reject(reason);
      };
    }
    return handle.call(query);
  };
}

/** Runs in a transaction: a new one, or the one that `sql` is already. */
export const inTransaction = <T>(sql: Sql, run: (sql: Sql) => Promise<T>): Promise<T> =>
  "begin" in sql ? ((sql as Database).begin(run) as Promise<T>) : run(sql);
