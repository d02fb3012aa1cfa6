import type { Socket } from "node:net";
import { SpanStatusCode } from "@opentelemetry/api";
import { type Client, DatabaseError, Pool, type PoolClient, type PoolConfig, type QueryArrayResult, types } from "pg";
import { FairSemaphore, QueueFullError } from "./fair-semaphore.ts";
import { createSql, type Rows, type Sql, type Statement } from "./sql.ts";
import { startQuerySpan } from "./telemetry.ts";
import { isUnreachable } from "./unreachable.ts";

export type { Sql } from "./sql.ts";

/** A pool of connections. */
export interface Database extends Sql {
  /**
   * Runs in a transaction, on one connection; its queries follow each other, even if they are asked at once. It is
   * committed, if nothing in it failed: an error that `run` caught is thrown all the same. It has an end when `run` has.
   * @param options.patient its queries take as long as they take
   */
  begin<T>(run: (sql: Sql) => Promise<T>, options?: { patient?: boolean }): Promise<T>;
  /**
   * The same pool, used in the name of a party. Connections are lent to the parties that wait in turn, one request each,
   * and one party holds at most 6 of the 10: a party that floods the pool, or holds a lock, delays the others by one turn.
   * @param party for example the id of a principal; without `as`, the party is `server`
   * @param options.urgent may also use one of two connections that are kept for this
   * @throws QueueFullError from a query, where 1,000 requests of the party wait already
   */
  as(party: string, options?: { urgent?: boolean }): Database;
  /** Waits for what is under way, for so many milliseconds at most, and closes all connections. */
  end(graceMs?: number): Promise<void>;
}

/** Connections of the pool that serves calls: for all, and for what is urgent. */
const COMMON = 8;
const KEPT = 2;
/** Most of them that one party holds: of the common ones, and of the kept ones. */
const MOST_COMMON = 6;
const MOST_KEPT = 1;
/** Most requests of one party that wait for a connection. */
const MOST_WAITING = 1000;
/** Longest wait for a connection: for a new one, or for one of the pool to be free. */
const CONNECT_MS = 10_000;
/** Longest silence in the middle of a query, locks included: a database that is frozen says nothing, and closes nothing. */
const SILENCE_MS = 30_000;
const KEEPALIVE_MS = 10_000;
/** Most statements that a connection keeps prepared. */
const MAX_KEPT = 500;

type Result = QueryArrayResult<unknown[]>;

const parsers = {
  getTypeParser: (type: number) =>
    type === types.builtins.TIMESTAMPTZ ? (text: string) => new Date(text).toISOString() : types.getTypeParser(type),
};

/** What was prepared does not fit the database any more, or is not there. */
const STALE = /^(0A000|26000)$/;

/**
 * Opens a pool that connects when it is asked, and of which nothing waits for ever. Whoever waits for an answer is told of
 * a connection that is lost; what the driver tells besides would end the process.
 */
export function openPool(address: string, options: Pick<PoolConfig, "max" | "types">): Pool {
  const pool = new Pool({
    ...options,
    connectionString: address,
    connectionTimeoutMillis: CONNECT_MS,
    idleTimeoutMillis: SILENCE_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_MS,
  });
  return pool
    .on("error", () => {})
    .on("connect", (client) => {
      client.on("error", () => {});
      bound(client, SILENCE_MS);
    });
}

const streamOf = (client: PoolClient) => (client as PoolClient & Client).connection.stream as Socket;

/** Ends a connection of which nothing is heard for so long; 0 = never. One that is idle is closed by then. */
function bound(client: PoolClient, silenceMs: number): void {
  const stream = streamOf(client);
  stream.removeAllListeners("timeout");
  stream.setTimeout(silenceMs, () => stream.destroy(Object.assign(new Error("No answer from the database."), { code: "ETIMEDOUT" })));
}

/**
 * Opens a pool, which connects when it is asked. Columns come as camelCase, moments as RFC 3339 text, numbers that may
 * not fit as text. Each query is one span.
 * @param address a `postgres://` URL; a unix socket's folder goes into `?host=`, as libpq has it. `?prepare=false` prepares
 * no statement, for a pooler that lends connections by the transaction
 */
export function openDatabase(address: string): Database {
  const pool = openPool(address, { max: COMMON + KEPT, types: parsers });
  const names = new URL(address).searchParams.get("prepare") === "false" ? undefined : new Map<string, string>();
  const lent = new Set<Line>();

  const common = new FairSemaphore(COMMON, MOST_COMMON, MOST_WAITING);
  const kept = new FairSemaphore(KEPT, MOST_KEPT, MOST_WAITING);

  /** Opens the pool to one party. */
  function open(party: string, queues: FairSemaphore[]): Database {
    async function lend<T>(run: (line: Line) => Promise<T>): Promise<T> {
      const release = await acquire(party, queues);
      try {
        const line = new Line(await pool.connect(), names);
        lent.add(line);
        try {
          return await run(line);
        } finally {
          lent.delete(line);
          line.giveBack();
        }
      } finally {
        release();
      }
    }
    return Object.assign(
      createSql((statement) => traced(statement, () => lend((line) => line.run(statement)))),
      {
        begin: <T>(run: (sql: Sql) => Promise<T>, { patient = false } = {}) =>
          lend((line) => (patient ? line.patiently(() => transact(line, run)) : transact(line, run))),
        as: (other: string, { urgent = false } = {}) => open(other, urgent ? [common, kept] : [common]),
        async end(graceMs?: number) {
          const ended = pool.end();
          const cut = () => {
            for (const line of lent) line.cut();
          };
          const timer = graceMs === undefined ? undefined : setTimeout(cut, graceMs);
          await ended.finally(() => clearTimeout(timer));
        },
      },
    );
  }
  return open("server", [common]);
}

