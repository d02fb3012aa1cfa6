import { openDatabase } from "@gatehouse/server";
import { startTestServer, type TestServer } from "./harness.ts";
import { until } from "./run.ts";

/**
 * Counts the rows of each table that a server of its own reads for one call. Nothing else may be on the database: a connection tells
 * what it read when it likes to, and at the latest when it ends.
 */
export async function rowsRead(databaseUrl: string, call: (server: TestServer) => Promise<unknown>): Promise<Record<string, number>> {
  const sql = openDatabase(databaseUrl);
  const alone = () =>
    until("nobody else is on the database", async () => {
      const others = await sql`
        select from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`;
      return others.length === 0;
    });
  try {
    await alone();
    await sql`select pg_stat_reset()`;
    const server = await startTestServer({ DATABASE_URL: databaseUrl });
    await call(server).finally(() => server.close());
    await alone();
    const tables = await sql<{ name: string; read: number }[]>`
      select t.relname as name, (t.seq_tup_read + coalesce(sum(i.idx_tup_read), 0))::integer as read
      from pg_stat_user_tables t left join pg_stat_user_indexes i using (relid) where t.schemaname = 'public' group by t.relid, t.relname, t.seq_tup_read`;
    return Object.fromEntries(tables.map(({ name, read }) => [name, read]));
  } finally {
    await sql.end();
  }
}
