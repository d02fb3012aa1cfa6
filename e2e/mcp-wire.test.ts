import { expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { ME, makeHome, start, until } from "./run.ts";

const MEBIBYTE = 1024 * 1024;
const initialize = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "tests", version: "1" } },
};

/** `me mcp` with a client that says whatever it likes, line by line. */
async function raw() {
  const { env } = await makeHome({ ME_SERVER: "http://127.0.0.1:9" });
  const mcp = start(process.execPath, [ME, "mcp"], env, null);
  const say = (line: unknown) => mcp.child.stdin?.write(`${typeof line === "string" ? line : JSON.stringify(line)}\n`);
  const heard = () =>
    mcp
      .stdout()
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  say(initialize);
  await until("it answers who it is", () => heard().length === 1);
  say({ jsonrpc: "2.0", method: "notifications/initialized" });
  return { ...mcp, say, heard };
}

test.each([
  ["without an end", ""],
  ["with an end", "\n"],
])("a frame %s that is too large ends it, which says why; the client's end of the line may stay open", async (_what, end) => {
  const mcp = await raw();
  mcp.child.stdin?.write("x".repeat(11 * MEBIBYTE) + end);
  mcp.say({ jsonrpc: "2.0", id: 2, method: "ping" });
  const { code, stderr } = await mcp.finished;
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringMatching(/^Error: A message of more than 10485760 bytes came\..*\n$/)]);
  expect(mcp.heard().slice(1)).toEqual([
    { jsonrpc: "2.0", id: null, error: { code: 413, message: expect.any(String), data: { code: "PAYLOAD_TOO_LARGE" } } },
  ]);
});

test("a frame that is large, but not too large, is answered", async () => {
  const mcp = await raw();
  mcp.say({ jsonrpc: "2.0", id: "large", method: "ping", params: { _meta: { said: "x".repeat(9 * MEBIBYTE) } } });
  expect(await until("it is answered", () => mcp.heard()[1])).toEqual({ jsonrpc: "2.0", id: "large", result: {} });
  mcp.child.stdin?.end();
  expect(await mcp.finished).toMatchObject({ code: 0, stderr: "" });
});

test("what is no message is answered as such, in one line each, and the next one as ever", async () => {
  const mcp = await raw();
  const ping = { jsonrpc: "2.0", method: "ping" };
  const wrong: [line: unknown, id: unknown, code: number][] = [
    [{ ...ping, id: 7, params: { _meta: { progressToken: { a: 1 } } } }, 7, -32600],
    [{ ...ping, id: "eight", params: [1] }, "eight", -32600],
    [{ ...ping, id: { a: 1 } }, null, -32600],
    [[{ ...ping, id: 9 }], null, -32600],
    [42, null, -32600],
    ["{ broken", null, -32700],
  ];
  for (const [line] of wrong) mcp.say(line);
  // An answer and a notification take none.
  for (const line of [
    { jsonrpc: "2.0", id: 10, result: 5 },
    { jsonrpc: "2.0", method: "notifications/cancelled", params: [] },
  ])
    mcp.say(line);
  mcp.say("");
  mcp.say({ ...ping, id: "last" });
  await until("the last one is answered", () => mcp.heard().some(({ id }) => id === "last"));
  expect(mcp.heard().slice(1)).toEqual([
    ...wrong.map(([, id, code]) => ({ jsonrpc: "2.0", id, error: expect.objectContaining({ code }) })),
    { jsonrpc: "2.0", id: "last", result: {} },
  ]);
  expect(mcp.stderr().trimEnd().split("\n")).toHaveLength(wrong.length + 2);
  mcp.child.stdin?.end();
  expect((await mcp.finished).code).toBe(0);
});

test("a message is answered whatever stands around it that is no JSON, and is not seen", async () => {
  const { env } = await makeHome({ ME_SERVER: "http://127.0.0.1:9" });
  const mcp = start(process.execPath, [ME, "mcp"], env, null);
  mcp.child.stdin?.write(`${JSON.stringify(initialize)}\n`);
  const around = ["\ufeff\ufeff", " \ufeff", "\u00a0", "\f", "\u2028"];
  for (const [i, odd] of around.entries()) {
    const ping = (id: number) => JSON.stringify({ jsonrpc: "2.0", id, method: "ping" });
    mcp.child.stdin?.write(`${odd}${ping(100 + i)}\n${ping(200 + i)}${odd}\r\n`);
  }
  const ids = () =>
    mcp
      .stdout()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line).id);
  const asked = around.flatMap((_, i) => [100 + i, 200 + i]);
  await until(
    () => `all are answered: ${ids()}`,
    () => asked.every((id) => ids().includes(id)),
  );
  mcp.child.kill();
});

test("a byte order mark before the first line is left out, wherever the bytes are cut, and so is one before another line", async () => {
  const mark = Buffer.from("\ufeff");
  const line = Buffer.concat([mark, Buffer.from(`${JSON.stringify(initialize)}\n`)]);
  for (const cut of [0, 1, 2, 3]) {
    const { env } = await makeHome({ ME_SERVER: "http://127.0.0.1:9" });
    const mcp = start(process.execPath, [ME, "mcp"], env, null);
    mcp.child.stdin?.write(line.subarray(0, cut));
    await new Promise((resolve) => mcp.child.stdin?.write(line.subarray(cut), resolve));
    await until("it answers who it is", () => /"id":1,|"id":1}/.test(mcp.stdout()));
    mcp.child.stdin?.write(`\ufeff${JSON.stringify({ jsonrpc: "2.0", id: 2, method: "ping" })}\n`);
    await until("it answers a ping", () => mcp.stdout().includes('"id":2'));
    expect([mcp.stdout(), mcp.stderr()]).toEqual([expect.not.stringContaining('"error"'), ""]);
    mcp.child.kill();
  }
});
