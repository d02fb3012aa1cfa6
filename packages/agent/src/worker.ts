import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { type Client, GatehouseError, type Target } from "@gatehouse/client";
import { Transcript } from "@gatehouse/client/chat";
import { DEFAULT_IDLE_SECONDS, MAX_WAIT_SECONDS, type SpaceApi } from "@gatehouse/protocol";
import { asSchema } from "ai";
import type { ChatAgent, Conversation } from "./agent.ts";
import { clientUntil, Hold, type Lease } from "./hold.ts";
import { persist } from "./persist.ts";
import { Slots } from "./slots.ts";
import { answerTurn, Told } from "./turn.ts";

const DEFAULT_CONCURRENCY = 10;
const REGISTER_EVERY_MS = 30_000;
/** How long a server that does not answer is asked again, at the start. */
const START_MS = 3000;

/** How a worker lets go of what it holds. */
export interface Leave {
  /** Why, as the log is to tell it; default `handover`. */
  reason?: "handover" | "upgrade";
  /** Seconds that turns which are under way may take; default 20. What is not done then goes to another worker. */
  graceSeconds?: number;
}

const DEFAULT_GRACE_SECONDS = 20;

/** Serves agents in one space: takes the runs that wait, and answers in them. */
export class Worker {
  /** Rejects when the worker can't go on, such as when its key is revoked; resolves when it has stopped. */
  readonly finished: Promise<void>;
  readonly #agents: readonly ChatAgent[];
  readonly #target: Target & { space: string };
  readonly #log: (line: string) => void;
  readonly #name = `${hostname()}-${process.pid}-${randomBytes(3).toString("hex")}`.slice(-128);
  readonly #stopping = new AbortController();
  readonly #space: Client<SpaceApi>;
  readonly #held = new Map<Hold, Promise<void>>();
  #reason: "handover" | "upgrade" = "handover";
  #failure: { cause: unknown } | undefined;

  private constructor(agents: readonly ChatAgent[], target: Target & { space: string }, log: (line: string) => void) {
    this.#agents = agents;
    this.#target = target;
    this.#log = log;
    this.#space = clientUntil(target, this.#stopping.signal);
    this.finished = this.#work();
    this.finished.catch(() => {}); // for whoever asks
  }

  /** @throws GatehouseError where it may not serve these tasks, or the server does not answer */
  static async start(agents: readonly ChatAgent[], target: Target & { space: string }, log: (line: string) => void): Promise<Worker> {
    const { signal } = new AbortController();
    await persist(() => register(agents, clientUntil(target, signal)), { signal, forMs: START_MS });
    return new Worker(agents, target, log);
  }

  /** Takes no more runs, lets the turns that are under way finish, and hands over the rest. */
  async stop({ reason = "handover", graceSeconds = DEFAULT_GRACE_SECONDS }: Leave = {}): Promise<void> {
    this.#reason = reason;
    this.#stopping.abort();
    const done = new AbortController();
    const over = this.finished.catch(() => {}).finally(() => done.abort());
    await Promise.race([over, delay(graceSeconds * 1000, undefined, { signal: done.signal }).catch(() => {})]);
    for (const hold of this.#held.keys()) hold.letGo();
    await over;
  }

  async #work(): Promise<void> {
    await Promise.all([this.#register(), ...this.#agents.map((agent) => this.#serve(agent))]).catch((cause: unknown) => {
      if (this.#stopping.signal.aborted) return;
      this.#failure = { cause };
      this.#stopping.abort();
    });
    await Promise.all(this.#held.values());
    if (this.#failure) throw this.#failure.cause;
  }

  async #register(): Promise<void> {
    for (const signal = this.#stopping.signal; ; ) {
      await delay(REGISTER_EVERY_MS, undefined, { signal });
      await persist(() => register(this.#agents, this.#space), { signal });
    }
  }

  async #serve(agent: ChatAgent): Promise<void> {
    const { signal } = this.#stopping;
    const slots = new Slots(agent.concurrency ?? DEFAULT_CONCURRENCY);
    const wanted = { tasks: [agent.id], worker: this.#name, waitSeconds: MAX_WAIT_SECONDS };
    while (!signal.aborted) {
      await slots.free();
      const { lease } = await persist(() => this.#space.run.lease(wanted), { signal });
      if (!lease) continue;
      const hold = new Hold(lease, this.#target);
      const done = this.#answer(agent, hold, slots).finally(() => this.#held.delete(hold));
      this.#held.set(hold, done);
    }
  }

  /** Answers in one run until it is over, or is not ours any more, or we stop. */
  async #answer(agent: ChatAgent, hold: Hold, slots: Slots): Promise<void> {
    const { lease } = hold;
    const log = (text: string) => this.#log(`${agent.id} ${lease.externalId ?? lease.session}: ${text}`);
    const history = new Transcript();
    let started = false;
    // Taken now, not when the input is here: the next run is leased for a slot that is free beside this one.
    let slot: Promise<void> | undefined = slots.take();
    try {
      const conversation = await conversationOf(agent, lease, log);
      while (!this.#stopping.signal.aborted) {
        const [{ input, ended }] = await Promise.all([hold.next(this.#stopping.signal), hold.read(history)]);
        if (ended) return;
        if (!input) continue;
        slot ??= slots.take();
        const prepare = async () => {
          if (!started) await agent.onStart?.(conversation());
          started = true;
        };
        await answerTurn({ agent, hold, conversation, history, input, slot, prepare, log });
        slot = release(slots, slot);
        if (hold.gone.aborted) break;
      }
    } catch (error) {
      // What is not ours any more is forgotten without a word; so is a wait that we ended ourselves.
      if (!(error instanceof GatehouseError) && !this.#stopping.signal.aborted) log(String(error));
    } finally {
      release(slots, slot);
    }
    hold.letGo();
    await hold.end(this.#reason);
  }
}

/** Gives a slot back, when it is there. */
function release(slots: Slots, slot: Promise<void> | undefined): undefined {
  slot?.then(() => slots.give());
}

async function register(agents: readonly ChatAgent[], space: Client<SpaceApi>): Promise<void> {
  for (const { id, description = "", idleTimeoutSeconds = DEFAULT_IDLE_SECONDS } of agents)
    await space.task.register({ task: id, description, idleTimeoutSeconds });
}

/**
 * The part that a run's turns share. Each turn says, when it asks, that the metadata do not fit the agent; the log alone says
 * which fields do not: a browser may talk in the session, and may not know its metadata.
 */
async function conversationOf(agent: ChatAgent, lease: Lease, log: (text: string) => void): Promise<() => Conversation<unknown>> {
  const checked = await asSchema(agent.metadata).validate?.(lease.metadata);
  if (checked?.success === false) {
    const { issues = [] } = checked.error as { issues?: { path?: PropertyKey[] }[] };
    const fields = issues.map(({ path = [] }) => path.join(".")).filter(Boolean);
    log(`The session's metadata do not fit${fields.length > 0 ? `: see ${fields.join(", ")}` : ""}.`);
    return () => {
      throw new Told("The session's metadata is not what this agent takes. The worker's log says why.");
    };
  }
  const { session, externalId, run, number, reason } = lease;
  const metadata: unknown = checked?.success ? checked.value : lease.metadata;
  return () => ({ session: { id: session, externalId }, run: { id: run, number, reason }, metadata });
}
