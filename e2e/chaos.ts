import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openConfiguredDatabase, readConfig } from "@gatehouse/server";
import { makeWorkplace } from "./agents.ts";
import type { Place } from "./chaos-people.ts";
import { type Dice, dice } from "./dice.ts";
import { onDatabase } from "./harness.ts";
import { makeHome, type Running, start, startUp, until } from "./run.ts";

const LEASE_SECONDS = 2;
const SERVERS = 2;
const WORKERS = 4;

/** A program that is started again whenever it ends. */
class Kept<R extends Running> {
  /** Undefined while it is being started. */
  running: R | undefined;
  paused = false;
  /** What those before have written. */
  #printed = "";
  #over = false;
  readonly #keeping: Promise<void>;

  constructor(begin: () => Promise<R>) {
    this.#keeping = this.#keep(begin);
  }

  async #keep(begin: () => Promise<R>): Promise<void> {
    while (!this.#over)
      try {
        this.running = await begin();
        const { stdout, stderr } = await this.running.finished;
        this.#printed += stdout + stderr;
        this.running = undefined;
      } catch {
        await delay(100); // the database was away when it started
      }
  }

  get printed(): string {
    return `${this.#printed}${this.running?.stdout() ?? ""}${this.running?.stderr() ?? ""}`;
  }

  get well(): boolean {
    return this.running !== undefined && !this.paused;
  }

  kill(): boolean | undefined {
    return this.running?.child.kill("SIGKILL");
  }

  async pause(ms: number): Promise<void> {
    const { child } = this.running as R;
    this.paused = true;
    child.kill("SIGSTOP");
    await delay(ms);
    child.kill("SIGCONT");
    this.paused = false;
  }

  async close(): Promise<void> {
    this.#over = true;
    const killing = setInterval(() => this.kill(), 20); // one that is just starting, too
    await this.#keeping;
    clearInterval(killing);
  }
}

/** Servers and workers in processes of their own, on a Postgres of its own: all of which can be wrecked. */
export async function openChaos(seed: string) {
  const { folder, env } = await makeHome();
  const startPostgres = () => openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
  let postgres = await startPostgres();
  const workplace = await makeWorkplace({ DATABASE_URL: postgres.address });
  const { key: credential } = await workplace.must("apiKey.create", { name: "people" }, null);
  await workplace.close();

  const settings = {
    ...onDatabase(postgres.address),
    LEASE_SECONDS: String(LEASE_SECONDS),
    LOG_LEVEL: "error",
    RATE_LIMIT: "0",
    FAILED_AUTH_LIMIT: "0",
  };
  const servers = Array.from({ length: SERVERS }, () => {
    let PORT = "0"; // of the first; those after it have the same
    return new Kept(async () => {
      const up = await startUp({ folder, env }, { ...settings, PORT });
      PORT = new URL(up.url).port;
      return up;
    });
  });
  await until("the servers are up", () => servers.every(({ running }) => running));
  const urls = servers.map(({ running }) => running?.url as string);
  const script = join(import.meta.dirname, "chaos-worker.ts");
  const workers = Array.from({ length: WORKERS }, (_, i) => {
    const worker = { ...env, ...workplace.env, ME_SERVER: urls[i % SERVERS] as string };
    let begun = 0;
    return new Kept(async () => {
      const running = start(process.execPath, [script, `${seed} worker ${i} ${++begun}`], worker);
      await until("it serves, or has given up", () => running.stderr().includes("Serving") || running.child.exitCode !== null);
      return running;
    });
  });

  const done = new Map<string, number>();
  const acts: Record<string, (fate: Dice) => unknown> = {
    "workers killed": (fate) => pick(fate, workers)?.kill(),
    "workers paused": (fate) => pick(fate, workers)?.pause(pastTheLease(fate)),
    "servers killed": (fate) => pick(fate, servers)?.kill(),
    "servers paused": (fate) => pick(fate, servers)?.pause(pastTheLease(fate)),
    "database restarted": (fate) => up && fate.chance(0.1) && restart("SIGINT"),
    "database crashed": (fate) => up && fate.chance(0.1) && restart("SIGKILL"),
  };
  let up = true;
  const restart = async (signal: "SIGINT" | "SIGKILL") => {
    up = false;
    const [pid] = (await readFile(join(postgres.place, "data", "postmaster.pid"), "utf8")).split("\n");
    process.kill(Number(pid), signal);
    await postgres.close();
    postgres = await until("the database is back", startPostgres); // what a crash left of it may still be going
    up = true;
  };
  /** One of those that are well; as long as more than half are, else nobody gets on. */
  const pick = (fate: Dice, of: Kept<Running>[]): Kept<Running> | undefined => {
    const well = of.filter((each) => each.well);
    return well.length > of.length / 2 ? fate.one(well) : undefined;
  };
  const pastTheLease = (fate: Dice) => LEASE_SECONDS * 1000 + fate.from(200, 1500);

  return {
    place: { servers: urls, space: workplace.slug, credential } as Place,
    sql: () => postgres.sql,
    /** How often what was done. */
    done,
    printed: () => [...servers, ...workers].map(({ printed }) => printed).join("\n"),
    /** Lets something go wrong every few hundred milliseconds, as long as enough is well for that, until it is told to stop. */
    async wreck(over: AbortSignal): Promise<void> {
      const fate = dice(`${seed} chaos`);
      const pauses: unknown[] = [];
      while (!over.aborted) {
        await delay(fate.from(150, 450));
        const what = fate.one(Object.keys(acts));
        const act = acts[what]?.(fate);
        if (!act) continue;
        done.set(what, (done.get(what) ?? 0) + 1);
        pauses.push(act);
      }
      await Promise.all(pauses);
    },
    async close(): Promise<void> {
      await Promise.all([...servers, ...workers].map((each) => each.close()));
      await postgres.close();
    },
  };
}
