import { expect } from "vitest";
import type { TestServer } from "./harness.ts";

/** What a call came to, in one word. */
export const codeOf = ({ error }: { error?: { data: { code: string } } }) => error?.data.code ?? "ok";

export const countBy = (codes: string[]) =>
  Object.fromEntries(Object.entries(Object.groupBy(codes, (code) => code)).map(([code, all]) => [code, all?.length]));

/** Holds the rows that a query locks, so that whoever wants them waits, in the order of their coming. */
export async function whileLocked(
  sql: TestServer["sql"],
  lock: string,
  id: string,
  run: (waiting: (count: number) => Promise<void>) => void | Promise<void>,
) {
  await sql.begin(async (tx) => {
    await tx.unsafe(lock, [id]);
    await run(async (count) => {
      const blocked = () =>
        sql<
          { pid: number }[]
        >`select pid from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`;
      await expect.poll(async () => (await blocked()).length, { timeout: 10_000 }).toBe(count);
    });
  });
}

/** The number of statements that wait for a lock. */
export const waiting = async (sql: TestServer["sql"]): Promise<number> =>
  (await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length;

/** What must be so in any database at any moment, whatever raced: one line for each breach. */
export async function breaches(sql: TestServer["sql"]): Promise<string[]> {
  const rows = await sql<{ breach: string }[]>`
    select 'space without an admin: ' || s.id as breach from spaces s where not exists (
      select from members m join principals p on p.id = m.principal_id and p.kind = 'u' where m.space_id = s.id and m.admin)
    union all select 'agent without an owner: ' || a.id from principals a
      where a.kind = 'a' and not exists (select from principals o where o.id = a.owner_id and o.kind in ('u', 'g'))
    union all select 'group of no space: ' || g.id from principals g
      where g.kind = 'g' and not exists (select from spaces s where s.id = g.space_id)
    union all select 'tied to no key: ' || t.key_id from (
      select key_id from members union select key_id from group_members union select key_id from grants union select key_id from invites) t
      where t.key_id is not null and not exists (select from api_keys k where k.id = t.key_id)
    union all select 'given to nobody: ' || t.principal_id from (
      select principal_id from members union select principal_id from group_members union select principal_id from grants
      union select principal_id from api_keys) t
      where not exists (select from principals p where p.id = t.principal_id)
    union all select 'offered to its owner: ' || f.agent_id from agent_offers f join principals a on a.id = f.agent_id where a.owner_id = f.to_id
    union all select 'key of a wrong kind: ' || k.id from api_keys k join principals p on p.id = k.principal_id where p.kind = 'g'`;
  return rows.map(({ breach }) => breach);
}
