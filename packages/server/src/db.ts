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

/** Opens the pool that serves calls. Columns come as camelCase, moments as RFC 3339 text; each query is one span. */
export function openDatabase(address: string): Database {
  return traceQueries(
    connect(address, {
      max: POOL_SIZE,
      // `column` alone: the whole camel transform would also rewrite the keys inside json values.
      transform: { column: postgres.toCamel },
      types: {
        moment: {
          to: TIMESTAMPTZ,
          from: [TIMESTAMPTZ],
          serialize: (value: string) => value,
          parse: (text: string) => new Date(text).toISOString(),
        },
      },
    }),
  );
}

/** The part of postgres.js's query that is needed to see it start and end. */
interface LazyQuery {
  strings: readonly string[];
  executed: boolean;
  handle(): unknown;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
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
        return value.call(target, ...args, (transaction: object) => run(traceQueries(transaction)));
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
