import type { Config } from "./config.ts";
import { type Database, openDatabase } from "./db.ts";
import { startEmbedded } from "./postgres/embedded.ts";

/** What a server needs is not to be had. The message says what. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** How long a server that stops waits for the queries that are under way. */
const GRACE_MS = 5000;

/** A database that is up, whoever runs it. */
export interface OpenDatabase {
  address: string;
  /** Where it is, for people: never the address, which may hold a password. */
  place: string;
  sql: Database;
  /** Resolves when an embedded one that was started here has ended by itself. One of DATABASE_URL may come back. */
  failed: Promise<Error>;
  close(): Promise<void>;
}

/**
 * Opens the database that the settings name, starting the embedded one where they name none.
 * @param options.join whether an embedded one that a server runs already may be used beside it
 */
export async function openConfiguredDatabase(config: Config, options: { join?: boolean } = {}): Promise<OpenDatabase> {
  const embedded = config.databaseUrl === undefined ? await startEmbedded(config.dataDir, options) : undefined;
  const address = embedded?.address ?? (config.databaseUrl as string);
  const sql = openDatabase(address);
  if (!embedded)
    await sql`select`.catch(async (cause: Error) => {
      await sql.end(0);
      throw new StartError(`The database of DATABASE_URL can't be used: ${cause.message}.`, { cause });
    });
  return {
    address,
    place: embedded?.home ?? "DATABASE_URL",
    sql,
    failed: embedded?.failed ?? new Promise(() => {}),
    async close() {
      await sql.end(GRACE_MS);
      await embedded?.stop();
    },
  };
}
