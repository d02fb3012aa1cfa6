/**
 * What a flood by one caller costs another: p99 of whoami and session.send of somebody who has nothing to do with it, with and
 * without each flood, in one run; the longest that /healthz took; what memory the server came to; and how long after its owner
 * revoked the credential of the flood a call by it was refused.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import type { Flood } from "./flooder.ts";
import { openHouse, percentile } from "./house.ts";

const CALM_MS = 8000;
const FLOOD_MS = 12_000;
const SETTLE_MS = 1000;
/** The victim's calls: not as many as it can, but as many as a person's programs make. */
const PACE_MS = 20;
const MIB = 1024 * 1024;

const house = await openHouse({ RATE_LIMIT: "6000" });
const owner = createUserClient({ server: house.url, credential: house.session });
const JSON_TYPE = { "content-type": "application/json" };
const call = (method: string, params: object = {}) => ({ jsonrpc: "2.0", id: 1, method, params });
const text = (value: unknown) => JSON.stringify(value);

/** The key that floods: of a space's own service, for whoever shares an owner with it shares its turn. */
async function makeFlooder() {
  const { slug } = await owner.space.create({ name: "floods" });
  const inside = createSpaceClient({ server: house.url, credential: house.session, space: slug });
  const { id, key } = await inside.secretKey.create({ name: "flood" });
  const service = await createUserClient({ server: house.url, credential: key }).whoami();
  await inside.access.grant({ principal: service.id, permission: "admin:tasks" });
  await inside.access.grant({ principal: service.id, permission: "write:groups" });
  return {
    headers: { ...JSON_TYPE, authorization: `Bearer ${key}`, "x-me-space": slug },
    key,
    revoke: () => inside.secretKey.revoke({ id }),
  };
}

type Flooder = Awaited<ReturnType<typeof makeFlooder>>;
type Described = Omit<Flood, "url" | "seconds">;

const RPC = "/api/v1/space/rpc";
const SIGN_IN = "/api/auth/sign-in/email";
const batch = (count: number, make: (i: number) => object) => text(Array.from({ length: count }, (_, i) => make(i)));
const members = text(Object.fromEntries(Array.from({ length: 90_000 }, (_, i) => [`m${i}`, 0])));

const floods: Record<string, (by: Flooder) => Described> = {
  "64 batches of 100 rpc.discover": ({ headers }) => ({
    connections: 64,
    requests: [{ path: RPC, headers, body: batch(100, () => call("rpc.discover")) }],
  }),
  "64 batches of 50 rpc.discover": ({ headers }) => ({
    connections: 64,
    requests: [{ path: RPC, headers, body: batch(50, () => call("rpc.discover")) }],
  }),
  "64 batches of 100 writes": ({ headers }) => ({
    connections: 64,
    requests: [{ path: RPC, headers, body: batch(100, () => call("group.create", { name: `g ${Math.random()}` })) }],
  }),
  "64 batches of 100 denials": ({ headers }) => ({
    connections: 64,
    requests: [{ path: RPC, headers, body: batch(100, () => call("audit.list")) }],
  }),
  "64 × whoami": ({ headers }) => ({
    connections: 64,
    requests: [{ path: "/api/v1/user/rpc", headers, body: text(call("whoami")) }],
  }),
  "64 × session.send of 340,000 parts": ({ headers }) => ({
    connections: 64,
    requests: [
      {
        path: RPC,
        headers,
        body: `{"jsonrpc":"2.0","id":1,"method":"session.send","params":{"session":"x","message":{"parts":[${"0,".repeat(340_000)}0]}}}`,
      },
    ],
  }),
  "1,000 leases that wait, and runs": ({ headers }) => ({
    connections: 400,
    requests: [
      ...Array.from({ length: 7 }, () => ({
        path: RPC,
        headers,
        body: text(call("run.lease", { tasks: ["flood"], worker: "w", waitSeconds: 20 })),
      })),
      { path: RPC, headers, body: text(call("session.create", { task: "flood", message: "go" })) },
    ],
  }),
  "64 × 1 MiB of unknown members to sign-in, by a stranger": () => ({
    connections: 64,
    networks: 1,
    requests: [{ path: SIGN_IN, headers: { ...JSON_TYPE, origin: house.url }, body: members }],
  }),
  "64 × wrong passwords, from 64 networks": () => ({
    connections: 64,
    requests: Array.from({ length: 50 }, (_, i) => ({
      path: SIGN_IN,
      headers: { ...JSON_TYPE, origin: house.url },
      body: text({ email: `nobody-${i}@example.com`, password: "wrong wrong wrong" }),
    })),
  }),
  "64 × no credential, by a stranger": () => ({
    connections: 64,
    networks: 1,
    requests: [{ path: RPC, headers: JSON_TYPE, body: text(call("whoami")) }],
  }),
};

