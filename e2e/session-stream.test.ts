import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;

beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(() => server.close());

const rest = (credential: string, path: string, init: RequestInit = {}) =>
  fetch(`${server.url}/api/v1${path}`, {
    ...init,
    headers: { authorization: `Bearer ${credential}`, "x-me-space": slug, "content-type": "application/json", ...init.headers },
  });

/** Reads server-sent events: each as its id and its event. */
async function* eventsOf(answer: Response): AsyncGenerator<{ id: string; event: string; data: string }> {
  let text = "";
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? "";
      if (!lines[0]?.startsWith(":")) yield { id: field("id"), event: field("event"), data: field("data") };
    }
  }
}

test("a log is read as it grows, goes on from the last event that was seen, and ends with its session", async () => {
  const made = await rest(ada.session, "/sessions", {
    method: "POST",
    body: JSON.stringify({ task: "echo", externalId: "talk", message: "one" }),
  });
  expect(made.status).toBe(201);
  const { session } = (await made.json()) as { session: { id: string } };
  const again = await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "talk" }) });
  expect(again.status).toBe(200);

  const out = await rest(ada.session, "/sessions/talk/out");
  expect([out.status, out.headers.get("content-type"), out.headers.get("cache-control")]).toEqual([
    200,
    "text/event-stream; charset=utf-8",
    "no-store",
  ]);
  const reader = eventsOf(out);
  expect((await reader.next()).value).toMatchObject({ id: "1", event: "message" });
  expect((await reader.next()).value).toMatchObject({ id: "2", event: "run" });
  await rest(ada.session, `/sessions/${session.id}/in`, { method: "POST", body: JSON.stringify({ message: "two", inputId: "second" }) });
  expect((await reader.next()).value).toMatchObject({ id: "3", event: "message" });

  const later = eventsOf(await rest(ada.session, "/sessions/talk/out", { headers: { "last-event-id": "2" } }));
  expect((await later.next()).value).toMatchObject({ id: "3" });
  await rest(ada.session, "/sessions/talk/close", { method: "POST" });
  const kinds = [];
  for await (const { event } of reader) kinds.push(event);
  expect(kinds).toEqual(["run-end", "turn-end", "turn-end", "close", "end"]);
  const closed = await rest(ada.session, "/sessions/talk/in", { method: "POST", body: JSON.stringify({ message: "three" }) });
  expect([closed.status, closed.headers.get("content-type"), await closed.json()]).toMatchObject([
    409,
    "application/problem+json; charset=utf-8",
    { code: "SESSION_CLOSED" },
  ]);
  const over = eventsOf(await rest(ada.session, "/sessions/talk/out", { headers: { "last-event-id": "7" } }));
  expect((await over.next()).value).toMatchObject({ event: "end" });
});

test("a stream ends with its reader's right to read", async () => {
  await rest(ada.session, "/sessions", { method: "POST", body: JSON.stringify({ task: "echo", externalId: "private" }) });
  const { key, id } = (await server.call(ada.session, "apiKey.create", { name: "reader" })).result;
  const reader = eventsOf(await rest(key, "/sessions/private/out"));
  await server.call(ada.session, "apiKey.delete", { id });
  expect((await reader.next()).value).toMatchObject({ event: "end", data: JSON.stringify({ why: "access ended" }) });
});
