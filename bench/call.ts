/**
 * What the doors cost: `whoami` by an agent key, beside a bare server that runs one query and checks nothing; and
 * `space.get` by the same key in a space. Both are warm: what they ask of the database, they ask once a minute. All on
 * one machine and one database, turn by turn; the results are ratios.
 */
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import autocannon from "autocannon";
import { launch } from "./launch.ts";

const ROUNDS = 5;
const SECONDS = 3;
const CONNECTIONS = 16;

/** Requests a second that a server answers. @throws Error unless it answers all of them with 200 */
async function throughput(url: string, key: string, method = "whoami", space?: string): Promise<number> {
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}`, ...(space && { "x-me-space": space }) };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method });
  const { requests, non2xx, errors } = await autocannon({
    url,
    method: "POST",
    headers,
    body,
    connections: CONNECTIONS,
    duration: SECONDS,
  });
  if (non2xx + errors > 0) throw new Error(`${url}: ${non2xx} refused, ${errors} failed`);
  return requests.average;
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
const data = join(folder, "data");
const here = import.meta.dirname;
const gatehouse = await launch([join(here, "../packages/cli/src/main.ts"), "up"], {
  XDG_CONFIG_HOME: folder,
  GATEHOUSE_DATA: data,
  PORT: "0",
  LOG_LEVEL: "silent",
  RATE_LIMIT: "0",
});
const bare = await launch([join(here, "bare.ts")], { GATEHOUSE_DATA: data });
try {
  const { servers } = JSON.parse(await readFile(join(folder, "gatehouse", "credentials.json"), "utf8"));
  const owner = createUserClient({ server: gatehouse.url, credential: servers[gatehouse.url].token });
  const agent = await owner.agent.create({ name: "bench" });
  const { key } = await owner.apiKey.create({ name: "bench", agent: agent.id });
  const { slug } = await owner.space.create({ name: "bench" });
  const inside = createSpaceClient({ server: gatehouse.url, credential: servers[gatehouse.url].token, space: slug });
  await inside.principal.add({ principal: agent.id });
  await inside.access.grant({ principal: agent.id, permission: "write:tasks" });
  const rounds: { bare: number; door: number; space: number }[] = [];
  for (let round = 0; round < ROUNDS; round++)
    rounds.push({
      bare: await throughput(bare.url, key),
      door: await throughput(`${gatehouse.url}/api/v1/user/rpc`, key),
      space: await throughput(`${gatehouse.url}/api/v1/space/rpc`, key, "space.get", slug),
    });
  const of = (what: "bare" | "door" | "space") => median(rounds.map((round) => round[what]));
  console.log(
    `whoami by agent key: ${Math.round((of("door") / of("bare")) * 100)} % of the requests a second of the bare server (medians of ${ROUNDS} rounds)`,
  );
  console.log(`space.get by the same key: ${Math.round((of("space") / of("door")) * 100)} % of the requests a second of whoami`);
} finally {
  bare.child.kill();
  gatehouse.child.kill();
  await once(gatehouse.child, "exit");
  await rm(folder, { recursive: true, force: true });
}
