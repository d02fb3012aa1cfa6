/**
 * How long after something was taken away a call by it is still accepted: three servers on one database, busy with
 * several trials at once, for every way to take something away. What counts is when a call was sent; the clock starts
 * when the answer to whoever took it away is there, and for the last column when they asked. Then the same with what may
 * go wrong at that very moment: the feed's lines cut, the database restarted, a server paused. It fails where one call was
 * accepted too late. BENCH_ROUNDS=200 tries each way as often beside each fault as without one, in about an hour.
 */
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RpcResponse } from "@gatehouse/protocol";
import { type Ask, callTool } from "../e2e/program.ts";
import { revocations, type Taken, type Town } from "../e2e/revocations.ts";
import { readConfig } from "../packages/server/src/config.ts";
import { openConfiguredDatabase } from "../packages/server/src/database.ts";
import { createAuth } from "../packages/server/src/people/auth.ts";
import { openSession } from "../packages/server/src/people/users.ts";
import { launch } from "./launch.ts";

const TRIALS = 200;
/** How often each way is tried beside each fault. */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 10);
/** How long after the answer a call may be accepted on another server. On the one that gave the answer: not at all. */
const BOUND_MS = 1000;
const AT_ONCE = 4;
const PAUSE_MS = 1000;
/** Between two calls of one caller: the more of them, the busier all are. */
const PACE_MS = 5;
const DEADLINE_MS = 120_000;
/** A call in a row of so many that are refused is the end of it. */
const REFUSALS = 3;
const SECRET = "a secret that only benches know, 0123456789";

/** One server in one trial: when the last call that it accepted was sent, since the answer and since the asking. */
interface Lag {
  what: string;
  server: number;
  sinceAnswer: number;
  sinceAsked: number;
}

const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
const startPostgres = () => openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
let database = await startPostgres();
const { address } = database;
const me = join(import.meta.dirname, "../packages/cli/src/main.ts");
const env = {
  DATABASE_URL: address,
  GATEHOUSE_SECRET: SECRET,
  XDG_CONFIG_HOME: folder,
  PORT: "0",
  RATE_LIMIT: "0",
  FAILED_AUTH_LIMIT: "0",
  TRUST_PROXY: "1",
  LOG_LEVEL: "silent",
};
const first = await launch([me, "up"], env);
// One address to the outside, as behind a proxy: what one server signs is for the others too.
const others = { ...env, PUBLIC_URL: first.url };
const servers = [first, await launch([me, "up"], others), await launch([me, "up"], others)];
const { auth, close: closeAuth } = createAuth({ address, secret: SECRET, publicUrl: first.url, cookieOrigins: [] });

