import { openDatabase } from "@gatehouse/server";

// A program of its own, since what it counts would end the process of the tests: exceptions that no code can catch.
// Transactions on connections that the database ends every few milliseconds. It prints what came of them, as JSON.

const [address = ""] = process.argv.slice(2);
const PARTIES = 8;
const EACH = 60;

const codes: Record<string, number> = {};
const count = (code: string) => {
  codes[code] = (codes[code] ?? 0) + 1;
};
for (const name of ["uncaughtException", "unhandledRejection"]) process.on(name, (error) => count(`${name}: ${error}`));

const admin = openDatabase(address);
const sql = openDatabase(address);
await admin`create table pairs (id text, half int)`;

let on = true;
const ending = (async () => {
  while (on) {
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()`;
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20));
  }
})();

/** Asked at once and in turn, in short and long statements, new and prepared ones. */
async function writePair(party: string, i: number): Promise<void> {
  const id = `${party} ${i}`;
  await sql.as(party).begin(async (tx) => {
    await Promise.all([tx`insert into pairs values (${id}, 1)`, tx`select ${"long".repeat(500)}::text, ${i}::int`, tx`select ${id}::text`]);
    if (i % 3 === 0) await tx`select pg_sleep(0.005)`;
    await tx`insert into pairs values (${id}, 2)`.catch(() => {});
  });
}

const parties = Array.from({ length: PARTIES }, async (_, n) => {
  for (let i = 0; i < EACH; i++)
    await writePair(`p${n}`, i).then(
      () => count("done"),
      (error) => count(String(error.code)),
    );
});
await Promise.all(parties);
on = false;
await ending;
await sql.end();
const [halves] = await admin`
  select count(*) filter (where n <> 2)::int as half, count(*)::int as whole from (select count(*) as n from pairs group by id) as made`;
await admin.end();
process.stdout.write(JSON.stringify({ transactions: PARTIES * EACH, codes, ...halves }));
