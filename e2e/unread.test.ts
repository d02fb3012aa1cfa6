import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { dropStalled } from "../packages/server/src/stalled.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { dial, received } from "./raw-http.ts";
import { until } from "./run.ts";

// Answers that nobody reads take up the server's memory until they have left.

const STALLED_MS = 600;
const BYTES = 24_000_000;

let server: TestServer;
let ada: TestUser;
let ben: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  [ada, ben] = [await server.user("ada"), await server.user("ben")];
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
  await server.join(slug, ada, ben);
  const metadata = { text: "x".repeat(16_000) };
  for (let i = 0; i < 80; i++) await server.call(ada.session, "session.create", { task: "none", metadata }, slug);
});
afterAll(() => server.close());

/** So many pages are more than the buffers of a connection hold. */
const LISTS = 16;

/** Asks for an answer of many megabytes, and reads none of it. */
async function askAndWait(credential: string): Promise<Socket> {
  const list = { jsonrpc: "2.0", method: "session.list", params: { limit: 1000 } };
  const body = JSON.stringify(Array.from({ length: LISTS }, (_, id) => ({ ...list, id })));
  const socket = await dial(server.url);
  onTestFinished(() => void socket.destroy());
  socket.pause().on("error", () => {});
  const head = `POST /api/v1/space/rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Me-Space: ${slug}\r\n`;
  socket.write(`${head}Connection: close\r\nAuthorization: Bearer ${credential}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  return socket;
}

test("a caller who leaves many answers unread gets no more until they are read; others do, and what takes back is done", async () => {
  const { key } = (await server.call(ada.session, "apiKey.create", { name: "unread" })).result;
  const { session } = (await server.call(key, "session.create", { task: "none" }, slug)).result;
  const list = () => server.call(key, "session.list", { limit: 1 }, slug);
  const sockets: Socket[] = [];
  const refused = await until("a call is refused", async () => {
    if (sockets.length < 20) sockets.push(await askAndWait(key));
    const answer = await list();
    return answer.error && answer;
  });
  expect(refused).toMatchObject({ status: 429, error: { data: { code: "RATE_LIMITED", retryAfter: expect.any(Number) } } });
  for (const credential of [ada.session, ben.session]) expect((await server.call(credential, "space.get", {}, slug)).status).toBe(200);

  const [first, ...rest] = sockets as [Socket, ...Socket[]];
  const answered = received(first);
  first.resume();
  expect(JSON.parse((await answered).split("\r\n\r\n")[1] as string)).toHaveLength(LISTS);
  for (const socket of rest) socket.destroy();
  await until("there is room again", async () => (await list()).status === 200);

  for (let i = 0; i < sockets.length; i++) await askAndWait(key);
  await until("a call is refused again", async () => (await list()).status === 429);
  expect((await server.call(key, "session.close", { session: session.id }, slug)).status).toBe(200);
});

/** A server whose every answer is long. */
async function serve(): Promise<{ url: string; server: Server }> {
  const long = createServer((_request, response) => void response.end(Buffer.alloc(BYTES, "x")));
  dropStalled(long, STALLED_MS);
  long.listen(0, "127.0.0.1");
  await once(long, "listening");
  onTestFinished(() => void long.close());
  return { url: `http://127.0.0.1:${(long.address() as AddressInfo).port}`, server: long };
}

test("a connection whose answer nobody reads is closed; one that is read slowly is served whole", async () => {
  const { url, server: long } = await serve();
  const ask = async () => {
    const socket = await dial(url);
    socket.pause().write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    return socket;
  };
  const closed: Promise<unknown>[] = [];
  long.on("connection", (socket) => closed.push(once(socket, "close")));
  const unread = await ask();
  unread.on("error", () => {});
  await until("it has come", () => closed.length === 1);
  await closed[0];

  const slow = await ask();
  let read = 0;
  slow.on("data", (part: Buffer) => {
    read += part.length;
    slow.pause();
  });
  // For longer in all than an answer may stand still.
  for (const end = Date.now() + 2 * STALLED_MS; Date.now() < end; await delay(20)) slow.resume();
  slow.removeAllListeners("data").on("data", (part: Buffer) => (read += part.length));
  slow.resume();
  await until("all has come", () => read > BYTES);
  slow.destroy();
});

test("a connection may ask a few things at once, and not any number", async () => {
  const ask = async (times: number) => {
    const socket = await dial(server.url);
    socket.write("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(times - 1));
    socket.write("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return (await received(socket)).split("HTTP/1.1 200").length - 1;
  };
  expect(await ask(10)).toBe(10);
  expect(await ask(500)).toBeLessThan(500);
});
