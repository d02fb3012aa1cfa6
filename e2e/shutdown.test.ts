import { expect, test } from "vitest";
import { openLine } from "./database-line.ts";
import { makeDatabase, startTestServer } from "./harness.ts";
import { until } from "./run.ts";

/** Less than a connection is kept alive for, more than a busy machine needs. */
const BOUND_MS = 8000;
const ROUNDS = 8;
const CALLERS = 16;

type Line = Awaited<ReturnType<typeof openLine>>;

test("a server that is told to stop while it is busy answers what it has begun, and stops", async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const server = await startTestServer();
    const { session } = await server.user("Alice");
    let on = true;
    let answered = 0;
    const busy = Promise.withResolvers<void>();
    const callers = Array.from({ length: CALLERS }, async () => {
      while (on) {
        const { result } = await server.call(session, "agent.create", { name: `a${Math.random()}` }).catch(() => ({ result: undefined }));
        if (result && ++answered === 2 * CALLERS) busy.resolve();
      }
    });
    await busy.promise;
    on = false; // a call of each is under way
    const told = performance.now();
    await server.close();
    expect(performance.now() - told, `round ${round}`).toBeLessThan(BOUND_MS);
    await Promise.all(callers);
  }
});

test.each([
  ["and stays so", () => {}],
  ["and is back at that moment", (line: Line) => setImmediate(line.go)],
])("a server whose database is frozen %s stops all the same", async (_how, then) => {
  const line = await openLine(await makeDatabase());
  for (let round = 0; round < 3; round++) {
    const server = await startTestServer({ DATABASE_URL: line.url });
    line.stop();
    // Each of its lines was given up by now, and is asked for anew.
    await until("it has noticed", () => line.asked() >= 4);
    const told = performance.now();
    const closed = server.close();
    then(line);
    await closed;
    expect(performance.now() - told, `round ${round}`).toBeLessThan(BOUND_MS);
    line.go();
  }
  await line.close();
});
