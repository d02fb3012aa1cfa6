import { judge, type Layer, type Permission } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readable } from "../packages/server/src/sessions/rows.ts";
import { startTestServer, type TestServer } from "./harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

const path = fc.array(fc.constantFrom("a", "b", "ab", "a-b"), { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const id = fc.constantFrom("00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002");
const permission: fc.Arbitrary<Permission> = fc.oneof(
  { weight: 6, arbitrary: path.map((path) => ({ action: "read" as const, type: "tasks", path })) },
  { weight: 2, arbitrary: id.map((path) => ({ action: "write" as const, type: "sessions", path })) },
  { weight: 1, arbitrary: fc.constantFrom<Permission>({ action: "read", type: "tasks" }, { action: "read", type: "docs" }) },
);
const layer = fc.record({ name: fc.constant<"grants">("grants"), permissions: fc.array(permission, { maxLength: 5 }) });

test("the list of sessions holds those that a caller may read, each of them and no other", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(layer, { minLength: 1, maxLength: 3 }),
      fc.array(fc.record({ id, task: path }), { maxLength: 8 }),
      async (layers, sessions) => {
        const { sql } = server;
        const listed = await sql<{ nth: number }[]>`
          select s.nth::integer from rows from (jsonb_to_recordset(${sql.json(sessions)}) as (id uuid, task text)) with ordinality as s (id, task, nth)
          where ${readable(sql, layers as Layer[])} order by s.nth`;
        const may = ({ id, task }: { id: string; task: string }) =>
          judge(layers as Layer[], [
            { action: "read", type: "tasks", path: task },
            { action: "read", type: "sessions", path: id },
          ]).allowed;
        expect(listed.map(({ nth }) => sessions[nth - 1])).toEqual(sessions.filter(may));
      },
    ),
    { numRuns: 300 },
  );
});
