import { once } from "node:events";
import { MAX_BODY_BYTES } from "@gatehouse/protocol";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectClean } from "./clean.ts";
import { makeDatabase, onDatabase, startTestServer, type TestServer } from "./harness.ts";
import { dial, exchange, head, type RawAnswer, readAnswers, received, sendRaw } from "./raw-http.ts";
import { makeHome, startUp, until } from "./run.ts";

// What may be wrong with the bytes around a body, and with the line they come over.

const BODY_TIMEOUT_MS = 300;
const WHOAMI = '{"jsonrpc":"2.0","id":1,"method":"whoami"}';

let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer({ BODY_TIMEOUT_MS: String(BODY_TIMEOUT_MS) });
  session = (await server.user("Mallory")).session;
});
afterAll(() => server.close());
afterEach(async () => {
  expect((await server.call(session, "whoami")).result).toBeDefined();
});

/** WHOAMI, made longer by what JSON does not mind. */
const padded = (bytes: number) => WHOAMI + " ".repeat(bytes - WHOAMI.length);
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const sized = (length: number, ...fields: string[]) => head(session, `Content-Length: ${length}`, ...fields);
const chunked = (...fields: string[]) => head(session, "Transfer-Encoding: chunked", ...fields);

function expectRefusal(answer: RawAnswer, status: number, code: string): void {
  expectClean(answer.body);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.body)).toEqual({
    jsonrpc: "2.0",
    id: null,
    error: { code: status, message: expect.any(String), data: { code, requestId: answer.headers.get("x-request-id") } },
  });
}

describe("a body's size", () => {
  test("of 1 MiB is good, however it is sent", async () => {
    const body = padded(MAX_BODY_BYTES);
    expect((await exchange(server.url, sized(body.length, "Connection: close"), body)).body).toContain('"result"');
    const pieces = body.match(/.{1,65536}/g) ?? [];
    expect((await exchange(server.url, chunked("Connection: close"), ...pieces.map(chunk), "0\r\n\r\n")).body).toContain('"result"');
  });

  test("of one byte more is refused, and the line closed", async () => {
    const body = padded(MAX_BODY_BYTES + 1);
    for (const parts of [
      [sized(body.length), body],
      [chunked(), chunk(body), "0\r\n\r\n"],
      [chunked(), ...(body.match(/.{1,65536}/g) ?? []).map(chunk)], // the end is never sent
    ]) {
      const answer = await exchange(server.url, ...parts);
      expectRefusal(answer, 413, "PAYLOAD_TOO_LARGE");
      expect(answer.headers.get("connection")).toBe("close");
    }
  });

  test("is refused as soon as it is announced", async () => {
    expectRefusal(await exchange(server.url, sized(MAX_BODY_BYTES + 1)), 413, "PAYLOAD_TOO_LARGE");
    expectRefusal(await exchange(server.url, sized(Number.MAX_SAFE_INTEGER)), 413, "PAYLOAD_TOO_LARGE");
  });

  test("is refused on the way when it has no end: the rest is not read", async () => {
    const socket = await dial(server.url);
    const answer = received(socket);
    socket.write(chunked());
    const piece = chunk(" ".repeat(65_536));
    let sent = 0;
    while (!socket.destroyed && socket.writable && sent < 1 << 30) {
      sent += piece.length;
      if (!socket.write(piece)) await Promise.race([once(socket, "drain"), answer]).catch(() => {});
    }
    expectRefusal(readAnswers(await answer)[0] as RawAnswer, 413, "PAYLOAD_TOO_LARGE");
    expect(sent).toBeLessThan(1 << 28);
  });
});

describe("a body that is slow", () => {
  test.each([
    ["stops", [sized(WHOAMI.length), WHOAMI.slice(0, 10)]],
    ["never begins", [sized(WHOAMI.length)]],
    ["stops between chunks", [chunked(), chunk(WHOAMI)]],
  ])("and %s is given up after the time set", async (_what, parts) => {
    const began = performance.now();
    const answer = await exchange(server.url, ...parts);
    expectRefusal(answer, 408, "REQUEST_TIMEOUT");
    expect(answer.headers.get("connection")).toBe("close");
    expect(performance.now() - began).toBeGreaterThan(BODY_TIMEOUT_MS * 0.9);
  });

  test("is given up as well when it keeps trickling", async () => {
    const socket = await dial(server.url);
    const answer = received(socket);
    socket.write(chunked());
    const trickle = setInterval(() => socket.write(chunk(" ")), 10);
    const wire = await answer;
    clearInterval(trickle);
    expectRefusal(readAnswers(wire)[0] as RawAnswer, 408, "REQUEST_TIMEOUT");
  });
});

