/**
 * What a flood by one caller costs another: p99 of whoami and session.send of somebody who has nothing to do with it, with and
 * without each flood, by turns in one run; the longest that /healthz took; what memory the server came to; and how long after its
 * owner revoked the credential of the flood a call by it was refused. FLOODS=a,b measures those alone whose names hold one of the texts.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import type { Flood } from "./flooder.ts";
import { openHouse, percentile } from "./house.ts";

const ROUNDS = 3;
const CALM_MS = 5000;
const FLOOD_MS = 6000;
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
    slug,
    service: service.id,
    revoke: () => inside.secretKey.revoke({ id }),
  };
}

type Flooder = Awaited<ReturnType<typeof makeFlooder>>;
type Described = Omit<Flood, "url" | "seconds">;

const RPC = "/api/v1/space/rpc";
const SIGN_IN = "/api/auth/sign-in/email";
const batch = (count: number, make: (i: number) => object) => text(Array.from({ length: count }, (_, i) => make(i)));
const members = text(Object.fromEntries(Array.from({ length: 90_000 }, (_, i) => [`m${i}`, 0])));

const get = (path: string, headers: Record<string, string>): Described => ({
  connections: 64,
  requests: [{ path: `/api/v1${path}`, method: "GET", headers }],
});

/** A session of the flooder's with a log of 8 MiB. @returns its id */
async function longLog({ key, slug }: Flooder): Promise<string> {
  const worker = createSpaceClient({ server: house.url, credential: key, space: slug });
  const { session } = await worker.session.create({ task: "log", message: "go" });
  const { lease } = await worker.run.lease({ tasks: ["log"], worker: "w", waitSeconds: 5 });
  if (!lease) throw new Error("no run");
  const { run, epoch } = lease;
  const { input } = await worker.run.next({ run, epoch, waitSeconds: 5 });
  const turn = input?.turn as number;
  const chunks = Array.from({ length: 16 }, () => ({ type: "data-x", data: "x".repeat(8000) }));
  for (let i = 0; i < 64; i++) await worker.run.emit({ run, epoch, turn, chunks });
  await worker.run.endTurn({ run, epoch, turn, outcome: "complete" });
  await worker.session.close({ session: session.id }); // a stream of it ends
  return session.id;
}

/** Sessions of the flooder's with as much metadata as there may be. */
async function longList({ key, slug }: Flooder): Promise<void> {
  const client = createSpaceClient({ server: house.url, credential: key, space: slug });
  for (let i = 0; i < 300; i++) await client.session.create({ task: "list", metadata: { x: "x".repeat(16_000) } });
}

/** The key of an agent of a group in the flooder's space: /mcp takes no service's. */
async function programKey({ slug }: Flooder): Promise<string> {
  const space = createSpaceClient({ server: house.url, credential: house.session, space: slug });
  const group = await space.group.create({ name: "flooders" });
  const { id: agent } = await owner.agent.create({ name: `flooder of ${slug}` });
  await space.principal.add({ principal: agent });
  await owner.agent.transfer({ id: agent, to: group.id });
  return (await owner.apiKey.create({ name: "flood", agent })).key;
}

/** Makes calls in the flooder's space as its owner, a hundred at a time. */
async function prepare({ slug }: Flooder, calls: readonly object[]): Promise<void> {
  const headers = { ...JSON_TYPE, authorization: `Bearer ${house.session}`, "x-me-space": slug };
  for (let from = 0; from < calls.length; from += 100) {
    const answer = await fetch(house.url + RPC, { method: "POST", headers, body: text(calls.slice(from, from + 100)) });
    if (!answer.ok || (await answer.text()).includes('"error"')) throw new Error(`not prepared: ${answer.status}`);
  }
}

/** Gives the flooder as many grants as a space may have, all but the few it has already, each beneath such a path. */
const manyGrants = (by: Flooder, beneath: string): Promise<void> =>
  prepare(
    by,
    Array.from({ length: 4900 }, (_, i) => call("access.grant", { principal: by.service, permission: `read:things:${beneath}${i}` })),
  );

/** As many invitations as there may be, each to as many groups. */
async function manyInvitations(by: Flooder): Promise<void> {
  const space = createSpaceClient({ server: house.url, credential: house.session, space: by.slug });
  const groups: string[] = [];
  for (let i = 0; i < 20; i++) groups.push((await space.group.create({ name: `group ${i} ${"x".repeat(40)}` })).id);
  await prepare(
    by,
    Array.from({ length: 1000 }, () => call("invite.create", { groups })),
  );
  await space.access.grant({ principal: by.service, permission: "write:members" });
}

