import { SpanStatusCode } from "@opentelemetry/api";
import type postgres from "postgres";
import { type Client, createClient, type Line } from "./line.ts";
import { Lines, SERVER } from "./lines.ts";
import { startQuerySpan } from "./telemetry.ts";

/** A row of which nothing is known. */
// biome-ignore lint/suspicious/noExplicitAny: what a column holds is for its reader to know
type Row = Record<string, any>;
/** Rows, and how many the statement has found or changed. */
type Rows<T> = T & { readonly count: number };
/** Part of a statement: text, and the values and other parts that go between. */
export type Fragment = object;

/** Runs SQL, by the tagged template of postgres.js: what stands in `${}` is a parameter, or a part made by the same. */
export interface Sql {
  /** A query: sent once, when it is first awaited. Until then it can become a part of another. */
  <T extends readonly object[] = Row[]>(strings: TemplateStringsArray, ...values: unknown[]): Promise<Rows<T>>;
  /** A name, such as a table's (`schema.table` too), or several between commas. */
  (names: string | readonly string[]): Fragment;
  /** What follows `insert into …`: the columns of a row, and its values. */
  (row: Readonly<Row>): Fragment;
  /** A value as jsonb. */
  json(value: unknown): Fragment;
  /** Runs text as it is; without parameters it may be several statements. */
  unsafe<T extends readonly object[] = Row[]>(text: string, values?: unknown[]): Promise<Rows<T>>;
}

/** A pool of connections. */
export interface Database extends Sql {
  /**
   * Runs in a transaction, on one connection; its queries are sent as they are asked, and done in turn. It is committed, if
   * nothing in it failed: an error that `run` caught is thrown all the same. It has an end when `run` has.
   * @param options.patient its queries take as long as they take
   */
  begin<T>(run: (sql: Sql) => Promise<T>, options?: { patient?: boolean }): Promise<T>;
  /**
   * The same pool, used in the name of a party. Connections are lent to the parties that wait in turn, one request each,
   * and one person holds at most 6 of the 8, by all their parties: whoever floods the pool, or holds a lock, delays the others by one turn.
   * @param party for example the id of a principal; without `as`, the party is `server`
   * @param options.urgent may also use one of three connections that are kept for this
   * @param options.still asked before a query that had to wait for a connection for a quarter of a second: what it throws, the
   * query throws, and is not sent
   * @throws QueueFullError from a query, where 1,000 requests of the party wait already; never for `server`
   */
  as(party: string, options?: { urgent?: boolean; still?: () => Promise<void> }): Database;
  /** Waits for what is under way, for so many milliseconds at most, and closes all connections. */
  end(graceMs?: number): Promise<void>;
}

/** Connections of the pool that serves calls: for all, and for what is urgent; and most of each that one person holds. */
const SHARES = { common: { connections: 8, most: 6 }, kept: { connections: 3, most: 1 } };
const JSONB = 3802;

type Result = postgres.RowList<postgres.Row[]>;
/** Asks a client something. */
type Ask = (client: Client) => Promise<Result>;
/** Sends a statement. @param text the statement, as far as it is known before it is sent */
type Send = (text: string, ask: Ask) => Promise<Result>;

/** `column` alone becomes camelCase: the keys inside json values stay. */
const camel = (name: string) => name.replace(/(?<!^)_(.)/g, (_all, letter: string) => letter.toUpperCase());

/** Makes parts of statements, and never connects. */
const parts = createClient({ host: "localhost", user: "nobody", database: "none" });

/**
 * Opens a pool, which connects when it is asked. Columns come as camelCase, moments as RFC 3339 text, numbers that may
 * not fit as text. Each query is one span.
 * @param address a `postgres://` URL; a unix socket's folder goes into `?host=`, as libpq has it. `?prepare=false` prepares
 * no statement, for a pooler that lends connections by the transaction
 */
