import { openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answered, startObserved } from "./observed.ts";
import type { ReceivedSpan } from "./receiver.ts";

let change: Answered;
let denial: Answered;
let sql: ReturnType<typeof openDatabase>;
let spans: ReceivedSpan[];
beforeAll(async () => {
  const observed = await startObserved({ email: "ada@example.com", name: "Ada", password: "correct horse battery" });
  const { post, session } = observed;
  const call = (method: string, params: object) => ({ jsonrpc: "2.0", id: 1, method, params });
  change = await post(session, call("agent.create", { name: "bot" }));
  const key = await post(session, call("apiKey.create", { name: "k", agent: change.body.result.id }));
  denial = await post(key.body.result.key, call("agent.create", { name: "another" }));
  sql = openDatabase(observed.databaseUrl);
  ({ spans } = await observed.over());
});
afterAll(() => sql.end());

test("an entry names the trace that its call is in", async () => {
  for (const [table, { requestId }] of [
    ["audit", change],
    ["audit_denials", denial],
  ] as const) {
    const entries = await sql`select method, trace_id from ${sql(table)} where request_id = ${requestId}`;
    const traces = spans.filter(({ attributes }) => attributes["gatehouse.request.id"] === requestId).map(({ traceId }) => traceId);
    expect(traces).toHaveLength(1);
    expect([...entries]).toEqual([{ method: "agent.create", traceId: traces[0] }]);
  }
});
