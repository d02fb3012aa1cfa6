import { openDatabase } from "@gatehouse/server";
import { expect, onTestFinished, test } from "vitest";
import { openBell } from "../packages/server/src/sessions/bell.ts";
import { openTails } from "../packages/server/src/sessions/tails.ts";
import { startTestServer } from "./harness.ts";
import { until } from "./run.ts";

/** A server with a session of two events, and what follows logs there. */
async function makeLog() {
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
  return { server, sql, session: session.id as string, follower: openTails(bell) };
}

test("who begins to follow a log while it grows misses nothing, whichever of its reads comes first", async () => {
  const { server, sql, session, follower } = await makeLog();

  let reading: Promise<number[]> | undefined;
  await server.sql.begin(async (held) => {
    // Whoever asks for the end of the log waits; whoever reads the log does not.
    await held`lock table sessions in access exclusive mode`;
    const { next, end } = follower.follow(session, 0, sql, sql);
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
    await held`select log_event(${session}, 'in', 'stop', 1, null, null, '{}')`;
  });
  expect(await reading).toEqual([1, 2, 3]);
});

test("what could not be read, as the line to the database broke, is read a moment later though nothing rings for it", async () => {
  const { server, sql, session, follower } = await makeLog();
  const { next, end } = follower.follow(session, 0, sql, sql);
  onTestFinished(end);
  expect((await next())?.map(({ seq }) => seq)).toEqual([1, 2]);
  const reading = next();
  await server.sql.begin(async (held) => {
    await held`lock table session_events in access exclusive mode`;
    await held`select log_event(${session}, 'out', 'chunks', 1, null, null, '[]')`;
    await sql`select pg_notify('gatehouse_log', ${session})`;
    await until("it is about to be read, and the line breaks", async () => {
      const cut = await held`select pg_terminate_backend(pid) from pg_locks where not granted and relation = 'session_events'::regclass`;
      return cut.length > 0;
    });
  });
  expect((await reading)?.map(({ seq }) => seq)).toEqual([3]);
});
