import { splitScope } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;
let bot: { id: string; key: string };

beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  slug = (await must(ada.session, "space.create", { name: "Acme" }, null)).slug;
  const agent = await must(ada.session, "agent.create", { name: "bot" }, null);
  bot = { id: agent.id, key: (await must(ada.session, "apiKey.create", { name: "bot", agent: agent.id }, null)).key };
  await must(ada.session, "principal.add", { principal: agent.id });
  await must(ada.session, "access.grant", { principal: agent.id, permission: "admin:tasks:echo" });
});
afterAll(() => server.close());

// biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
async function must(credential: string, method: string, params: object = {}, space: string | null = slug): Promise<any> {
  const { result, error } = await server.call(credential, method, params, space ?? undefined);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** A worker that answers one input with what it was sent. */
async function answerOne(hold: { run: string; epoch: number }): Promise<void> {
  const { input } = await must(bot.key, "run.next", { ...hold, waitSeconds: 5 });
  const [{ text }] = input.data.parts;
  await must(bot.key, "run.emit", { ...hold, turn: input.turn, chunks: [{ type: "text-delta", id: "1", delta: text }] });
  await must(bot.key, "run.endTurn", { ...hold, turn: input.turn, outcome: "complete" });
}

const lease = async () => {
  const { lease } = await must(bot.key, "run.lease", { tasks: ["echo"], worker: "w1", waitSeconds: 5 });
  return { run: lease.run, epoch: lease.epoch };
};

test("two messages are answered by the same run; after the idle window a new one goes on", async () => {
  const { session, run } = await must(ada.session, "session.create", { task: "echo", message: "pong", idleTimeoutSeconds: 1 });
  const hold = await lease();
  expect(hold.run).toBe(run.id);
  await answerOne(hold);
  const second = await must(ada.session, "session.send", { session: session.id, message: "echo" });
  expect(second.run.id).toBe(run.id);
  await answerOne(hold);
  expect((await must(bot.key, "run.next", { ...hold, waitSeconds: 5 })).ended).toBe("idle");
  const third = await must(ada.session, "session.send", { session: session.id, message: "again" });
  expect(third.run.id).not.toBe(run.id);
  const next = await lease();
  expect(next.run).toBe(third.run.id);
  await answerOne(next);
  const { events } = await must(ada.session, "session.events", { session: session.id });
  expect(events.map(({ kind }: { kind: string }) => kind)).toMatchInlineSnapshot(`
    [
      "message",
      "run",
      "turn-start",
      "chunks",
      "turn-end",
      "message",
      "turn-start",
      "chunks",
      "turn-end",
      "run-end",
      "message",
      "run",
      "turn-start",
      "chunks",
      "turn-end",
    ]
  `);
  expect(events.map(({ seq }: { seq: number }) => seq)).toEqual(events.map((_: unknown, i: number) => i + 1));
  const { error } = await server.call(bot.key, "run.emit", { ...hold, turn: 1, chunks: [{ type: "x" }] }, slug);
  expect(error?.data.code).toBe("LEASE_LOST");
});

test("a token scoped to a task starts its sessions and no others; the token of a session is for that session alone", async () => {
  const { token } = await must(ada.session, "token.create", { space: slug, scope: splitScope("write:tasks:echo") }, null);
  const made = await must(token, "session.create", { task: "echo/loud", externalId: "one" });
  expect((await server.call(token, "session.create", { task: "other" }, slug)).error?.data.code).toBe("FORBIDDEN");
  const again = await must(token, "session.create", { task: "echo/loud", externalId: "one" });
  expect([again.existing, again.session.id]).toEqual([true, made.session.id]);
  const send = (session: string) => server.call(made.token, "session.send", { session, message: "hi" }, slug);
  expect((await send(made.session.id)).result.turn).toBe(1);
  expect((await send("one")).error?.data.code, "a browser learns of no other name of its session").toBe("NOT_FOUND");
  const other = await must(ada.session, "session.create", { task: "echo", externalId: "two" });
  expect((await send(other.session.id)).error?.data.code).toBe("NOT_FOUND");
  const foreign = await must(ada.session, "session.create", { task: "other", externalId: "three" });
  expect((await server.call(token, "session.create", { task: "echo", externalId: "three" }, slug)).error?.data.code).toBe("FORBIDDEN");
  expect((await must(token, "session.list", {})).sessions.map(({ id }: { id: string }) => id)).not.toContain(foreign.session.id);
  await must(ada.session, "session.close", { session: "one" });
  expect((await send(made.session.id)).error?.data.code).toBe("SESSION_CLOSED");
});
