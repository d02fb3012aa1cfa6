import { failureOf, followSession, GatehouseError, textOf } from "@gatehouse/client";
import { SdkError, SdkErrorCode } from "@modelcontextprotocol/server";
import { ToolError, telling } from "./failure.ts";
import { WAIT_MS } from "./house.ts";
import type { At } from "./tool.ts";

/** An answer, or as much of one as came in time. */
interface Answer {
  status: "complete" | "running";
  text: string;
  /** Whether the answer is longer than `text`. */
  truncated?: boolean;
  turn: number;
  /** Of one that is running: how to go on. */
  next?: string;
}

/** Which answer is waited for. */
interface Awaited {
  chatId: string;
  turn: number;
  /** Only what the log has behind this place. */
  after: number;
  /** The place in the log by which the turn must have been named. */
  by?: number;
}

const isOneOf =
  (...codes: GatehouseError["code"][]) =>
  (error: unknown): boolean =>
    error instanceof GatehouseError && codes.includes(error.code);
const passes = isOneOf("UNREACHABLE", "UNAVAILABLE");
/** After these nobody knows whether it was done. */
const isDoubtful = isOneOf("UNREACHABLE", "UNAVAILABLE", "BAD_ANSWER", "INTERNAL_ERROR");
const PAUSE_MS = 300;
/** Longest answer that is gathered, in characters. */
const MAX_ANSWER_LENGTH = 200_000;

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
const patienceOf = ({ house }: At): number => house.waitMs ?? WAIT_MS;

/**
 * Does what may be done twice until the server has answered.
 * @throws GatehouseError also where it is away for as long as an answer is waited for
 * @throws ToolError where the call was cancelled before it was done
 */
export async function insist<T>(at: At, run: () => Promise<T>): Promise<T> {
  for (const end = Date.now() + patienceOf(at); ; await pause()) {
    if (isCancelled(at)) throw new ToolError("The call was cancelled.");
    try {
      return await run();
    } catch (error) {
      if (!passes(error) || Date.now() > end || at.house.stops?.aborted) throw error;
    }
  }
}

/** Says something, and waits for the answer to it: the one to this input, never the end of an earlier one. */
export async function say(
  at: At,
  { chatId, message, inputId = crypto.randomUUID() }: { chatId: string; message: string; inputId?: string | undefined },
): Promise<Answer & { run: { id: string } }> {
  let doubtful = false;
  // By its name it counts once, however often it is said.
  const send = () =>
    at.space.session.send({ session: chatId, message, inputId }).catch((error: unknown) => {
      doubtful ||= isDoubtful(error);
      throw error;
    });
  const sent = await insist(at, send).catch(async (error: unknown) => {
    if (!doubtful) throw error;
    if (isCancelled(at)) await stopSaid(uncancelled(at), chatId, inputId);
    throw telling(
      error,
      `Whether the message was kept is not known. Next: say the same again with "inputId": "${inputId}"; so it counts once.`,
    );
  });
  try {
    const { run, ...answer } = await answerTo(at, { chatId, turn: sent.turn, after: sent.seq });
    return { ...answer, run: run ?? sent.run };
  } finally {
    if (isCancelled(at)) await stopTurn(uncancelled(at), chatId, sent.turn);
  }
}

/**
 * Waits until a turn is over, over as many lines as it takes, and gathers its answer: of a worker that was lost over it,
 * nothing stays. @throws ToolError where the agent failed, the turn was stopped, or the answer can't be read any more
 */
export async function answerTo(
  at: At,
  { chatId, turn, after, by = Number.POSITIVE_INFINITY }: Awaited,
): Promise<Answer & { run: { id: string } | null }> {
  const late = AbortSignal.timeout(patienceOf(at));
  const signal = AbortSignal.any([late, at.signal]);
  const answer: Answer & { run: { id: string } | null } = { status: "running", text: "", turn, run: null };
  let place = after;
  let named = false;
  const mustBeNamed = () => {
    if (!named && place >= by) throw new ToolError(`This chat has no turn ${turn}.`);
  };
  const untilThen = () => (answer.text ? `Until then it said: ${answer.text}` : undefined);
  const next = `wait_agent_message ${JSON.stringify({ chatId, turn })}`;
  mustBeNamed();
  while (!signal.aborted) {
    try {
      for await (const event of followSession(at.house.target, chatId, { after: place, signal })) {
        place = event.seq;
        named ||= event.turn === turn;
        mustBeNamed();
        if (event.turn !== turn) continue;
        if (event.run !== null) answer.run = { id: event.run };
        if (event.kind === "turn-lost") {
          answer.text = "";
          delete answer.truncated;
          await at.progress("\nThe worker was lost over it: another one answers anew.\n");
        }
        if (event.kind === "chunks") {
          const more = textOf(event);
          const room = MAX_ANSWER_LENGTH - answer.text.length;
          answer.text += more.slice(0, room);
          if (more.length > room) answer.truncated = true;
          if (more && room > 0) await at.quote(more.slice(0, room));
        }
        if (event.kind !== "turn-end") continue;
        const { outcome, error } = event.data as { outcome: string; error?: string };
        if (outcome === "errored")
          throw new ToolError(`The agent failed to answer turn ${turn}.`, {
            quoted: [`It said why: ${error ?? "not at all."}`, untilThen()].filter(Boolean).join("\n"),
          });
        const failed = failureOf(event);
        if (failed) throw new ToolError(failed, { quoted: untilThen() });
        return { ...answer, status: "complete" };
      }
      if (!signal.aborted) throw new ToolError("The conversation was over before the answer.", { quoted: untilThen() });
    } catch (error) {
      if (error instanceof ToolError) throw error;
      // What was said stays: who does not know so says it again.
      if (!passes(error)) throw telling(error, `The message was kept, as turn ${turn}. Next: ${next}.`, untilThen());
      await pause();
    }
  }
  return { ...answer, next };
}

/** Whether the client wants no answer any more; one that has only gone may come back for it. */
const isCancelled = ({ signal, house }: At): boolean =>
  signal.aborted &&
  !house.stops?.aborted &&
  (house.hangUpCancels === true || !(signal.reason instanceof SdkError && signal.reason.code === SdkErrorCode.ConnectionClosed));

/** What is done about a cancel is not cancelled by it. */
const uncancelled = (at: At): At => ({ ...at, signal: new AbortController().signal });

/** Stops the turn of what was said, where it was kept though nobody heard so. */
async function stopSaid(at: At, chatId: string, inputId: string): Promise<void> {
  const { lastSeq } = await insist(at, () => at.space.session.get({ session: chatId }));
  if (lastSeq === 0) return;
  for await (const { kind, data, turn, seq } of followSession(at.house.target, chatId, { signal: AbortSignal.timeout(patienceOf(at)) })) {
    if (kind === "message" && turn !== null && (data as { id: string }).id === inputId) {
      await stopTurn(at, chatId, turn);
      return;
    }
    if (seq >= lastSeq) return;
  }
}

/** Stops one turn and no other, also one that has not begun. */
const stopTurn = (at: At, chatId: string, turn: number) => insist(at, () => at.space.session.stop({ session: chatId, turn }));
