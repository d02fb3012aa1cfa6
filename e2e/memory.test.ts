import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { MAX_BODY_BYTES } from "@gatehouse/protocol";
import { createUser, openDatabase } from "@gatehouse/server";
import { expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { dial, head, received } from "./raw-http.ts";
import { makeHome, startUp } from "./run.ts";

// A server in a process of its own, so that what it holds can be told from what the tests hold.

const PASSWORD = "correct horse battery staple";
/** Rounds in which a server grows to its working size. */
const WARM_UP = 5;
const ROUNDS = 12;
const MIB = 1024 * 1024;

/** Resident memory of a process, in bytes. */
function residentOf(pid: number): number {
  const kibibytes =
    process.platform === "linux"
      ? /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
      : execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" });
  return Number(kibibytes) * 1024;
}

test("thousands of hostile requests leave a server's memory where it was", async () => {
  const databaseUrl = await makeDatabase();
  const server = await startUp(await makeHome(), {
    ...onDatabase(databaseUrl),
    LOG_LEVEL: "silent",
    RATE_LIMIT: "0",
    FAILED_AUTH_LIMIT: "0",
    BODY_TIMEOUT_MS: "1000",
  });
  const sql = openDatabase(databaseUrl);
  await createUser(sql, { email: "mallory@example.com", name: "Mallory", password: PASSWORD });
  await sql.end();
  const signedIn = await fetch(`${server.url}/api/auth/sign-in/email`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email: "mallory@example.com", password: PASSWORD }),
  });
  const session = signedIn.headers.get("set-auth-token") ?? "";

  const post = async (body: string, credential = session) => {
    const answer = await fetch(`${server.url}/api/v1/user/rpc`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${credential}` },
      body,
    });
    await answer.text();
    return answer.status;
  };
  const call = (method: string, params: string) => `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`;
  const abandon = async (sent: string) => {
    const socket = await dial(server.url);
    const closed = received(socket);
    socket.write(sent, () => socket.resetAndDestroy());
    await closed;
  };

  /** Bodies that are large, deep, many-keyed, never the same, or never finished: whatever might be kept of them adds up. */
  let unlike = 0;
  const hostile: (() => Promise<unknown>)[] = [
    () => post(" ".repeat(MAX_BODY_BYTES - 2) + ++unlike),
    () => post("[".repeat(MAX_BODY_BYTES / 2)),
    () => post(call("agent.create", "[".repeat(10_000) + "]".repeat(10_000))),
    () => post(call("agent.create", `{${Array.from({ length: 5000 }, () => `"key ${++unlike}":1`)}}`)),
    () => post(call(`unknown.${++unlike}`, "{}")),
    () => post(`[${Array.from({ length: 100 }, () => call(`method ${++unlike}`, `{"__proto__":${unlike}}`))}]`),
    () => post(call("whoami", "{}"), `nobody ${++unlike}`),
    () => post(call("whoami", "{}"), `me_pat_${++unlike}`),
    () => fetch(`${server.url}/nothing/${++unlike}`).then((answer) => answer.text()),
    () => abandon(head(session, "Content-Length: 1000000") + "x".repeat(50_000)),
    () => abandon(`GARBAGE ${++unlike}\r\n\r\n`),
  ];
  const attack = async () => {
    for (let i = 0; i < 40; i++) await Promise.all(hostile.map((request) => request()));
  };

  const { pid } = server.child;
  const resident: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    await attack();
    resident.push(Math.round(residentOf(pid as number) / MIB));
  }
  // A garbage collector swings, and takes a step up where the machine is busy; it does not rise. So the least of the last
  // rounds is held against the most of the first ones. Each round sends 100 MiB: if but the large bodies were kept, this
  // would come to 500.
  const [first, last] = [resident.slice(0, WARM_UP), resident.slice(-3)];
  expect(Math.min(...last) - Math.max(...first), `MiB after each round: ${resident}`).toBeLessThan(200);
  expect(await post(call("whoami", "{}"))).toBe(200);
  await server.stop();
});
