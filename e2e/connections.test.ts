import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Home, ME, makeHome, meJson, type Running, start, until } from "./run.ts";

// A server that may open few files, and strangers who hold its connections. They come from addresses of their own.

const FILES = 300;
/** Files that are left to all else. */
const HEADROOM = 128;
const MOST = FILES - HEADROOM;
const STRANGER = "127.0.0.1";
const OTHER = "127.0.0.2";
const OWNER = "127.0.0.3";

let home: Home;
let up: Running;
let url: URL;
beforeAll(async () => {
  home = await makeHome({ PORT: "0" });
  up = start("bash", ["-c", `ulimit -n ${FILES}; exec "$0" "$@"`, process.execPath, ME, "up"], home.env);
  url = new URL(await until("me up is ready", () => /^Ready: (\S+)$/m.exec(up.stderr())?.[1]));
});
afterAll(async () => {
  for (const socket of held) socket.destroy();
  up.child.kill("SIGTERM");
  await up.finished;
});

const held = new Set<Socket>();
/** Holds a connection open, with the beginning of a request. */
async function hold(from: string, said = "POST /api/v1/user/rpc HTTP/1.1\r\nHost: x\r\n"): Promise<Socket> {
  const socket = connect({ host: url.hostname, port: Number(url.port), localAddress: from });
  socket.on("error", () => {}); // it may be closed at any time
  await once(socket, "connect");
  held.add(socket);
  socket.resume().write(said);
  return socket;
}
const isOpen = (socket: Socket) => !socket.destroyed && !socket.readableEnded;

/** Asks over a new connection. */
const ask = (from: string, path: string, init: { method?: string; headers?: Record<string, string>; body?: string } = {}) =>
  new Promise<{ status: number; text: string }>((resolve, reject) => {
    const { method = "GET", headers, body } = init;
    const sent = request({ host: url.hostname, port: url.port, path, method, headers, localAddress: from, agent: false }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk) => (text += chunk));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    sent.on("error", reject).setTimeout(10_000, () => sent.destroy(new Error("no answer in time")));
    sent.end(body);
  });

test("strangers who hold more connections than there are files keep nobody out, nor close what others have", async () => {
  const task = await meJson(home, ["session", "create", "echo"]);
  const { token } = await meJson(home, ["token", "create", "--scope", `write:sessions:${task.session.id}`]);
  const stream = await new Promise<string[]>((resolve, reject) => {
    const heard: string[] = [];
    request(
      {
        host: url.hostname,
        port: url.port,
        localAddress: OWNER,
        path: `/api/v1/sessions/${task.session.id}/out`,
        headers: { authorization: `Bearer ${token}` },
      },
      (answer) => {
        answer.setEncoding("utf8").on("data", (chunk: string) => heard.push(chunk));
        answer.on("close", () => heard.push("closed"));
        resolve(heard);
      },
    )
      .on("error", reject)
      .end();
  });
  const others = await Promise.all(Array.from({ length: 20 }, () => hold(OTHER)));

  const flood: Socket[] = [];
  for (let i = 0; i < 12; i++) flood.push(...(await Promise.all(Array.from({ length: 50 }, () => hold(STRANGER, i % 2 ? "" : undefined)))));
  for (const from of [STRANGER, OTHER, OWNER]) expect((await ask(from, "/healthz")).status, from).toBe(200);
  const signIn = { method: "POST", headers: { "content-type": "application/json" }, body: '{"email":"a@example.com","password":"x"}' };
  expect((await ask(STRANGER, "/api/auth/sign-in/email", signIn)).status).toBe(401);

  await until("no address has more than its half", () => flood.filter(isOpen).length <= MOST / 2);
  expect(others.filter(isOpen)).toHaveLength(20);

  // From many addresses, there are never more than fit; and what is under way goes on.
  const many: Socket[] = [];
  for (let i = 0; i < 10; i++) many.push(...(await Promise.all(Array.from({ length: 40 }, () => hold(`127.0.1.${i}`)))));
  expect((await ask("127.0.2.1", "/healthz")).status).toBe(200);
  await until("all fit", () => [...held].filter(isOpen).length <= MOST);
  expect(stream).not.toContain("closed");
  const say = {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: '{"message":"still there"}',
  };
  expect((await ask(OWNER, `/api/v1/sessions/${task.session.id}/in`, say)).status).toBe(200);
  await until("the stream goes on", () => stream.join("").includes("still there"));
  const revoked = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: `token=${token}` };
  expect((await ask(STRANGER, "/api/v1/revoke", revoked)).status).toBe(200);
  await until("the stream ends with its token", () => stream.includes("closed"));
});

test("a request whose head does not come, or nothing at all, is given up", async () => {
  const [slow, silent] = [await hold("127.0.3.1"), await hold("127.0.3.1", "")];
  await until("both are closed", () => !isOpen(slow) && !isOpen(silent), 30_000);
});

test("a body that nobody reads closes the line behind the answer", async () => {
  for (const [target, status] of [
    ["POST /nothing", 413],
    ["PUT /api/v1/user/rpc", 405],
    ["GET /healthz", 200],
  ] as const) {
    const socket = connect({ host: url.hostname, port: Number(url.port), localAddress: "127.0.3.2" });
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.write(`${target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n{`);
    await once(socket, "close");
    expect(text, target).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*\r\nconnection: close\r\n`, "i"));
  }
});
