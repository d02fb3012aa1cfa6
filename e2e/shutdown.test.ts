import { expect, test } from "vitest";
import { startTestServer } from "./harness.ts";

/** Less than a connection is kept alive for, more than a busy machine needs. */
const BOUND_MS = 8000;
const ROUNDS = 8;
const CALLERS = 16;

test("a server that is told to stop while it is busy answers what it has begun, and stops", { timeout: 120_000 }, async () => {
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
