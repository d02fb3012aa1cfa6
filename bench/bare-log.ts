/** The least that keeps and streams: server-sent events from memory, and a batch of rows for each that is asked to be kept. */

import type { ServerResponse } from "node:http";
import Fastify from "fastify";
import { pool } from "./bare-pool.ts";

await pool.query("create table bare (id bigint generated always as identity primary key, session text, data jsonb)");
const INSERT = "insert into bare (session, data) select $1, c from jsonb_array_elements($2) c";

const readers = new Map<string, Set<ServerResponse>>();
const app = Fastify();
app.post("/keep/:session", async (request) => {
  const { session } = request.params as { session: string };
  const { chunks } = request.body as { chunks: object[] };
  await pool.query({ name: "insert", text: INSERT, values: [session, JSON.stringify(chunks)] });
  return { kept: chunks.length };
});
app.post("/say/:session", async (request) => {
  const { session } = request.params as { session: string };
  for (const reader of readers.get(session) ?? []) reader.write(`event: chunks\ndata: ${JSON.stringify(request.body)}\n\n`);
  return {};
});
app.get("/out/:session", (request, reply) => {
  const { session } = request.params as { session: string };
  const those = readers.get(session) ?? new Set();
  readers.set(session, those.add(reply.raw));
  reply.raw.on("close", () => those.delete(reply.raw));
  reply.hijack();
  reply.raw.writeHead(200, { "content-type": "text/event-stream" });
  reply.raw.write(": open\n\n");
});
console.log(await app.listen({ port: 0, host: "127.0.0.1" }));