async function post(server: number, credential: string, method: string, params: object, space?: string): Promise<RpcResponse> {
  const answer = await fetch(`${servers[server]?.url}/api/v1/${space === undefined ? "user" : "space"}/rpc`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${credential}`,
      ...(space !== undefined && { "x-me-space": space }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  return (await answer.json()) as RpcResponse;
}

const town: Town = {
  async user() {
    const name = randomBytes(6).toString("hex");
    const [made] = await database.sql<{ id: string }[]>`
      insert into auth."user" (id, name, email, "emailVerified") values (new_id(), ${name}, ${`${name}@example.com`}, true) returning id`;
    const id = made?.id as string;
    return { id, email: `${name}@example.com`, session: (await openSession(auth, id)).token };
  },
  async ask(path, init) {
    for (;;) {
      // Each from an address of its own: signing in and out is limited for each.
      const address = `2001:db8:${randomBytes(4)
        .toString("hex")
        .replace(/(?<=^....)/, ":")}::1`;
      const answered = await fetch(first.url + path, { ...init, headers: { ...init?.headers, "x-forwarded-for": address } });
      if (answered.status !== 429 && answered.status !== 503) return answered;
      await delay(5);
    }
  },
  async call(credential, method, params = {}, space) {
    for (;;) {
      const answer = await post(0, credential, method, params, space);
      if ("result" in answer) return answer.result;
      if (answer.error.data.code !== "UNAVAILABLE") throw new Error(`${method}: ${answer.error.message}`);
      await delay(5); // the database was just restarted, and not all lines to it are new yet
    }
  },
};

/** Calls a server again and again, until it refuses. What it can't answer now, for want of a database, is neither. */
function callOn(server: number, { credential, method, space, tool }: Taken) {
  const ask: Ask = (path, init) => fetch(`${servers[server]?.url}${path}`, init);
  const use = async (): Promise<string | undefined> => {
    if (tool) return (await callTool(ask, credential, method)).code;
    const answer = await post(server, credential, method, {}, space);
    return "error" in answer ? answer.error.data.code : undefined;
  };
  const state = { accepted: 0, last: Number.NEGATIVE_INFINITY };
  const over = (async () => {
    for (let refusals = 0, end = Date.now() + DEADLINE_MS; refusals < REFUSALS; ) {
      const sent = performance.now();
      const refused = await use();
      if (refused === undefined) Object.assign(state, { accepted: state.accepted + 1, last: sent });
      else if (refused !== "UNAVAILABLE") refusals++;
      await delay(PACE_MS);
      if (Date.now() > end) throw new Error(`${method} is accepted for ever`);
    }
  })();
  over.catch(() => {}); // whoever awaits it learns of it
  return { server, state, over };
}

/** What was given is used on all servers, and is taken away, with what happens `before`, and `after`. */
async function trial(
  taken: Record<string, Taken>,
  { before, after }: { before?: () => Promise<unknown>; after?: () => Promise<unknown> } = {},
): Promise<Lag[]> {
  const used = Object.entries(taken).map(([what, each]) => ({
    what,
    each,
    callers: servers.map((_, i) => callOn(i, each)),
    asked: 0,
    answered: 0,
  }));
  while (used.some(({ callers }) => callers.some(({ state }) => state.accepted < 3))) await delay(1);
  await before?.();
  await Promise.all(
    used.map(async (use) => {
      use.asked = performance.now();
      await use.each.take();
      use.answered = performance.now();
    }),
  );
  await after?.();
  await Promise.all(used.flatMap(({ callers }) => callers.map(({ over }) => over)));
  return used.flatMap(({ what, callers, asked, answered }) =>
    callers.map(({ server, state: { last } }) => ({ what, server, sinceAnswer: last - answered, sinceAsked: last - asked })),
  );
}

/** Of what it was accepted too long, or on the server that had answered. */
const late = new Set<string>();
const cell = (text: string | number, width: number) => String(text).padStart(width);
function tell(what: string, lags: Lag[]): void {
  const here = lags.filter(({ server, sinceAnswer }) => server === 0 && sinceAnswer > 0).length;
  const others = lags.filter(({ server }) => server !== 0);
  const sorted = others.map(({ sinceAnswer }) => Math.max(0, sinceAnswer)).sort((a, b) => a - b);
  const p = (share: number) => (sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0).toFixed(1);
  const asked = Math.max(0, ...others.map(({ sinceAsked }) => sinceAsked)).toFixed(1);
  const trials = lags.length / servers.length;
  if (here > 0 || (sorted.at(-1) ?? 0) >= BOUND_MS) late.add(what);
  console.log(
    `${what.padEnd(44)}${cell(trials, 6)}${cell(here, 6)}${cell(p(0.5), 9)}${cell(p(0.99), 9)}${cell(p(1), 9)}${cell(asked, 13)}`,
  );
}

/** One round: every way at once. */
const round = async (faults: Parameters<typeof trial>[1]): Promise<Lag[]> => {
  const given = Object.entries(revocations).map(async ([what, way]) => [what, await way(town)] as const);
  return trial(Object.fromEntries(await Promise.all(given)), faults);
};
const restart = async () => {
  await database.close();
  database = await startPostgres();
};
const answersAgain = async () => {
  const { session } = await town.user();
  for (const i of servers.keys()) while ("error" in (await post(i, session, "whoami", {}))) await delay(5);
};
/** What may go wrong. */
const faults: Record<string, () => Promise<Lag[]>> = {
  "the feed's lines are cut just before": () =>
    round({
      before: () => database.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatehouse feed'`,
    }),
  "the database restarts just before": () => round({ before: () => restart().then(answersAgain) }),
  "the database restarts right after": () => round({ after: restart }),
  "a server is paused meanwhile": () => {
    const paused = servers.at(-1)?.child;
    return round({
      before: async () => paused?.kill("SIGSTOP"),
      async after() {
        await delay(PAUSE_MS);
        paused?.kill("SIGCONT");
      },
    });
  },
};

try {
  console.log(`${"".padEnd(50)}${cell("here", 6)}${cell("elsewhere, ms after the answer", 32)}`);
  console.log(
    `${"what is taken away".padEnd(44)}${cell("trials", 6)}${cell("late", 6)}${cell("p50", 9)}${cell("p99", 9)}${cell("p100", 9)}${cell("since asked", 13)}`,
  );
  const all: Lag[] = [];
  for (const [what, way] of Object.entries(revocations)) {
    const lags: Lag[] = [];
    const left = Array.from({ length: TRIALS }, (_, i) => i).values();
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const _ of left) lags.push(...(await trial({ [what]: await way(town) })));
      }),
    );
    tell(what, lags);
    all.push(...lags);
  }
  tell("all of them", all);
  console.log();
  for (const [fault, happens] of Object.entries(faults)) {
    const lags: Lag[] = [];
    for (let i = 0; i < ROUNDS; i++) lags.push(...(await happens()));
    console.log(`\n${fault}`);
    for (const what of Object.keys(revocations))
      tell(
        `  ${what}`,
        lags.filter((lag) => lag.what === what),
      );
    tell(fault, lags);
  }
  if (late.size > 0) {
    console.error(`Accepted too late: ${[...late].join(", ")}.`);
    process.exitCode = 1;
  }
} finally {
  for (const { child } of servers) child.kill("SIGKILL");
  await closeAuth();
  await database.close();
  await rm(folder, { recursive: true, force: true });
}