describe("a line that breaks, or is half closed", () => {
  test("after the request: it is answered, unless the end came first, and never left hanging", async () => {
    const lines = await Promise.all(Array.from({ length: 20 }, () => dial(server.url)));
    const wires = lines.map(received);
    for (const line of lines) line.end(sized(WHOAMI.length) + WHOAMI);
    for (const wire of await Promise.all(wires)) {
      expectClean(wire);
      for (const { body } of readAnswers(wire)) expect(body).toContain('"result"');
    }
  });

  test("in the middle of a body: it is no request", async () => {
    for (const sent of [
      sized(WHOAMI.length) + WHOAMI.slice(0, -1),
      chunked() + chunk(WHOAMI),
      sized(5),
      "POST /api/v1/user/rpc HTTP/1.1\r\nHo",
    ]) {
      const socket = await dial(server.url);
      const answer = received(socket);
      socket.end(sent);
      const wire = await answer;
      expectClean(wire);
      for (const { status } of readAnswers(wire)) expect(status).toBe(400);
    }
  });

  test("by a reset: whatever was sent, and whatever was coming back", async () => {
    const sockets = await Promise.all(
      ["", "POST", sized(500) + WHOAMI, chunked() + chunk(WHOAMI), sized(WHOAMI.length) + WHOAMI].flatMap((sent) =>
        Array.from({ length: 20 }, async () => {
          const socket = await dial(server.url);
          socket.write(sent);
          return socket;
        }),
      ),
    );
    for (const socket of sockets) socket.resetAndDestroy();
    await Promise.all(sockets.map((socket) => socket.closed || once(socket, "close")));
  });
});

describe("several requests on one line", () => {
  const request = (id: number, ...fields: string[]) => {
    const body = WHOAMI.replace('"id":1', `"id":${id}`);
    return sized(body.length, ...fields) + body;
  };

  test("are answered in their order", async () => {
    const wire = await sendRaw(server.url, request(1) + request(2) + request(3, "Connection: close"));
    expect(readAnswers(wire).map(({ body }) => JSON.parse(body).id)).toEqual([1, 2, 3]);
  });

  test("stay apart from each other where one is refused", async () => {
    const wrong = head(session, "Content-Length: 1").replace("application/json", "text/plain");
    const put = head(session, "Content-Length: 2").replace("POST", "PUT");
    const wire = await sendRaw(server.url, `${wrong}x${put}{}${request(3, "Connection: close")}`);
    expect(readAnswers(wire).map(({ status }) => status)).toEqual([415, 405, 200]);
  });

  test("with garbage behind them close the line", async () => {
    const wire = await sendRaw(server.url, request(1), "\u0016\u0003\u0001 garbage\r\n\r\n", request(2));
    expectClean(wire);
    const answers = readAnswers(wire);
    expect(answers.at(-1)?.status).toBe(400);
    expect(answers.length).toBeLessThanOrEqual(2);
  });
});

test("Expect: 100-continue is answered before the body is sent", async () => {
  const socket = await dial(server.url);
  const [first] = await Promise.all([
    once(socket, "data").then(([data]) => String(data)),
    socket.write(sized(WHOAMI.length, "Expect: 100-continue", "Connection: close")),
  ]);
  expect(first).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  const answer = received(socket);
  socket.write(WHOAMI);
  expect(readAnswers(await answer)[0]?.body).toContain('"result"');
});

test("who has gone when a paused server goes on is no failure of it", async () => {
  const up = await startUp(await makeHome(), { ...onDatabase(await makeDatabase()), LOG_LEVEL: "error" });
  const callers = await Promise.all(Array.from({ length: 20 }, () => dial(up.url)));
  up.child.kill("SIGSTOP");
  for (const caller of callers) {
    await new Promise((resolve) => caller.write(sized(WHOAMI.length) + WHOAMI, resolve));
    caller.resetAndDestroy();
  }
  up.child.kill("SIGCONT");
  await until("it answers again", async () => (await fetch(`${up.url}/readyz`)).ok);
  await up.stop();
  expect(up.stderr()).not.toContain("INTERNAL_ERROR");
});
