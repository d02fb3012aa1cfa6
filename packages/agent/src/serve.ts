import { createUserClient, serverAddress, type Target } from "@gatehouse/client";
import { safeLines } from "@gatehouse/protocol";
import type { ChatAgent } from "./agent.ts";
import { type Leave, Worker } from "./worker.ts";

const DEFAULT_SERVER = "http://127.0.0.1:7070";

export interface ServeOptions {
  /** The server's address; default ME_SERVER, else this machine's. */
  server?: string;
  /** Slug of the space; default ME_SPACE, else the only one there is. */
  space?: string;
  /** The key to serve with, or what gives one; default ME_API_KEY. */
  credential?: Target["credential"];
  /** Whether SIGTERM and SIGINT stop the worker, and then the process; default true. */
  signals?: boolean;
  /** How to leave when a signal comes. */
  leave?: Leave;
  /** Takes a line about each turn, which steers no terminal; those of a stack are indented. Default: stderr. */
  log?: (line: string) => void;
}

/** Agents being served. */
export interface Serving {
  /** Takes no more runs, lets the turns that are under way finish for a while, and hands over the rest. */
  stop(leave?: Leave): Promise<void>;
  /** Resolves when it has stopped. Rejects when it can't go on, such as when its key is revoked. */
  finished: Promise<void>;
}

/**
 * Serves agents until it is stopped. The caller's key needs `admin:tasks:<id>` for each.
 * @returns when the tasks are registered
 * @throws GatehouseError where it may not serve them, or the server does not answer; TypeError for what is no set of agents
 */
export async function serve(agents: readonly ChatAgent[], options: ServeOptions = {}): Promise<Serving> {
  const ids = agents.map(({ id }) => id);
  if (ids.length === 0 || new Set(ids).size < ids.length) throw new TypeError("Serve at least one agent, each with an id of its own.");
  const { log: write = toStderr, signals = true } = options;
  const log = (line: string) => write(shown(line));
  const target = await targetOf(options);
  const worker = await Worker.start(agents, target, log);
  log(`Serving ${ids.join(", ")} in ${target.space} on ${target.server}`);
  const unlisten = signals ? stopOnSignal(worker, options.leave) : () => {};
  worker.finished.then(unlisten, (cause: unknown) => {
    unlisten();
    log(`Error: ${cause instanceof Error ? cause.message : String(cause)}`);
    if (signals) process.exitCode = 1;
  });
  return { stop: (leave) => worker.stop(leave), finished: worker.finished };
}

const toStderr = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/** A line of the log. It may repeat what others said: nothing of that steers a terminal, or passes for a line of its own. */
const shown = (line: string): string => safeLines(line).replaceAll("\n", "\n  ");

async function targetOf({ server, space, credential }: ServeOptions): Promise<Target & { space: string }> {
  const { ME_SERVER, ME_SPACE, ME_API_KEY } = process.env;
  const target = { server: serverAddress(server ?? (ME_SERVER || DEFAULT_SERVER)), credential: credential ?? ME_API_KEY };
  if (!target.credential) throw new TypeError("Set ME_API_KEY to the agent's key: me apikey create --agent NAME --name KEY-NAME");
  return { ...target, space: space ?? (ME_SPACE || (await theOnlySpace(target))) };
}

async function theOnlySpace(target: Target): Promise<string> {
  const { spaces } = await createUserClient(target).space.list();
  if (spaces.length === 1 && spaces[0]) return spaces[0].slug;
  throw new TypeError("Set ME_SPACE to the space to serve in: me space list shows those there are.");
}

/** Stops in good order on the first signal; then it takes its course, as does a second one. */
function stopOnSignal(worker: Worker, leave: Leave | undefined): () => void {
  const names = ["SIGTERM", "SIGINT"] as const;
  const heard = (name: NodeJS.Signals) => {
    unlisten();
    worker.stop(leave).finally(() => process.kill(process.pid, name));
  };
  const unlisten = () => {
    for (const name of names) process.off(name, heard);
  };
  for (const name of names) process.on(name, heard);
  return unlisten;
}
