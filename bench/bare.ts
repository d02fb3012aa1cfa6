/** The least that could answer the same call: the same framework, driver and kind of query, and no door. */
import { createHash } from "node:crypto";
import Fastify from "fastify";
import { pool } from "./bare-pool.ts";

const QUERY = "select p.id, p.kind, p.name from api_keys k join principals p on p.id = k.principal_id where k.hash = $1";

const app = Fastify();
app.post("/", async (request) => {
  const key = request.headers.authorization?.slice(7) ?? "";
  const hash = new Uint8Array(createHash("sha256").update(key).digest());
  const { rows } = await pool.query({ name: "key", text: QUERY, values: [hash] });
  return { jsonrpc: "2.0", id: (request.body as { id: number }).id, result: rows[0] };
});
console.log(await app.listen({ port: 0, host: "127.0.0.1" }));
