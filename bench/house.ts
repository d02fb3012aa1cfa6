import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import { launch } from "./launch.ts";

export type House = Awaited<ReturnType<typeof openHouse>>;

/** No caller has a budget: what is measured is the server, and not its limits. */
const UNLIMITED = { CALL_RATE: "0", MAX_STREAMS: "1000000", MAX_WAITS: "1000000" };

/** A server of its own in a process of its own, with a space in it, and the key of an agent that may serve its tasks. */
export async function openHouse(settings: Record<string, string> = UNLIMITED) {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-bench-"));
  await chmod(folder, 0o755); // run as root, the embedded Postgres is another user
  const data = join(folder, "data");
  const { child, url } = await launch([join(import.meta.dirname, "../packages/cli/src/main.ts"), "up"], {
    XDG_CONFIG_HOME: folder,
    GATEHOUSE_DATA: data,
    PORT: "0",
    LOG_LEVEL: "silent",
    RATE_LIMIT: "0",
    LEASE_SECONDS: "300",
    ...settings,
  });
  const { servers } = JSON.parse(await readFile(join(folder, "gatehouse", "credentials.json"), "utf8"));
  const owner = createUserClient({ server: url, credential: servers[url].token });
  const agent = await owner.agent.create({ name: "bench" });
  const { key } = await owner.apiKey.create({ name: "bench", agent: agent.id });
  const { slug } = await owner.space.create({ name: "bench" });
  const session = servers[url].token as string;
  const inside = createSpaceClient({ server: url, credential: servers[url].token, space: slug });
  await inside.principal.add({ principal: agent.id });
  await inside.access.grant({ principal: agent.id, permission: "admin:tasks" });
  const target = { server: url, credential: key, space: slug };
  return {
    url,
    data,
    pid: child.pid as number,
    target,
    /** The owner's, signed in. */
    session,
    headers: { authorization: `Bearer ${key}`, "x-me-space": slug },
    async close(): Promise<void> {
      child.kill();
      await once(child, "exit");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A session whose first turn is being answered. */
export interface Begun {
  session: string;
  run: string;
  epoch: number;
  turn: number;
}

/** Starts sessions, and takes their runs, so that answers can be added to. */
export async function begin(house: House, count: number): Promise<Begun[]> {
  const client = createSpaceClient(house.target);
  const begun: Begun[] = [];
  const task = `bench/${Math.random().toString(36).slice(2)}`;
  const left = Array.from({ length: count }).values();
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (const _ of left) {
        await client.session.create({ task, message: "go" });
        const { lease } = await client.run.lease({ tasks: [task], worker: "bench", waitSeconds: 5 });
        if (!lease) throw new Error("no run");
        const { run, epoch, session } = lease;
        const { input } = await client.run.next({ run, epoch, waitSeconds: 5 });
        begun.push({ session, run, epoch, turn: input?.turn as number });
      }
    }),
  );
  return begun;
}

export const percentile = (numbers: readonly number[], share: number): number =>
  numbers.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(numbers.length * share) - 1)] as number;
export const median = (numbers: readonly number[]): number => percentile(numbers, 0.5);