/** Waits for a permit of any of these semaphores. @returns how to release it */
function acquire(party: string, queues: FairSemaphore[]): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const open = queues.filter((queue) => !queue.isFull(party));
    if (open.length === 0) return reject(new QueueFullError("Too many requests of this party wait for the database."));
    const cancels: (() => void)[] = [];
    const settle = () => {
      clearTimeout(timer);
      for (const cancel of cancels) cancel();
    };
    const timer = setTimeout(() => {
      settle();
      reject(new Error("timeout exceeded when trying to connect"));
    }, CONNECT_MS);
    let granted = false;
    for (const queue of open) {
      if (granted) return;
      const cancel = queue.request(party, (release) => {
        granted = true;
        settle();
        resolve(release);
      });
      cancels.push(cancel);
    }
  });
}

/** A connection, while it is lent. */
class Line {
  readonly #client: PoolClient;
  readonly #names: Map<string, string> | undefined;
  /** Why it can't be used any more. */
  lost: Error | undefined;

  constructor(client: PoolClient, names: Map<string, string> | undefined) {
    this.#client = client;
    this.#names = names;
  }

  async run({ text, values, kept }: Statement): Promise<Result> {
    if (this.lost) throw this.lost;
    const name = kept ? this.#nameOf(text) : undefined;
    const query = { text, values, name, rowMode: "array" as const };
    try {
      const result: Result | Result[] = await this.#client.query(query);
      return Array.isArray(result) ? (result.at(-1) as Result) : result;
    } catch (error) {
      if (!(error instanceof DatabaseError) || isUnreachable(error) || STALE.test(String(error.code))) this.lost = error as Error;
      throw error;
    }
  }

  /** Ends what goes on there, whatever it is. */
  cut(): void {
    streamOf(this.#client).destroy();
  }

  /** Lets the database take its time for something. */
  async patiently<T>(run: () => Promise<T>): Promise<T> {
    bound(this.#client, 0);
    return run().finally(() => bound(this.#client, SILENCE_MS));
  }

  giveBack(): void {
    this.#client.release(this.lost);
  }

  #nameOf(text: string): string | undefined {
    const known = this.#names?.get(text);
    if (known || !this.#names || this.#names.size >= MAX_KEPT) return known;
    const name = `g${this.#names.size}`;
    this.#names.set(text, name);
    return name;
  }
}

/** Runs a transaction on a connection. What ends the connection, ends it; nothing of it goes anywhere else. */
async function transact<T>(line: Line, run: (sql: Sql) => Promise<T>): Promise<T> {
  const command = async (text: string) => (await line.run({ text, values: [], kept: false })).command;
  await command("begin");
  let over = false;
  let failed: unknown;
  let last: Promise<unknown> = Promise.resolve();
  const next = (statement: Statement): Promise<Result> => {
    const sent = last.then(() => {
      if (over) throw new Error("The transaction is over.");
      return line.run(statement);
    });
    last = sent.catch((error) => {
      failed ??= error;
    });
    return sent;
  };
  try {
    const made = await run(createSql((statement) => traced(statement, () => next(statement))));
    await last;
    over = true;
    if (failed) throw failed;
    if ((await command("commit")) !== "COMMIT") throw new Error("The transaction was rolled back.");
    return made;
  } catch (error) {
    over = true;
    await last;
    if (!line.lost)
      await command("rollback").catch((cause) => {
        line.lost = cause; // nobody may get a connection that is inside of a transaction
      });
    throw error;
  }
}

/** Runs a statement in a span. */
async function traced(statement: Statement, run: () => Promise<Result>): Promise<Rows> {
  const span = startQuerySpan(statement.text);
  try {
    return rowsOf(await run());
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
}

/** `column` alone becomes camelCase: the keys inside json values stay. */
function rowsOf({ fields, rows, rowCount }: Result): Rows {
  const names = fields.map(({ name }) => name.replace(/(?<!^)_(.)/g, (_all, letter: string) => letter.toUpperCase()));
  const made = rows.map((values) => {
    const row: Record<string, unknown> = {};
    for (let i = 0; i < names.length; i++) row[names[i] as string] = values[i];
    return row;
  });
  return Object.defineProperty(made, "count", { value: rowCount ?? 0 }) as unknown as Rows;
}

/** Runs in a transaction: a new one, or the one that `sql` is already. */
export const inTransaction = <T>(sql: Sql, run: (sql: Sql) => Promise<T>): Promise<T> =>
  "begin" in sql ? (sql as Database).begin(run) : run(sql);
