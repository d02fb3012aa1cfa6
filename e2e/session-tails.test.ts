import { openDatabase } from "@gatehouse/server";
import { expect, onTestFinished, test } from "vitest";
import { openBell } from "../packages/server/src/sessions/bell.ts";
import { openTails } from "../packages/server/src/sessions/tails.ts";
import { startTestServer } from "./harness.ts";

test("who begins to follow a log while it grows misses nothing, whichever of its reads comes first", async () => {
  const server = await startTestServer();
  onTestFinished(() => server.close());
  const { session: credential } = await server.user("ada");
  const { slug } = (await server.call(credential, "space.create", { name: "Acme" })).result;
  const { session } = (await server.call(credential, "session.create", { task: "echo", message: "one" }, slug)).result;
  const sql = openDatabase(server.databaseUrl);
  const bell = openBell(server.databaseUrl, { warn: () => {} } as never);
  onTestFinished(async () => {
    await bell.close();
    await sql.end();
  });
  const follower = openTails(sql, bell);

  let reading: Promise<number[]> | undefined;
  await server.sql.begin(async (held) => {
    // Whoever asks for the end of the log waits; whoever reads the log does not.
    await held`lock table sessions in access exclusive mode`;
    const { next, end } = follower.follow(session.id, 0);
    onTestFinished(end);
    reading = (async () => {
      const seen: number[] = [];
      while (seen.length < 3) {
        const events = await next();
        if (!events) break; // it was ended: the test is over
        seen.push(...events.map(({ seq }) => seq));
      }
      return seen;
    })();
    // Time enough to read to the end, for one that does not wait.
    for (let trips = 0; trips < 50; trips++) await sql`select 1`;
    await held`select log_event(${session.id}, 'in', 'stop', 1, null, null, '{}')`;
  });
  expect(await reading).toEqual([1, 2, 3]);
});
