/** The least that could answer the same call: the same framework, driver and kind of query, and no door. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import Fastify from "fastify";
import postgres from "postgres";

const data = process.env.GATEHOUSE_DATA as string;
const sql = postgres({
  host: join(data, "postgres", "run"),
  username: "gatehouse",
  password: await readFile(join(data, "postgres.password"), "utf8"),
  database: "postgres",
  max: 10,
});
const app = Fastify();
app.post("/", async (request) => {
  const key = request.headers.authorization?.slice(7) ?? "";
  const hash = new Uint8Array(createHash("sha256").update(key).digest());
  const [row] = await sql`select p.id, p.kind, p.name from api_keys k join principals p on p.id = k.principal_id where k.hash = ${hash}`;
  return { jsonrpc: "2.0", id: (request.body as { id: number }).id, result: row };
});
console.log(await app.listen({ port: 0, host: "127.0.0.1" }));
