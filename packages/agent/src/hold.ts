import { type Client, createSpaceClient, GatehouseError, type Target } from "@gatehouse/client";
import type { Transcript } from "@gatehouse/client/chat";
import { MAX_WAIT_SECONDS, type ResultOf, type SpaceApi } from "@gatehouse/protocol";
import type { UIMessageChunk } from "ai";
import { persist } from "./persist.ts";

/** A run that was leased. */
export type Lease = NonNullable<ResultOf<SpaceApi, "run.lease">["lease"]>;
/** What a turn is to answer. */
export type Input = NonNullable<ResultOf<SpaceApi, "run.next">["input"]>;

/** Milliseconds beyond the longest wait that an answer may take. */
const SLACK_MS = 10_000;

/** Calls inside a space, which may wait for long, and end when a signal says so. */
export const clientUntil = (target: Target & { space: string }, signal: AbortSignal): Client<SpaceApi> =>
  createSpaceClient({
    timeoutMs: MAX_WAIT_SECONDS * 1000 + SLACK_MS,
    ...target,
    fetch: ((url, init) => {
      const signals = init?.signal ? [signal, init.signal] : [signal];
      return (target.fetch ?? fetch)(url, { ...init, signal: AbortSignal.any(signals) });
    }) as typeof fetch,
  });

/** One worker's hold of a run. Its calls are tried again while the lease may live; when it does not, or is let go, `gone` is aborted. */
export class Hold {
  readonly lease: Lease;
  readonly space: Client<SpaceApi>;
  readonly #gone = new AbortController();
  /** Aborted when the run is not ours any more. */
  readonly gone = this.#gone.signal;
  readonly #target: Target & { space: string };

  constructor(lease: Lease, target: Target & { space: string }) {
    this.lease = lease;
    this.#target = target;
    this.space = clientUntil(target, this.gone);
  }

  get #held() {
    return { run: this.lease.run, epoch: this.lease.epoch };
  }

  /** Ends what is under way, without a word: the run goes to another worker. */
  letGo(): void {
    this.#gone.abort();
  }

  /** @param signal ends the wait */
  next(signal: AbortSignal): Promise<ResultOf<SpaceApi, "run.next">> {
    const until = AbortSignal.any([signal, this.gone]);
    const client = clientUntil(this.#target, until);
    const waitSeconds = Math.min(MAX_WAIT_SECONDS, this.lease.leaseSeconds);
    return this.#call(() => client.run.next({ ...this.#held, waitSeconds }), until);
  }

  /** Reads on in the log of the run's session. */
  read(history: Transcript): Promise<void> {
    return this.#call(() => history.read(this.space, this.lease.session));
  }

  /** @returns whether the turn is to be stopped */
  async emit(turn: number, batch: number, chunks: UIMessageChunk[]): Promise<boolean> {
    return (await this.#call(() => this.space.run.emit({ ...this.#held, turn, batch, chunks: chunks as { type: string }[] }))).stop;
  }

  async endTurn(turn: number, outcome: "complete" | "errored" | "stopped", error?: string): Promise<void> {
    await this.#call(() => this.space.run.endTurn({ ...this.#held, turn, outcome, ...(error !== undefined && { error }) }));
  }

  /** Says that we live, and waits for a stop, or the turn's end. @returns whether the turn is to be stopped */
  async beat(turn: number, waitSeconds: number): Promise<boolean> {
    return (await this.#call(() => this.space.run.heartbeat({ ...this.#held, turn, waitSeconds }))).stop;
  }

  /** Gives the run back: what is unanswered goes to the next worker at once. */
  async end(reason: "handover" | "upgrade"): Promise<void> {
    const client = createSpaceClient(this.#target);
    await persist(() => client.run.end({ ...this.#held, reason }), { signal: new AbortController().signal, forMs: this.#leaseMs }).catch(
      () => {}, // the lease ends by itself
    );
  }

  get #leaseMs(): number {
    return this.lease.leaseSeconds * 1000;
  }

  async #call<T>(call: () => Promise<T>, signal: AbortSignal = this.gone): Promise<T> {
    try {
      return await persist(call, { signal, forMs: this.#leaseMs });
    } catch (error) {
      // What can't be sent is the agent's fault, and no reason to lose the run.
      if (!signal.aborted && !(error instanceof GatehouseError && SAID_WRONG.has(error.code))) this.letGo();
      throw error;
    }
  }
}

const SAID_WRONG = new Set<GatehouseError["code"]>(["INVALID_PARAMS", "PAYLOAD_TOO_LARGE"]);