/** Sessions of a task of a hundred segments, of which the flooder may read none. @returns a key that may read others */
async function deepTasks(by: Flooder): Promise<string> {
  const task = Array(100).fill("a").join("/");
  await prepare(
    by,
    Array.from({ length: 2000 }, () => call("session.create", { task })),
  );
  const space = createSpaceClient({ server: house.url, credential: house.session, space: by.slug });
  const { key, id } = await space.secretKey.create({ name: "narrow", ceiling: ["read:tasks:b/c/d"] });
  by.revoke = () => space.secretKey.revoke({ id });
  by.key = key;
  return key;
}

const floods: Record<string, (by: Flooder) => Described | Promise<Described>> = {
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
  "64 streams of a log of 8 MiB, read again and again": async (by) => get(`/sessions/${await longLog(by)}/out`, by.headers),
  "64 × session.events of that log": async (by) => get(`/sessions/${await longLog(by)}/events?limit=1000`, by.headers),
  "64 × session.list of 300 with 16 KiB each": async (by) => {
    await longList(by);
    return get("/sessions?limit=100", by.headers);
  },
  "64 × tools/list and tools/call at /mcp": async (by) => {
    const key = await programKey(by);
    return {
      connections: 64,
      requests: [call("tools/list"), call("tools/call", { name: "whoami", arguments: {} })].map((message) => ({
        path: `/mcp?space=${by.slug}`,
        headers: { ...JSON_TYPE, authorization: `Bearer ${key}`, accept: "application/json, text/event-stream" },
        body: text(message),
      })),
    };
  },
  "64 × access.check by who has 4,900 grants": async (by) => {
    await manyGrants(by, "t/");
    return {
      connections: 64,
      requests: [{ path: RPC, headers: by.headers, body: text(call("access.check", { permission: "read:things:t/9" })) }],
    };
  },
  "16 × access.effective by who has 4,900 grants of 118 segments": async (by) => {
    await manyGrants(by, "a/".repeat(117));
    return { connections: 16, requests: [{ path: RPC, headers: by.headers, body: text(call("access.effective")) }] };
  },
  "32 × invite.list of 1,000 to 20 groups each": async (by) => {
    await manyInvitations(by);
    return { connections: 32, requests: [{ path: RPC, headers: by.headers, body: text(call("invite.list", { limit: 1000 })) }] };
  },
  "16 × session.list of 2,000 of a task of 100 segments": async (by) => {
    const headers = { ...by.headers, authorization: `Bearer ${await deepTasks(by)}` };
    return { connections: 16, requests: [{ path: RPC, headers, body: text(call("session.list")) }] };
  },
  "64 × run.lease, beside 3,000 runs of another task that wait": async (by) => {
    await prepare(
      by,
      Array.from({ length: 3000 }, () => call("session.create", { task: "waits", message: "go" })),
    );
    return {
      connections: 64,
      requests: [{ path: RPC, headers: by.headers, body: text(call("run.lease", { tasks: ["none"], worker: "w" })) }],
    };
  },
  "64 × principal.resolve, beside 1,000 groups whose names are not ASCII": async (by) => {
    await prepare(
      by,
      Array.from({ length: 900 }, (_, i) => call("group.create", { name: `Größe ${i}` })),
    );
    return { connections: 64, requests: [{ path: RPC, headers: by.headers, body: text(call("principal.resolve", { name: "nobody" })) }] };
  },
  "64 × whoami, the key spelled in ever new ways": ({ headers, key }) => ({
    connections: 64,
    requests: Array.from({ length: 1000 }, (_, i) => ({
      path: "/api/v1/user/rpc",
      headers: { ...headers, authorization: `${["bearer", "Bearer", "BEARER", "bEARER"][i % 4]}${" ".repeat(1 + (i >> 2))}${key}` },
      body: text(call("whoami")),
    })),
  }),
  "32 × 9,990 members of _meta at /mcp": async (by) => ({
    connections: 32,
    requests: [
      {
        path: `/mcp?space=${by.slug}`,
        headers: { ...JSON_TYPE, authorization: `Bearer ${await programKey(by)}`, accept: "application/json, text/event-stream" },
        body: text(
          call("tools/call", {
            name: "whoami",
            arguments: {},
            _meta: Object.fromEntries(Array.from({ length: 9990 }, (_, i) => [`m${i}`, 0])),
          }),
        ),
      },
    ],
  }),
  "2,400 streams on which nothing comes": async (by) => {
    const client = createSpaceClient({ server: house.url, credential: by.key, space: by.slug });
    const browsers = [];
    while (browsers.length < 240) browsers.push(await client.session.create({ task: "idle" }));
    return {
      connections: 2400,
      networks: 64,
      requests: browsers.map(({ session, token }) => ({
        path: `/api/v1/sessions/${session.id}/out`,
        method: "GET",
        headers: { ...by.headers, authorization: `Bearer ${token}` },
      })),
    };
  },
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

/** Milliseconds that calls took, and MiB of memory, by when they were seen. */
interface Measured {
  whoami: number[];
  send: number[];
  health: number[];
  memory: number[];
}

const none = (): Measured => ({ whoami: [], send: [], health: [], memory: [] });

const timed = async (run: () => Promise<unknown>) => {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
};

/** Resident memory of the server, in MiB. */
const resident = async () =>
  Math.round((Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${house.pid}/status`, "utf8"))?.[1]) * 1024) / MIB);

let inputs = 0;
async function measure(milliseconds: number, into: Measured): Promise<void> {
  const until = performance.now() + milliseconds;
  const every = async (pace: number, run: () => Promise<void>) => {
    while (performance.now() < until) {
      await run();
      await delay(pace);
    }
  };
  await Promise.all([
    every(PACE_MS, async () => void into.whoami.push(await timed(() => victim.whoami()))),
    // A session takes so many inputs a minute: each has several, in turn.
    every(3 * PACE_MS, async () => {
      const session = sessions[inputs++ % sessions.length] as string;
      into.send.push(await timed(() => inside.session.send({ session, message: "hello" })));
    }),
    every(PACE_MS, async () => void into.health.push(await timed(async () => (await fetch(`${house.url}/healthz`)).text()))),
    every(100, async () => void into.memory.push(await resident())),
  ]);
}

/** Floods for as long as is measured. @returns what the flood was answered, by status */
async function flood(described: Described, into: Measured): Promise<Record<string, number>> {
  // A flood comes from elsewhere: it takes what processor time the server, its database and the victim leave.
  const child = spawn("nice", ["-n", "19", process.execPath, `${import.meta.dirname}/flooder.ts`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (said += part));
  const exited = once(child, "exit");
  child.stdin.end(text({ url: house.url, seconds: (SETTLE_MS + FLOOD_MS) / 1000, ...described } satisfies Flood));
  while (!said.includes("flooding")) await once(child.stdout, "data");
  await delay(SETTLE_MS);
  await measure(FLOOD_MS, into);
  await exited;
  return JSON.parse(said.split("\n")[1] as string);
}

const ms = (number: number) => `${number.toFixed(1)} ms`;
const asked = process.env.FLOODS?.split(",") ?? [""];

/** Revokes the credential of a flood that goes on. @returns milliseconds until a call by it is refused */
const revocation = async ({ key, revoke }: Flooder, described: Described): Promise<number> => {
  const going = flood(described, none());
  await delay(2 * SETTLE_MS);
  const taken = await timed(async () => {
    await revoke();
    const headers = { ...JSON_TYPE, authorization: `Bearer ${key}` };
    for (;;) {
      const answer = await fetch(`${house.url}/api/v1/user/rpc`, { method: "POST", headers, body: text(call("whoami")) });
      if (answer.status === 401) return;
    }
  });
  await going;
  return taken;
};

try {
  await measure(SETTLE_MS, none());
  for (const [name, describe] of Object.entries(floods)) {
    if (!asked.some((text) => name.includes(text))) continue;
    const by = await makeFlooder();
    const described = await describe(by);
    const [calm, flooded] = [none(), none()];
    const answers: Record<string, number> = {};
    for (let round = 0; round < ROUNDS; round++) {
      await measure(CALM_MS, calm);
      for (const [status, count] of Object.entries(await flood(described, flooded))) answers[status] = (answers[status] ?? 0) + count;
    }
    const revoked = await revocation(by, described);
    const p99 = (of: "whoami" | "send") => {
      const [before, during] = [percentile(calm[of], 0.99), percentile(flooded[of], 0.99)];
      return `${ms(before)} → ${ms(during)} (${(during / before).toFixed(1)} ×)`;
    };
    const most = (of: "health" | "memory") => [calm, flooded].map((measured) => Math.max(...measured[of]));
    console.log(
      [
        name,
        `  whoami p99 ${p99("whoami")}; session.send p99 ${p99("send")}`,
        `  /healthz at most ${most("health").map(ms).join(" → ")}; memory ${most("memory").join(" → ")} MiB; revoked in ${ms(revoked)}`,
        `  the flood's answers: ${text(answers)}`,
      ].join("\n"),
    );
    await delay(SETTLE_MS);
  }
} finally {
  await house.close();
}