/** The victim: an agent that calls at its pace, and says something now and then. */
const victim = createUserClient(house.target);
const inside = createSpaceClient(house.target);
const sessions: string[] = [];
while (sessions.length < 300) sessions.push((await inside.session.create({ task: "victim" })).session.id);

interface Measured {
  whoami: number;
  send: number;
  health: number;
  memory: number;
}

const timed = async (run: () => Promise<unknown>) => {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
};

/** Resident memory of the server, in MiB. */
const resident = async () =>
  Math.round((Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${house.pid}/status`, "utf8"))?.[1]) * 1024) / MIB);

let inputs = 0;
async function measure(ms: number): Promise<Measured> {
  const until = performance.now() + ms;
  const taken = { whoami: [] as number[], send: [] as number[], health: [] as number[] };
  let memory = 0;
  const every = async (pace: number, into: number[], run: () => Promise<unknown>) => {
    while (performance.now() < until) {
      into.push(await timed(run));
      await delay(pace);
    }
  };
  await Promise.all([
    every(PACE_MS, taken.whoami, () => victim.whoami()),
    // A session takes so many inputs a minute: each has several, in turn.
    every(3 * PACE_MS, taken.send, () =>
      inside.session.send({ session: sessions[inputs++ % sessions.length] as string, message: "hello" }),
    ),
    every(PACE_MS, taken.health, () => fetch(`${house.url}/healthz`).then((answer) => answer.text())),
    every(100, [], async () => {
      memory = Math.max(memory, await resident());
    }),
  ]);
  return {
    whoami: percentile(taken.whoami, 0.99),
    send: percentile(taken.send, 0.99),
    health: Math.max(...taken.health),
    memory,
  };
}

const ms = (number: number) => `${number.toFixed(1)} ms`;
const ratio = (with_: number, without: number) => `${(with_ / without).toFixed(1)} ×`;
const asked = process.env.FLOODS;

try {
  await measure(SETTLE_MS);
  for (const [name, describe] of Object.entries(floods)) {
    if (asked && !name.includes(asked)) continue;
    const by = await makeFlooder();
    const calm = await measure(CALM_MS);
    // A flood comes from elsewhere: it takes what processor time the server, its database and the victim leave.
    const child = spawn("nice", ["-n", "19", process.execPath, `${import.meta.dirname}/flooder.ts`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => (said += part));
    const exited = once(child, "exit");
    child.stdin.end(text({ url: house.url, seconds: (FLOOD_MS + 4000) / 1000, ...describe(by) } satisfies Flood));
    while (!said.includes("flooding")) await once(child.stdout, "data");
    await delay(500);
    const flooded = await measure(FLOOD_MS);
    const revoked = await timed(async () => {
      await by.revoke();
      const headers = { ...JSON_TYPE, authorization: `Bearer ${by.key}` };
      for (;;) {
        const answer = await fetch(`${house.url}/api/v1/user/rpc`, { method: "POST", headers, body: text(call("whoami")) });
        if (answer.status === 401) return;
      }
    });
    await exited;
    console.log(
      [
        name,
        `  whoami p99 ${ms(calm.whoami)} → ${ms(flooded.whoami)} (${ratio(flooded.whoami, calm.whoami)})`,
        `  session.send p99 ${ms(calm.send)} → ${ms(flooded.send)} (${ratio(flooded.send, calm.send)})`,
        `  /healthz at most ${ms(calm.health)} → ${ms(flooded.health)}; memory ${calm.memory} → ${flooded.memory} MiB; revoked in ${ms(revoked)}`,
        `  the flood's answers: ${said.split("\n")[1]}`,
      ].join("\n"),
    );
    await delay(SETTLE_MS);
  }
} finally {
  await house.close();
}
