import { createSpaceClient, createUserClient } from "@gatehouse/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer } from "./harness.ts";
import { startObserved } from "./observed.ts";
import { makeTurns, type Turns } from "./turns.ts";

const WAITING = 80;
const RUNS = 20;
const WAIT_SECONDS = 8;

test("runs wake as many workers as there are runs: neither those of other tasks and spaces, nor all of their own", async () => {
  const observed = await startObserved({ email: "ada@example.com", name: "Ada", password: "correct horse battery" });
  const target = { server: observed.server.url, credential: observed.session };
  const user = createUserClient(target);
  const spaces = await Promise.all(["Mine", "Other"].map((name) => user.space.create({ name })));
  const [mine, other] = spaces.map(({ slug }) => createSpaceClient({ ...target, space: slug }));
  if (!mine || !other) throw new Error("no space");
  const wanted = (task: string) => ({ tasks: [task], worker: "w", waitSeconds: WAIT_SECONDS });
  const idle = Array.from({ length: WAITING }, (_, i) => (i % 2 ? other.run.lease(wanted("busy")) : mine.run.lease(wanted("idle"))));
  const waiting = Array.from({ length: 2 * RUNS }, () => mine.run.lease(wanted("busy")));
  for (let i = 0; i < RUNS; i++) await mine.session.create({ task: "busy", message: "go" });
  const leased = await Promise.all(waiting);
  expect(leased.filter(({ lease }) => lease)).toHaveLength(RUNS);
  for (const { lease } of await Promise.all(idle)) expect(lease).toBeNull();
  const { spans } = await observed.over();
  const looks = spans.filter(({ attributes }) => String(attributes["db.query.text"]).includes("free_run"));
  // Each looks when it comes and when its time is over; besides, each run is looked for once, and then whether there is another.
  expect(looks.length).toBeGreaterThanOrEqual(WAITING);
  expect(looks.length).toBeLessThanOrEqual(2 * (WAITING + 2 * RUNS) + 4 * RUNS);
});

let turns: Turns;
let elsewhere: Awaited<ReturnType<typeof startTestServer>>;
beforeAll(async () => {
  turns = await makeTurns();
  elsewhere = await startTestServer({ DATABASE_URL: turns.server.databaseUrl });
});
afterAll(async () => {
  await elsewhere.close();
  await turns.server.close();
});

const lease = (task: string, space = turns.slug, server = turns.server) =>
  server.call(turns.credential, "run.lease", { tasks: [task], worker: "w", waitSeconds: 20 }, space);

test("each run that waits finds a worker at once, on whichever server, also where one has left the line", async () => {
  const gone = new AbortController();
  const leaving = Array.from({ length: 5 }, () =>
    fetch(`${turns.server.url}/api/v1/space/rpc`, {
      method: "POST",
      headers: { authorization: `Bearer ${turns.credential}`, "x-me-space": turns.slug, "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "run.lease", params: { tasks: ["line"], worker: "gone", waitSeconds: 20 } }),
      signal: gone.signal,
    }).catch(() => {}),
  );
  const staying = [turns.server, turns.server, elsewhere, elsewhere].map((server) => lease("line", turns.slug, server));
  const startedAt = performance.now();
  const creating = Array.from({ length: staying.length }, () => turns.must("session.create", { task: "line", message: "go" }));
  gone.abort();
  await Promise.all([...creating, ...leaving]);
  // Some runs may have been given to those who left: they are given back.
  const leased = await Promise.all(staying);
  expect(new Set(leased.map(({ result }) => result.lease?.run)).size).toBe(staying.length);
  expect(leased.every(({ result }) => result.lease)).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
});
