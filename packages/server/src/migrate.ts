import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Database } from "./db.ts";

/** The database and this version of Gatehouse do not fit. The message says what to do. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

/** The advisory lock that servers starting together take turns on: an arbitrary number, the same in all. */
const LOCK = 7_070_001;
const FOLDER = join(import.meta.dirname, "migrations");

interface Migration {
  id: number;
  name: string;
  checksum: string;
  text: string;
}

/**
 * Brings the database up to date, in one transaction, one server at a time.
 * @param folder where the migrations lie: `NNNN_name.sql`
 * @returns the names of the migrations that were applied
 * @throws MigrationError when an applied migration was changed since, or is unknown here
 */
export async function migrate(sql: Database, folder = FOLDER): Promise<string[]> {
  const migrations = await readMigrations(folder);
  return sql.begin(
    async (tx) => {
      await tx`select pg_advisory_xact_lock(${LOCK})`;
      await tx`create table if not exists migrations (
      id integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`;
      const applied = await tx<Omit<Migration, "text">[]>`select id, name, checksum from migrations order by id`;
      check(migrations, applied);
      const pending = migrations.slice(applied.length);
      for (const { id, name, checksum, text } of pending) {
        await tx.unsafe(text);
        await tx`insert into migrations (id, name, checksum) values (${id}, ${name}, ${checksum})`;
      }
      return pending.map(({ name }) => name);
    },
    { patient: true },
  );
}

/** Whether the database is as this version wants it. */
export async function upToDate(sql: Database, folder = FOLDER): Promise<boolean> {
  const migrations = await readMigrations(folder);
  const applied = await sql<Omit<Migration, "text">[]>`select id, name, checksum from migrations order by id`;
  check(migrations, applied);
  return applied.length === migrations.length;
}

function check(migrations: Migration[], applied: Omit<Migration, "text">[]): void {
  for (const [i, { name, checksum }] of applied.entries()) {
    const known = migrations[i];
    if (!known)
      throw new MigrationError(
        `The database has migration ${name}, which this version does not know. Run the newer Gatehouse that made it.`,
      );
    if (known.name !== name || known.checksum !== checksum)
      throw new MigrationError(`Migration ${name} was changed after it was applied. Restore its file; put changes into a new migration.`);
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).sort();
  return Promise.all(
    files.map(async (file, i) => {
      const text = await readFile(join(folder, file), "utf8");
      return { id: i + 1, name: file.replace(/\.sql$/, ""), checksum: createHash("sha256").update(text).digest("hex"), text };
    }),
  );
}
