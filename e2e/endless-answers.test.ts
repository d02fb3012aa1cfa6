import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createGzip } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { makeKey } from "../packages/server/src/key.ts";
import { makeHome, me } from "./run.ts";

const MEBIBYTE = 1024 * 1024;
/** Far more than a server answers with, and far less than what takes the memory of the machine. */
const MOST = 64 * MEBIBYTE;
const JSON_TYPE = { "content-type": "application/json" };

let answer: (response: ServerResponse) => void;
/** Bytes that somebody has taken. */
let taken = 0;
const server = createServer((request, response) => {
  request.resume();
  taken = 0;
  answer(response);
});
beforeAll(() => once(server.listen(0, "127.0.0.1"), "listening"));
afterAll(() => void server.close());
const address = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

/** Writes until nobody reads any more, or all has been taken. */
function endless(into: NodeJS.WritableStream, response: ServerResponse, begin: string): void {
  const part = Buffer.alloc(MEBIBYTE, "a");
  const go = () => {
    while (!response.destroyed && taken < MOST) {
      taken += part.length;
      if (!into.write(part)) return void into.once("drain", go);
    }
    if (!response.destroyed) into.end('"}');
  };
  into.write(begin);
  go();
}
const begun = '{"jsonrpc":"2.0","id":1,"result":"';

async function ask(...command: string[]) {
  const home = await makeHome({ ME_SERVER: address(), ME_SPACE: "home", ME_API_KEY: makeKey("pat") });
  return me(home, command);
}

test.each<[string, (response: ServerResponse) => void]>([
  ["has no end", (response) => endless(response.writeHead(200, JSON_TYPE), response, begun)],
  ["says how long it is", (response) => endless(response.writeHead(200, { ...JSON_TYPE, "content-length": MOST + 36 }), response, begun)],
  ["is a refusal", (response) => endless(response.writeHead(403, { "content-type": "application/problem+json" }), response, begun)],
])("an answer that %s is not read to its end", async (_what, answers) => {
  answer = answers;
  const { code, stderr } = await ask("whoami");
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("answered with more than a Gatehouse does")]);
  expect(taken).toBeLessThan(MOST);
});

test("an answer that is short until it is decoded is not read to its end", async () => {
  answer = (response) => {
    const gzip = createGzip();
    gzip.pipe(response.writeHead(200, { ...JSON_TYPE, "content-encoding": "gzip" }));
    endless(gzip, response, begun);
  };
  const { code, stderr } = await ask("whoami");
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("answered with more than a Gatehouse does")]);
});

test("what a server publishes of itself is not read to its end", async () => {
  answer = (response) => endless(response.writeHead(200, JSON_TYPE), response, `{"issuer":"`);
  const home = await makeHome();
  const { code, stderr } = await me(home, ["login", "--server", address(), "--device"]);
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("did not answer as a Gatehouse does")]);
  expect(taken).toBeLessThan(MOST);
});

test("an event that has no end is not read to its end", async () => {
  answer = (response) => endless(response.writeHead(200, { "content-type": "text/event-stream" }), response, "data: ");
  const { code, stderr } = await ask("session", "events", "order-1", "--follow");
  expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("answered with more than a Gatehouse does")]);
  expect(taken).toBeLessThan(MOST);
});

test.each(["text", {}, [[]], { id: 7, name: {}, kind: "x", credential: null }])(
  "an answer that is %j, and not what was asked for, is said to be so",
  async (result) => {
    answer = (response) => response.writeHead(200, JSON_TYPE).end(JSON.stringify({ jsonrpc: "2.0", id: 1, result }));
    const { code, stderr } = await ask("whoami");
    expect([code, stderr]).toEqual([exitCodes.error, expect.stringContaining("The server's answer lacks what me looks for")]);
  },
);
