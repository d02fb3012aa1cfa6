import { createSpaceClient, createUserClient, GatehouseError } from "@gatehouse/client";
import { expect, test } from "vitest";
import { startObserved } from "./observed.ts";

const DENIALS = 50;

test("a denied call asks the database nothing: what it is refused by is remembered, and its record is written with others", async () => {
  const observed = await startObserved({ email: "ada@example.com", name: "Ada", password: "correct horse battery" });
  const target = { server: observed.server.url, credential: observed.session };
  const owner = createUserClient(target);
  const { slug } = await owner.space.create({ name: "Acme" });
  const { id } = await owner.agent.create({ name: "bot" });
  const { key } = await owner.apiKey.create({ name: "bot", agent: id });
  const inside = createSpaceClient({ ...target, space: slug });
  await inside.principal.add({ principal: id });
  await inside.access.grant({ principal: id, permission: "admin:tasks:mine" });
  const bot = createSpaceClient({ server: observed.server.url, credential: key, space: slug });
  const refused = {
    "by who calls": () => bot.space.leave(),
    "by a read's permission": () => bot.audit.list(),
    "by a write's permission": () => bot.group.create({ name: "x" }),
    "by a write's permission on what its params name": () => bot.task.register({ task: "yours" }),
  };
  for (const run of Object.values(refused)) for (let i = 0; i < DENIALS; i++) await expect(run()).rejects.toThrow(GatehouseError);
  const { spans, lines } = await observed.over();
  const queries = spans.filter(({ attributes }) => attributes["db.query.text"] !== undefined);
  for (const method of ["space.leave", "audit.list", "group.create", "task.register"]) {
    const denied = lines.filter((line) => line.method === method && line.outcome === "FORBIDDEN");
    expect(denied, method).toHaveLength(DENIALS);
    const traces = new Set(denied.map(({ traceId }) => traceId));
    // The first may find nothing remembered; a heartbeat that is late may make others ask again.
    expect(queries.filter(({ traceId }) => traces.has(traceId)).length, method).toBeLessThan(DENIALS / 2);
  }
  expect(queries.filter(({ attributes }) => String(attributes["db.query.text"]).includes("insert into audit_denials")).length).toBeLessThan(
    DENIALS,
  );
});
