/**
 * What `me mcp` costs the client that starts it: the time from start to the first answer, beside the least that the official
 * library can be, in turns on one machine; and the memory it holds when it has listed its tools.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const ROUNDS = 15;
const MOST = { ms: 300, ratio: 2, megabytes: 120 };

const here = import.meta.dirname;
const home = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
const env = { PATH: process.env.PATH, HOME: home, ME_KEYCHAIN: "off" };

/** Starts a server, asks it who it is and for its tools, and ends it. */
async function measure(script: string[]): Promise<{ ms: number; megabytes: number }> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, script, { env, stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout });
  const say = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  say({
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
  });
  await once(lines, "line");
  const ms = performance.now() - startedAt;
  say({ method: "notifications/initialized" });
  say({ id: 2, method: "tools/list" });
  await once(lines, "line");
  const status = await readFile(`/proc/${child.pid}/status`, "utf8").catch(() => "");
  child.stdin.end();
  await once(child, "exit");
  return { ms, megabytes: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1024 };
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

try {
  const rounds: { bare: Awaited<ReturnType<typeof measure>>; mine: Awaited<ReturnType<typeof measure>> }[] = [];
  for (let round = 0; round < ROUNDS; round++)
    rounds.push({
      bare: await measure([join(here, "bare-mcp.ts")]),
      mine: await measure([join(here, "../packages/cli/src/main.ts"), "mcp"]),
    });
  const found = {
    ms: median(rounds.map(({ mine }) => mine.ms)),
    ratio: median(rounds.map(({ bare, mine }) => mine.ms / bare.ms)),
    megabytes: median(rounds.map(({ mine }) => mine.megabytes)),
  };
  const bare = { ms: median(rounds.map(({ bare }) => bare.ms)), megabytes: median(rounds.map(({ bare }) => bare.megabytes)) };
  console.log(
    `me mcp, first answer after its start: ${found.ms.toFixed(0)} ms (at most ${MOST.ms}); a bare server: ${bare.ms.toFixed(0)} ms`,
  );
  console.log(`ratio: ${found.ratio.toFixed(2)} (at most ${MOST.ratio})`);
  console.log(`memory: ${found.megabytes.toFixed(0)} MB (at most ${MOST.megabytes}); a bare server: ${bare.megabytes.toFixed(0)} MB`);
  if (found.ms > MOST.ms || found.ratio > MOST.ratio || found.megabytes > MOST.megabytes) process.exitCode = 1;
} finally {
  await rm(home, { recursive: true, force: true });
}
