import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Pool } from "pg";

const data = process.env.GATEHOUSE_DATA as string;

/** Connections to the embedded database of the house that is measured: as many as it has itself. */
export const pool = new Pool({
  host: join(data, "postgres", "run"),
  user: "gatehouse",
  password: await readFile(join(data, "postgres.password"), "utf8"),
  database: "postgres",
  max: 10,
});
