import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { startReceiver } from "./receiver.ts";
import { type Home, makeHome, me, meJson, type RunningServer, startUp } from "./run.ts";

/** Longest that a person should have to wait because of traces that nobody takes. */
const PATIENCE_MS = 5000;
const PASSWORD = "correct horse battery";

const silent = await startReceiver({ silent: true });
afterAll(() => silent.close());

describe.each([
  { receiver: "nobody listens", endpoint: "http://127.0.0.1:1" },
  { receiver: "a receiver never answers", endpoint: silent.env.OTEL_EXPORTER_OTLP_ENDPOINT },
])("where $receiver", ({ endpoint }) => {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: "20" };
  let server: RunningServer;
  let home: Home;

  beforeAll(async () => {
    const database = onDatabase(await makeDatabase());
    server = await startUp(await makeHome({ ...database, ...env }));
    home = await makeHome({ ME_SERVER: server.url });
    await me(home, ["user", "create", "--email", "ada@example.com", "--name", "Ada"], { env: database, stdin: PASSWORD });
    await me(home, ["login", "--email", "ada@example.com"], { stdin: PASSWORD });
  });

  test("commands succeed, and are not held up for long", async () => {
    const started = performance.now();
    const { code, stdout, stderr } = await me(home, ["whoami"], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("Ada");
    expect(performance.now() - started).toBeLessThan(PATIENCE_MS);
  });

  test("the server answers every call, and stops when it is told to", async () => {
    for (let i = 0; i < 5; i++) expect(await meJson(home, ["agent", "create", `agent ${i}`])).toMatchObject({ name: `agent ${i}` });
    const stopping = performance.now();
    const { code, stderr } = await server.stop();
    expect({ code, inTime: performance.now() - stopping < PATIENCE_MS }).toEqual({ code: 0, inTime: true });
    expect(stderr.match(/"outcome":"OK","method":"agent.create"/g)).toHaveLength(5);
    expect(stderr).not.toContain('"level":50');
  });
});
