/**
 * What open streams weigh: ten thousand of them on one server, each on a session of its own, idle, then one with something
 * to say to all; and one reader who stops reading while a log grows.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createSpaceClient } from "@gatehouse/client";
import { type Begun, begin, openHouse } from "./house.ts";
import { openLine } from "./line.ts";

const STREAMS = 10_000;
const SESSIONS = 2000;
const OPEN_AT_ONCE = 50;
const IDLE_MS = 10_000;
const MIB = 1024 * 1024;
/** What is said while nobody reads. */
const FLOOD_BYTES = 256 * MIB;
const CHUNK_BYTES = 200_000;
/** Longer than a reader may take for what was written to it. */
const STALLED_MS = 35_000;

const house = await openHouse();
const client = createSpaceClient(house.target);
/** Resident memory of the server, in MiB. */
const resident = async () =>
  Math.round(Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${house.pid}/status`, "utf8"))?.[1]) / 1024);
const processor = async () => {
  const [user, system] = (await readFile(`/proc/${house.pid}/stat`, "utf8")).split(" ").slice(13, 15).map(Number);
  return ((user as number) + (system as number)) * 10;
};

try {
  const before = await resident();
  const sessions: string[] = [];
  for (let i = 0; i < SESSIONS; i += 50)
    await Promise.all(
      Array.from({ length: 50 }, async () => sessions.push((await client.session.create({ task: "nobody", message: "hello" })).session.id)),
    );
  let heard = 0;
  const left = Array.from({ length: STREAMS }, (_, i) => sessions[i % SESSIONS] as string).values();
  await Promise.all(
    Array.from({ length: OPEN_AT_ONCE }, async () => {
      for (const session of left)
        await openLine(house.url, `/api/v1/sessions/${session}/out`, house.headers, (text) => {
          if (text.includes("event: close")) heard++;
        });
    }),
  );
  const open = await resident();
  const busy = await processor();
  await delay(IDLE_MS);
  const idle = (((await processor()) - busy) / IDLE_MS) * 100;
  console.log(`${STREAMS} open streams: ${open} MiB resident (${before} MiB before), ${idle.toFixed(1)} % of a processor while idle`);
  const startedAt = performance.now();
  for (let i = 0; i < sessions.length; i += 50)
    await Promise.all(sessions.slice(i, i + 50).map((session) => client.session.close({ session })));
  while (heard < STREAMS) await delay(20);
  console.log(`all told of the end ${Math.round(performance.now() - startedAt)} ms after it began; ${await resident()} MiB`);

  const [read, unread] = await begin(house, 2);
  if (!read || !unread) throw new Error("no runs");
  await flood(read); // what the flood itself takes
  const calm = await flood(read);
  let bytes = 0;
  const stalled = await openLine(house.url, `/api/v1/sessions/${unread.session}/out`, house.headers, (text) => {
    bytes += text.length;
  });
  const closed = once(stalled, "close");
  stalled.pause();
  const most = await flood(unread);
  console.log(`a reader who stops while ${FLOOD_BYTES / MIB} MiB are said: ${most - calm} MiB more at the most`);
  await delay(STALLED_MS);
  stalled.resume().on("error", () => {});
  const dropped = await Promise.race([closed.then(() => true), delay(STALLED_MS, false)]);
  console.log(`and ${dropped ? "is dropped" : "IS NOT DROPPED"}, with ${(bytes / MIB).toFixed(1)} MiB that were on their way`);
} finally {
  await house.close();
}

/** Says much in a session. @returns the most memory that it took */
async function flood({ run, epoch, turn }: Begun): Promise<number> {
  let most = 0;
  for (let said = 0; said < FLOOD_BYTES; said += CHUNK_BYTES) {
    await client.run.emit({ run, epoch, turn, chunks: [{ type: "text-delta", id: "1", delta: "x".repeat(CHUNK_BYTES) }] });
    most = Math.max(most, await resident());
  }
  return most;
}