export function openDatabase(address: string): Database {
  const lines = new Lines(address, SHARES, { transform: { column: { from: camel } } });
  const open = (party: string, urgent: boolean, still?: () => Promise<void>): Database => {
    const lend = <T>(run: (line: Line) => Promise<T>) => lines.lend({ party, urgent, still }, run);
    return Object.assign(
      createSql((_text, ask) => lend((line) => line.run(ask))),
      {
        begin: <T>(run: (sql: Sql) => Promise<T>, { patient = false } = {}) =>
          lend((line) => (patient ? lines.patiently(line, () => transact(line, run)) : transact(line, run))),
        as: (other: string, options: { urgent?: boolean; still?: () => Promise<void> } = {}) =>
          open(other, options.urgent ?? false, options.still),
        end: (graceMs?: number) => lines.end(graceMs),
      },
    );
  };
  return open(SERVER, false);
}

/** Makes the template of something that sends statements. */
function createSql(send: Send): Sql {
  const lazily = (query: object, text: string, ask: Ask) => {
    let sent: Promise<Result> | undefined;
    const sending = () => {
      sent ??= traced(text, () => send(text, ask));
      return sent;
    };
    // It stays a query of postgres.js, so that it can become a part of another; only how it is sent is ours.
    return Object.assign(query, {
      // biome-ignore lint/suspicious/noThenProperty: a query is sent when it is awaited
      then: ((done, failed) => sending().then(done, failed)) as Promise<Result>["then"],
      catch: ((failed) => sending().catch(failed)) as Promise<Result>["catch"],
      finally: ((settled) => sending().finally(settled)) as Promise<Result>["finally"],
    });
  };
  const sql = (first: TemplateStringsArray, ...values: never[]) => {
    const made = parts(first, ...values);
    return Array.isArray(first) && "raw" in first ? lazily(made, first.join("?"), (client) => client(first, ...values)) : made;
  };
  const rest: Pick<Sql, "json" | "unsafe"> = {
    json: (value) => parts.typed(JSON.stringify(value) as never, JSONB),
    unsafe: (text, values = []) =>
      lazily(parts.unsafe(text), text, (client) => client.unsafe(text, values as never[])) as unknown as Promise<never>,
  };
  return Object.assign(sql, rest) as unknown as Sql;
}

/** Runs a transaction on a connection. When the connection is lost, so is the transaction: nothing of it goes to another one. */
async function transact<T>(line: Line, run: (sql: Sql) => Promise<T>): Promise<T> {
  let over = false;
  let failed: unknown;
  const asked = new Set<Promise<unknown>>();
  const send: Send = (_text, ask) => {
    if (over) return Promise.reject(new Error("The transaction is over."));
    const sent = line.run(ask);
    asked.add(sent);
    sent
      .catch((error) => {
        failed ??= error;
      })
      .finally(() => asked.delete(sent));
    return sent;
  };
  const settled = async () => {
    while (asked.size > 0) await Promise.allSettled(asked);
  };
  // Not waited for: it goes with the first query. It fails only with the connection, and all that follows it then.
  send(line.begin, (client) => client.unsafe(line.begin)).catch(() => {});
  try {
    const made = await run(createSql(send));
    await settled();
    over = true;
    if (failed) throw failed;
    if ((await line.query("commit")).command !== "COMMIT") throw new Error("The transaction was rolled back.");
    return made;
  } catch (error) {
    over = true;
    await settled();
    // A connection that may be inside of a transaction must not be lent again.
    if (!line.lost) await line.query("rollback").catch((cause) => line.lose(cause));
    throw error;
  }
}

/** Runs a statement in a span. */
async function traced(text: string, run: () => Promise<Result>): Promise<Result> {
  const started = performance.now();
  let sent: string | undefined;
  let failed = false;
  try {
    const result = await run();
    sent = result.statement?.string;
    return result;
  } catch (error) {
    failed = true;
    sent = (error as { query?: string }).query;
    throw error;
  } finally {
    const span = startQuerySpan(sent ?? text, started);
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  }
}

/** Runs in a transaction: a new one, or the one that `sql` is already. */
export const inTransaction = <T>(sql: Sql, run: (sql: Sql) => Promise<T>): Promise<T> =>
  "begin" in sql ? (sql as Database).begin(run) : run(sql);
