import { setTimeout as delay } from "node:timers/promises";
import { assemble, type Transcript } from "@gatehouse/client/chat";
import { propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { convertToModelMessages, type UIMessage, type UIMessageChunk } from "ai";
import type { ChatAgent, Conversation, Ended, Turn } from "./agent.ts";
import { chunksOf } from "./answer.ts";
import { Emitter } from "./emitter.ts";
import type { Hold, Input } from "./hold.ts";

/** What people are told of an error, unless the agent's author knows better. */
const FAILED = "The agent failed to answer.";
/** Most characters that the end of a turn says of an error. */
const MAX_MESSAGE = 1000;

/** An error whose message is for people. */
export class Told extends Error {
  override readonly name = "Told";
}

/** One turn of a run. */
interface Job {
  agent: ChatAgent;
  hold: Hold;
  /** @throws Told where the session's metadata do not fit the agent */
  conversation: () => Conversation<unknown>;
  history: Transcript;
  input: Input;
  /** Resolves when it is this turn's time. */
  slot: Promise<void>;
  /** What is to be done before it, once a run. */
  prepare(): Promise<void>;
  log(text: string): void;
}

const tracer = trace.getTracer("gatehouse-agent");

/**
 * Answers one input, and ends its turn; unless the hold of the run is lost meanwhile. All of it is one span, in the trace
 * that the input came in (W3C Trace Context). @throws when the hold is lost
 */
export function answerTurn(job: Job): Promise<void> {
  const { agent, hold, input } = job;
  const asked = propagation.extract(ROOT_CONTEXT, { traceparent: input.traceparent ?? "" });
  const attributes = { "gatehouse.session.id": hold.lease.session, "gatehouse.run.id": hold.lease.run, "gatehouse.turn": input.turn };
  return tracer.startActiveSpan(`turn ${agent.id}`, { kind: SpanKind.CONSUMER, attributes }, asked, async (span) => {
    try {
      const outcome = await answer(job);
      if (outcome === "errored") span.setStatus({ code: SpanStatusCode.ERROR });
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** @returns how it ended; undefined where it is not ours any more */
async function answer(job: Job): Promise<Ended["outcome"] | undefined> {
  const { agent, hold, input, log } = job;
  const startedAt = performance.now();
  const stopping = new AbortController();
  const over = new AbortController();
  const signal = AbortSignal.any([stopping.signal, hold.gone]);
  const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined), { once: true }));
  beat(hold, input.turn, stopping, over.signal);
  const emitter = new Emitter(async (batch, chunks) => {
    if (await hold.emit(input.turn, batch, chunks)) stopping.abort();
  });
  const said: UIMessageChunk[] = [];
  let failure: { error: unknown; message: string } | undefined;
  let met: unknown;
  /** What to tell people of an error. */
  const describe = (error: unknown): string => {
    if (signal.aborted) return FAILED; // what is torn down complains
    met = error;
    log(`turn ${input.turn}: ${error instanceof Error ? error.stack : String(error)}`);
    return messageOf(agent, error, job.conversation).slice(0, MAX_MESSAGE);
  };
  const fail = (error: unknown): void => {
    const message = describe(error);
    if (!signal.aborted) failure ??= { error, message };
  };

  let turn: Turn<unknown> | undefined;
  /** The answer that it goes on with, where the input brings results of tools. */
  let continued: UIMessage | undefined;
  let finished = false;
  try {
    await Promise.race([job.slot, aborted]);
    if (!signal.aborted) {
      await catchUp(job);
      continued = await continuedOf(job);
      turn = await turnOf(job, continued, signal);
      await job.prepare();
      await agent.onTurnStart?.(turn);
      finished = await Promise.race([speak(agent, turn, input), aborted]).then((stream) => stream !== undefined && pass(stream));
    }
  } catch (error) {
    fail(error);
  }
  await emitter.close().catch(fail);
  if (hold.gone.aborted) return undefined;

  const outcome: Ended["outcome"] = failure ? "errored" : finished ? "complete" : "stopped";
  over.abort();
  await hold.endTurn(input.turn, outcome, failure?.message);
  log(`turn ${input.turn} ${outcome} after ${Math.round(performance.now() - startedAt)} ms`);
  if (turn && agent.onTurnEnd)
    try {
      await agent.onTurnEnd(turn, { outcome, answer: await assemble(said, input.turn, continued), error: failure?.error });
    } catch (error) {
      log(`onTurnEnd failed: ${error instanceof Error ? error.stack : String(error)}`);
    }
  return outcome;

  /** What the agent answers, as chunks. */
  async function speak(agent: ChatAgent, turn: Turn<unknown>, { kind, data }: Input): Promise<AsyncIterable<UIMessageChunk>> {
    if (kind !== "action") return chunksOf(await agent.run(turn), describe);
    const action = data as { name: string; data?: unknown };
    if (!agent.onAction) throw new Told(`This agent knows no action ${JSON.stringify(action.name)}.`);
    return chunksOf(await agent.onAction({ name: action.name, data: action.data }, turn), describe);
  }

  /** Sends chunks as they come. @returns whether that was all of them: false when it was stopped */
  async function pass(stream: AsyncIterable<UIMessageChunk>): Promise<boolean> {
    const chunks = stream[Symbol.asyncIterator]();
    for (let first = true; ; ) {
      const next = await Promise.race([chunks.next(), aborted]);
      if (!next || signal.aborted) {
        // One that does not listen to its signal is not waited for.
        chunks.return?.().catch(() => {});
        return false;
      }
      if (next.done) return true;
      const chunk = next.value;
      // How a turn failed is told by its end.
      if (chunk.type === "error") failure ??= { error: met ?? new Error(chunk.errorText), message: chunk.errorText.slice(0, MAX_MESSAGE) };
      else {
        if (first && chunk.type !== "start") await send(named({ type: "start" }));
        await send(first && chunk.type === "start" ? named(chunk) : chunk);
        first = false;
      }
    }
  }

  /** The answer to a turn has a name of its own, the same for every attempt at it; one that goes on keeps its name. */
  function named(chunk: UIMessageChunk & { type: "start" }): UIMessageChunk {
    return { ...chunk, messageId: continued?.id ?? chunk.messageId ?? `answer-${input.turn}` };
  }

  async function send(chunk: UIMessageChunk): Promise<void> {
    if (agent.onTurnEnd) said.push(chunk);
    await emitter.push(chunk);
  }
}

/** Where the log must say what an input goes on from, reads on until it has the input: it was read while that was waited for. */
async function catchUp({ hold, history, input }: Job): Promise<void> {
  const branches = input.kind === "results" || (input.kind === "message" && "follows" in (input.data as object));
  if (branches && !history.turns().some(({ turn }) => turn === input.turn)) await hold.read(history);
}

/** @throws Told where the results that came are not waited for any more */
async function continuedOf({ history, input: { kind, turn } }: Job): Promise<UIMessage | undefined> {
  if (kind !== "results") return undefined;
  const continued = await history.continued(turn);
  if (!continued) throw new Told("No tool waits for these results any more.");
  return continued.message;
}

async function turnOf(
  { conversation, history, input }: Job,
  continued: UIMessage | undefined,
  signal: AbortSignal,
): Promise<Turn<unknown>> {
  const { turn, attempt, inputId, kind } = input;
  // What people saw of a stopped answer was said; of a failed one, nobody knows what it was to be.
  const uiMessages = await history.messages({ upTo: history.parent(turn), failed: false });
  if (kind === "message") {
    const { follows: _, ...message } = input.data as unknown as UIMessage & { follows?: number };
    uiMessages.push(message);
  }
  if (continued) uiMessages.splice(uiMessages.at(-1)?.id === continued.id ? -1 : uiMessages.length, 1, continued);
  const messages = await convertToModelMessages(uiMessages, { ignoreIncompleteToolCalls: true });
  return { ...conversation(), turn, attempt, inputId, messages, uiMessages, signal };
}

function messageOf(agent: ChatAgent, error: unknown, conversation: Job["conversation"]): string {
  if (error instanceof Told) return error.message;
  try {
    return agent.onError?.(error, conversation()) ?? FAILED;
  } catch {
    return FAILED;
  }
}

/** Keeps the run while a turn is under way, and hears when it is to be stopped. */
async function beat(hold: Hold, turn: number, stopping: AbortController, over: AbortSignal): Promise<void> {
  const third = hold.lease.leaseSeconds / 3;
  try {
    while (!over.aborted) {
      const heard = stopping.signal.aborted;
      if (await hold.beat(turn, heard ? 0 : third)) stopping.abort();
      // A stop that was heard is told again at once.
      if (stopping.signal.aborted) await delay(third * 1000, undefined, { signal: over });
    }
  } catch {
    // The turn is over, or the run is not ours any more: the hold knows.
  }
}
