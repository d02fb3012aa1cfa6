/**
 * What it costs to read the authority of a member with 1,000 groups, as the grants of the others grow a hundredfold:
 * beside a plain reading of all grants of the space, which is what must not happen. Turn by turn; the results are
 * ratios, and the exponent of the growth (0 = flat, 1 = in proportion).
 */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tapWire } from "../e2e/wire.ts";
import { readConfig } from "../packages/server/src/config.ts";
import { openConfiguredDatabase } from "../packages/server/src/database.ts";
import { openDatabase, type Sql } from "../packages/server/src/db.ts";
import { migrate } from "../packages/server/src/migrate.ts";
import { readStanding } from "../packages/server/src/standing.ts";
import { type Crowd, makeCrowd } from "./crowd.ts";

const GROUPS = 1000;
const GRANTS = [1000, 10_000, 100_000];
const ROUNDS = 200;
/** The plain reading is slow: it is done once in so many rounds. */
const PLAIN_EVERY = 10;

const authority = (sql: Sql, { space, member }: Crowd) =>
  readStanding(sql, { slug: space.slug }, { principal: { id: member }, credential: { ceiling: null } });
const plainly = (sql: Sql, { space }: Crowd) => sql`select principal_id, permission from grants where space_id = ${space.id}`;

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
async function timed(run: () => PromiseLike<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
const database = await openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
try {
  const crowds = [];
  for (const grants of GRANTS) {
    await database.sql.unsafe(`create database crowd_${grants}`);
    const wire = await tapWire(Object.assign(new URL(database.address), { pathname: `/crowd_${grants}` }).href);
    const sql = openDatabase(wire.url);
    await migrate(sql);
    crowds.push({
      grants,
      wire,
      sql,
      crowd: await makeCrowd(sql, { groups: GROUPS, grants }),
      times: [] as number[],
      plain: [] as number[],
    });
  }
  // Half as many rounds first, to warm up.
  for (let round = -ROUNDS / 2; round < ROUNDS; round++)
    for (const { sql, crowd, times, plain } of crowds) {
      const time = await timed(() => authority(sql, crowd));
      if (round >= 0) times.push(time);
      if (round >= 0 && round % PLAIN_EVERY === 0) plain.push(await timed(() => plainly(sql, crowd)));
    }

  const [first, last] = [crowds[0], crowds.at(-1)] as [(typeof crowds)[number], (typeof crowds)[number]];
  const trips = await Promise.all(crowds.map(({ wire, sql, crowd }) => wire.during(() => authority(sql, crowd))));
  const growth = (of: "times" | "plain") => {
    const ratio = median(last[of]) / median(first[of]);
    const exponent = Math.log(ratio) / Math.log(last.grants / first.grants);
    return `× ${ratio.toFixed(2)} (grows with their number to the power of ${exponent.toFixed(2)})`;
  };
  console.log(`authority of a member of ${GROUPS} groups: ${[...new Set(trips)].join(" or ")} round trip`);
  for (const { grants, times } of crowds)
    console.log(`  others hold ${String(grants).padStart(6)} grants: × ${(median(times) / median(first.times)).toFixed(2)}`);
  console.log(`  as their grants grow ${last.grants / first.grants}-fold, its cost grows ${growth("times")}`);
  console.log(
    `  that of reading all grants of the space grows ${growth("plain")} (medians of ${ROUNDS} and ${ROUNDS / PLAIN_EVERY} rounds)`,
  );
  for (const { sql, wire } of crowds) {
    await sql.end();
    await wire.close();
  }
} finally {
  await database.close();
  await rm(folder, { recursive: true, force: true });
}
