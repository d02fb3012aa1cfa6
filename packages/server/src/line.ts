import { connect, type Socket } from "node:net";
import postgres from "postgres";
import { readAddress } from "./address.ts";
import { isUnreachable } from "./unreachable.ts";
import { valueTypes } from "./values.ts";

/** Longest wait for a new connection. */
export const CONNECT_MS = 10_000;
/** Longest that a connection that is closed politely is waited for. */
const GOODBYE_MS = 1000;
const KEEPALIVE_SECONDS = 10;

/** A client of postgres.js. */
export type Client = postgres.Sql;
type Column = { column?: { from: (name: string) => string } };

/**
 * A client of one connection. It is told everything: what it is not told, postgres.js reads from `PG*` variables.
 */
export function createClient(options: object): Client {
  delete process.env.PGTARGETSESSIONATTRS; // reads this one in any case
  const own = {
    max: 1,
    fetch_types: false,
    idle_timeout: 0,
    connect_timeout: 0,
    max_lifetime: 0,
    max_pipeline: 100,
    backoff: false,
    keep_alive: KEEPALIVE_SECONDS,
    debug: false,
    publications: "",
  };
  return postgres({ ...own, ...options } as postgres.Options<Record<string, never>>) as unknown as Client;
}

/** How a connection is used. */
export interface LineOptions {
  /** What its session is called in `pg_stat_activity`. */
  name?: string;
  /** What a `timestamptz` becomes: RFC 3339 text, unless said otherwise. */
  readMoment?: (text: string) => unknown;
  /** What a column is called in rows. */
  transform?: Column;
  onNotify?: (channel: string, payload: string) => void;
}

/** The connection is closed, or was given up. */
class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly code: string;

  constructor(code: "ECONNRESET" | "ETIMEDOUT", message: string) {
    super(message);
    this.code = code;
  }
}
export const connectionLost = () => new ConnectionError("ECONNRESET", "The connection to the database was lost.");
export const noAnswer = () => new ConnectionError("ETIMEDOUT", "No answer from the database: the connection to it was given up.");

/** A moment as RFC 3339 text, in UTC. */
const rfc3339 = (text: string) => new Date(text).toISOString();

/**
 * What our statements rely on, whatever the database or the role has been set to. `search_path` is the operator's: it says in
 * which schema our tables are.
 */
const SETTINGS = {
  bytea_output: "hex",
  extra_float_digits: "1",
  intervalstyle: "postgres",
  array_nulls: "on",
  transform_null_equals: "off",
  default_transaction_isolation: "read committed",
  default_transaction_read_only: "off",
  default_transaction_deferrable: "off",
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0",
  transaction_timeout: "0",
};
/** The ones of them that this version of Postgres has. */
const applySettings = (local: boolean) =>
  `select set_config(name, value, ${local}) from (values ${Object.entries(SETTINGS)
    .map(([name, value]) => `('${name}', '${value}')`)
    .join(", ")}) as wanted (name, value) where current_setting(name, true) is not null`;
/** A pooler may send a startup parameter on for each transaction, but only these. */
const STARTUP = { client_encoding: "UTF8", DateStyle: "ISO", TimeZone: "UTC", standard_conforming_strings: "on" };
const BEGIN = "begin isolation level read committed read write";

/**
 * One connection: a client of postgres.js that never opens a second one. When its connection is lost, everything that was
 * asked on it fails, and nothing can be asked on it any more.
 */
export class Line {
  /** Why it can't be used any more. */
  lost: Error | undefined;
  /** Resolves when it can't be used any more. */
  readonly gone: Promise<Error>;
  /** What begins a transaction there. */
  readonly begin: string;
  readonly #prepare: boolean;
  readonly #client: Client;
  readonly #waiting = new Set<(lost: Error) => void>();
  #settle: (lost: Error) => void = () => {};
  #socket: Socket | undefined;

  constructor(address: string, { name = "gatehouse", readMoment = rfc3339, transform = {}, onNotify }: LineOptions = {}) {
    const { target, user, password, database, tls, prepare, options } = readAddress(address);
    this.gone = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#prepare = prepare;
    // Who lends connections by the transaction would lend what is set for the session to others.
    this.begin = prepare ? BEGIN : `${BEGIN}; ${applySettings(true)}`;
    this.#client = createClient({
      host: [target.host ?? "localhost"],
      port: [target.port ?? 0],
      user,
      pass: () => password,
      database,
      ssl: tls,
      sslnegotiation: null,
      prepare,
      types: valueTypes(readMoment),
      transform,
      connection: { application_name: name, ...STARTUP, ...(options && { options }) },
      onnotice: () => {},
      onnotify: onNotify,
      onclose: () => this.lose(connectionLost()),
      socket: () => this.#dial(target),
    });
  }

  /** Opens the socket, once: a client that would connect anew is refused. */
  #dial(target: ReturnType<typeof readAddress>["target"]): Socket {
    if (this.#socket || this.lost) throw this.lost ?? connectionLost();
    this.#socket = connect(target).on("error", (error) => this.lose(error));
    return this.#socket;
  }

  /** Connects. @throws what it could not be opened for, after 10 s at the latest */
  async open(): Promise<this> {
    const timer = setTimeout(() => this.lose(noAnswer()), CONNECT_MS);
    try {
      await this.query(this.#prepare ? applySettings(false) : "select");
      return this;
    } catch (error) {
      this.lose(error as Error);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs what is asked of the client. It fails with the connection, at once, whatever the client does. */
  run<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.lost) return reject(this.lost);
      this.#waiting.add(reject);
      const done = () => this.#waiting.delete(reject);
      ask(this.#client).then(
        (rows) => {
          done();
          resolve(rows);
        },
        (error) => {
          done();
          // What is not about a statement leaves a connection of which nothing is known.
          if (!(error instanceof postgres.PostgresError) || isUnreachable(error)) this.lose(error);
          reject(error);
        },
      );
    });
  }

  /** Runs text, with parameters or without. */
  query(text: string, parameters: unknown[] = []): Promise<postgres.RowList<postgres.Row[]>> {
    return this.run((client) => client.unsafe(text, parameters as never[], { prepare: parameters.length > 0 }));
  }

  /** Does something when nothing is heard or said for so long; 0 = never. */
  onSilence(ms: number, then: () => void = () => {}): void {
    this.#socket?.removeAllListeners("timeout").setTimeout(ms, then);
  }

  /** Gives it up. */
  lose(error: Error): void {
    if (this.lost) return;
    this.lost = error;
    this.#socket?.destroy();
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
    this.#settle(error);
  }

  /** Closes it as the protocol has it; one that does not answer is given up. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.lose(connectionLost()), GOODBYE_MS);
    // The client may never tell that it has ended: its connection does.
    this.#client.end().catch(() => {});
    await this.gone;
    clearTimeout(timer);
  }
}
