import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { openDatabase } from "@gatehouse/server";
import { expect, test } from "vitest";
import { isUnreachable } from "../packages/server/src/unreachable.ts";
import { makeDatabase } from "./harness.ts";
import { start } from "./run.ts";

// What connections do that end at the worst moment: each belongs to one client of postgres.js, which never gets another.

test("transactions on connections that are ended every few milliseconds: none is half done, and no exception escapes", async () => {
  const address = await makeDatabase();
  for (const on of [address, `${address}&prepare=false`]) {
    const { code, stdout, stderr } = await start(process.execPath, [join(import.meta.dirname, "ended-lines.ts"), on], {
      PATH: process.env.PATH ?? "",
    }).finished;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { transactions, codes, half, whole } = JSON.parse(stdout);
    const { done = 0, ...lost } = codes as Record<string, number>;
    expect(half).toBe(0);
    expect(whole, "a commit whose answer was lost may be done").toBeGreaterThanOrEqual(done);
    expect(Object.values(lost).reduce((sum, n) => sum + n, 0)).toBe(transactions - done);
    expect(Object.keys(lost).length, "connections were ended").toBeGreaterThan(0);
    for (const code of Object.keys(lost)) expect(isUnreachable({ code }), code).toBe(true);
    const sql = openDatabase(address);
    await sql`drop table pairs`;
    await sql.end();
  }
});

/** What a server may say of a connection before it hangs up: asks for a password, signs in, is ready; or nothing, or nonsense. */
const said = {
  nothing: Buffer.alloc(0),
  nonsense: Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
  "a question for a password": Buffer.from("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "latin1"),
  "half of a message": Buffer.from("R\0\0\0\x17\0\0", "latin1"),
  "that it is ready": Buffer.from("R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", "latin1"),
};
const hangUps: Record<string, (socket: Socket, bytes: Buffer) => void> = {
  "closes the connection": (socket, bytes) => socket.end(bytes),
  "resets it": (socket, bytes) => socket.write(bytes, () => socket.resetAndDestroy()),
};

test.each(
  Object.entries(said).flatMap(([what, bytes]) => Object.entries(hangUps).map(([how, hangUp]) => [what, how, bytes, hangUp] as const)),
)("a database that says %s and %s: everything asked of it fails at once, and it is asked anew", async (_what, _how, bytes, hangUp) => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on("error", () => {}).once("data", () => hangUp(socket, bytes));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const sql = openDatabase(`postgres://u:p@127.0.0.1:${(server.address() as AddressInfo).port}/d`);
  for (let round = 1; round <= 2; round++) {
    const asked = [sql`select 1`, sql.begin((tx) => Promise.all([tx`select 1`, tx`select ${1}::int`])), sql`select ${2}::int`];
    for (const outcome of await Promise.allSettled(asked)) {
      expect(outcome.status).toBe("rejected");
      expect(isUnreachable((outcome as PromiseRejectedResult).reason)).toBe(true);
    }
    expect(connections).toBe(round * asked.length);
  }
  await sql.end();
  server.close();
});
