/**
 * postgres.js, as the server uses it, beside pg, as it would be used: the same statements on pools of the same size, turn by
 * turn. Reads, transactions, and what a loss of all connections costs. Ratios: above 1, postgres.js does more, or is sooner.
 */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "pg";
import { readConfig } from "../packages/server/src/config.ts";
import { openConfiguredDatabase } from "../packages/server/src/database.ts";
import { openDatabase } from "../packages/server/src/db.ts";

const ROUNDS = 8;
const READS = 1500;
const TRANSACTIONS = 300;
const CALLERS = 16;
const LOSSES = 10;
/** As many as one caller may hold of the server's pool. */
const CONNECTIONS = 6;

interface Driver {
  name: string;
  read(id: number): Promise<unknown>;
  change(id: number): Promise<unknown>;
  end(): Promise<void>;
}

const READ = "select id, name, meta, at from things where id = $1";
const CHANGE = "update things set n = n + 1 where id = $1";

function openPg(connectionString: string): Driver {
  const pool = new Pool({ connectionString, max: CONNECTIONS });
  pool.on("error", () => {});
  return {
    name: "pg",
    read: (id) => pool.query({ name: "read", text: READ, values: [id] }),
    async change(id) {
      const client = await pool.connect();
      let failed: Error | undefined;
      try {
        await client.query("begin");
        await client.query({ name: "read", text: READ, values: [id] });
        await client.query({ name: "change", text: CHANGE, values: [id] });
        await client.query("commit");
      } catch (error) {
        failed = error as Error;
        throw error;
      } finally {
        client.release(failed);
      }
    },
    end: () => pool.end(),
  };
}

function openPostgres(address: string): Driver {
  const sql = openDatabase(address);
  return {
    name: "postgres",
    read: (id) => sql`select id, name, meta, at from things where id = ${id}`,
    change: (id) =>
      sql.begin(async (tx) => {
        await tx`select id, name, meta, at from things where id = ${id}`;
        await tx`update things set n = n + 1 where id = ${id}`;
      }),
    end: () => sql.end(),
  };
}

/** Does something so many times, by callers who never pause. @returns how many in a second */
async function rate(times: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const callers = Array.from({ length: CALLERS }, async () => {
    for (let i = next++; i < times; i = next++) await work(i % 1000);
  });
  await Promise.all(callers);
  return (times / (performance.now() - start)) * 1000;
}

/** Ends all connections. @returns how long until each caller is answered again, and what failed meanwhile */
async function lose({ read }: Driver, endAll: () => PromiseLike<unknown>): Promise<{ ms: number; failed: number }> {
  // Lines that the other driver's loss ended fail these, which is not what is measured here.
  await rate(CALLERS * 2, () => read(1).catch(() => {}));
  await endAll();
  const start = performance.now();
  let failed = 0;
  const isAnswered = () =>
    read(1).then(
      () => true,
      () => {
        failed++;
        return false;
      },
    );
  const back = async () => {
    while (!(await isAnswered()));
  };
  await Promise.all(Array.from({ length: CALLERS }, back));
  return { ms: performance.now() - start, failed };
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
const database = await openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
try {
  await database.sql.unsafe(`
    create table things (id int primary key, name text, meta jsonb, at timestamptz, n int);
    insert into things select i, 'thing ' || i, '{"a": 1}', now(), 0 from generate_series(0, 999) i`);
  const drivers = [openPg(database.address), openPostgres(database.address)];
  const endAll = () =>
    database.sql`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`;
  const measured = drivers.map((driver) => ({ driver, reads: [] as number[], changes: [] as number[], back: [] as number[], failed: 0 }));
  for (let round = -1; round < ROUNDS; round++)
    for (const { driver, reads, changes } of measured) {
      const [read, change] = [await rate(READS, driver.read), await rate(TRANSACTIONS, driver.change)];
      if (round < 0) continue; // warms up
      reads.push(read);
      changes.push(change);
    }
  for (let loss = 0; loss < LOSSES; loss++)
    for (const each of measured) {
      const { ms, failed } = await lose(each.driver, endAll);
      each.back.push(ms);
      each.failed += failed;
    }
  const [pg, ours] = measured as [(typeof measured)[number], (typeof measured)[number]];
  const ratio = (of: "reads" | "changes") => (median(ours[of]) / median(pg[of])).toFixed(2);
  console.log(`postgres beside pg, ${CALLERS} callers on ${CONNECTIONS} connections, medians of ${ROUNDS} rounds`);
  console.log(`  reads:         × ${ratio("reads")}`);
  console.log(`  transactions:  × ${ratio("changes")} (begin, read, write, commit)`);
  console.log(`  after a loss:  all are answered again × ${(median(pg.back) / median(ours.back)).toFixed(2)} as soon`);
  for (const { driver, failed } of measured)
    console.log(`    of ${LOSSES * CALLERS} callers, reads of ${driver.name} that failed: ${failed}`);
  for (const { driver } of measured) await driver.end();
} finally {
  await database.close();
  await rm(folder, { recursive: true, force: true });
}
