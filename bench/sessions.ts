/**
 * What sessions cost: batches of chunks that are kept each second, beside bare inserts of the same batches; from `emit` to
 * a reader, with few streams open and many, beside server-sent events from memory; and what comes on top of a model's
 * first token. All on one machine, turn by turn; what counts is ratios and differences of medians.
 */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import autocannon from "autocannon";
import { firstTokens } from "./first-token.ts";
import { type Begun, begin, type House, median, openHouse, percentile } from "./house.ts";
import { launch } from "./launch.ts";
import { openLine } from "./line.ts";

const ROUNDS = 5;
const SECONDS = 3;
const CONNECTIONS = 16;
const BATCH = 20;
const STREAMS = [1, 100, 1000];
const EVENTS = 200;
const CONVERSATIONS = 10;
const PACE_MS = 10;

const chunk = (delta: string) => ({ type: "text-delta", id: "1", delta });
const chunks = Array.from({ length: BATCH }, (_, i) => chunk(`word ${i} `));

/** Batches a second that are kept: each connection adds to a log of its own. */
async function throughput(url: string, headers: Record<string, string>, lanes: { path: string; body: object }[]): Promise<number> {
  let lane = 0;
  const { requests, non2xx, errors, mismatches } = await autocannon({
    url,
    method: "POST",
    connections: lanes.length,
    duration: SECONDS,
    verifyBody: (body) => !String(body).includes('"error"'),
    setupClient(client) {
      const { path, body } = lanes[lane++ % lanes.length] as (typeof lanes)[number];
      client.setRequests([
        { method: "POST", path, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) },
      ]);
    },
  });
  if (non2xx + mismatches + errors > 0) throw new Error(`${url}: ${non2xx + mismatches} refused, ${errors} failed`);
  return requests.average;
}

/** Milliseconds from saying something to hearing it: on streams that all are open, one after the other. */
async function latencies(
  heard: Map<string, () => void>,
  say: (lane: number, name: string) => Promise<unknown>,
  lanes: number,
): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < EVENTS; i++) {
    const name = `n${Math.random().toString(36).slice(2)}`;
    const startedAt = performance.now();
    const came = new Promise<void>((resolve) => heard.set(name, resolve)).then(() => times.push(performance.now() - startedAt));
    await Promise.all([say((i * 7919) % lanes, name), came, delay(PACE_MS)]);
    heard.delete(name);
  }
  return times;
}

async function post(url: string, headers: Record<string, string>, body: object): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
  await answer.text();
}

const house = await openHouse();
const bare = await launch([join(import.meta.dirname, "bare-log.ts")], { GATEHOUSE_DATA: house.data });
try {
  await compareAppends(house);
  for (const streams of STREAMS) await compareStreams(house, streams);
  await compareFirstTokens(house);
} finally {
  bare.child.kill();
  await house.close();
}

async function compareAppends(house: House): Promise<void> {
  const begun = await begin(house, CONNECTIONS);
  // By the door that workers take.
  const ours = begun.map(({ run, epoch, turn }) => ({
    path: "/api/v1/space/rpc",
    body: { jsonrpc: "2.0", id: 1, method: "run.emit", params: { run, epoch, turn, chunks } },
  }));
  const theirs = begun.map(({ session }) => ({ path: `/keep/${session}`, body: { chunks } }));
  const rounds: { ours: number; bare: number }[] = [];
  for (let i = 0; i < ROUNDS; i++)
    rounds.push({ bare: await throughput(bare.url, {}, theirs), ours: await throughput(house.url, house.headers, ours) });
  const [a, b] = [median(rounds.map(({ ours }) => ours)), median(rounds.map(({ bare }) => bare))];
  console.log(`run.emit, ${BATCH} chunks each: ${percent(a, b)} of bare inserts (${Math.round(a)} and ${Math.round(b)} a second)`);
}

async function compareStreams(house: House, streams: number): Promise<void> {
  const begun = await begin(house, streams);
  const heard = new Map<string, () => void>();
  const listen = (text: string) => {
    for (const [, name] of text.matchAll(/"delta":"(n\w+)"/g)) heard.get(name as string)?.();
  };
  const open = (url: string, path: (session: string) => string, headers: Record<string, string>) =>
    Promise.all(begun.map(({ session }) => openLine(url, path(session), headers, listen)));
  const rounds: { ours: number[]; bare: number[] }[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const theirs = await open(bare.url, (session) => `/out/${session}`, {});
    const memory = await latencies(
      heard,
      (lane, name) => post(`${bare.url}/say/${(begun[lane] as Begun).session}`, {}, { chunks: [chunk(name)] }),
      streams,
    );
    for (const socket of theirs) socket.destroy();
    const ours = await open(house.url, (session) => `/api/v1/sessions/${session}/out`, house.headers);
    const kept = await latencies(
      heard,
      (lane, name) => {
        const { run, epoch, turn } = begun[lane] as Begun;
        return post(`${house.url}/api/v1/runs/${run}/emit`, house.headers, { epoch, turn, chunks: [chunk(name)] });
      },
      streams,
    );
    for (const socket of ours) socket.destroy();
    rounds.push({ ours: kept, bare: memory });
  }
  const of = (which: "ours" | "bare", share: number) => median(rounds.map((round) => percentile(round[which], share))).toFixed(1);
  console.log(
    `emit to reader, ${streams} streams open: p50 ${of("ours", 0.5)} ms, p99 ${of("ours", 0.99)} ms; from memory ${of("bare", 0.5)} and ${of("bare", 0.99)} ms`,
  );
}

async function compareFirstTokens(house: House): Promise<void> {
  const { direct, through } = await firstTokens(house, CONVERSATIONS);
  console.log(
    `first token: ${(median(through) - median(direct)).toFixed(1)} ms on top of the model's own (medians ${median(through).toFixed(1)} and ${median(direct).toFixed(1)})`,
  );
}

function percent(part: number, whole: number): string {
  return `${Math.round((part / whole) * 100)} %`;
}
