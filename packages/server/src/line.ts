import { connect, type Socket } from "node:net";
import postgres from "postgres";
import { readAddress } from "./address.ts";
import { applySettings, BEGIN, STARTUP } from "./session-settings.ts";
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
  delete process.env.PGTARGETSESSIONATTRS; // postgres.js reads this one even where it is told
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
    // A pooler that lends connections by the transaction would lend a session's settings to other clients.
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

  /** Connects. @throws why it could not connect, after 10 s at the latest */
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

  /** Runs a query on the client. It fails as soon as the connection is lost, whatever the client does. */
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
          // An error that is not about the statement leaves the connection in an unknown state.
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

  /** Calls back when nothing was sent or received for `ms`; 0 = never. */
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
    // Not awaited: the promise of `end()` may never settle.
    this.#client.end().catch(() => {});
    await this.gone;
    clearTimeout(timer);
  }
}
