import { failureOf, followSession, type Target, textOf } from "@gatehouse/client";
import { CliError } from "./exit.ts";
import { note, word } from "./output.ts";

/** The whole answer to one input. */
export interface Answer {
  text: string;
  turn: number;
  run: { id: string };
}

/** An answer that is waited for. */
export interface Awaited {
  session: string;
  turn: number;
  /** Place in the log that the input has. */
  seq: number;
}

/**
 * Waits until a turn is over, and gathers its answer: of a worker that was lost over it, nothing stays.
 * @param said hears the text as it comes
 * @throws CliError "still running" after the time; "error" where the agent failed, or the turn was stopped
 */
export async function answerTo(target: Target, { session, turn, seq }: Awaited, ms: number, said = (_text: string) => {}): Promise<Answer> {
  const late = AbortSignal.timeout(ms);
  let text = "";
  let begun = false;
  for await (const event of followSession(target, session, { after: seq, signal: late })) {
    if (event.turn !== turn) continue;
    if (event.kind === "turn-start") begun = true;
    if (event.kind === "turn-lost") {
      begun = false;
      if (text) said("\n");
      text = "";
      note("The worker was lost over it: another one answers anew.");
    }
    if (event.kind === "chunks") {
      const more = textOf(event);
      text += more;
      said(more);
    }
    if (event.kind !== "turn-end") continue;
    const failure = failureOf(event);
    if (failure) throw new CliError("error", failure);
    return { text, turn, run: { id: event.run ?? "" } };
  }
  if (!late.aborted) throw new CliError("error", "The conversation was over before the answer.");
  throw new CliError(
    "still running",
    `No answer to turn ${turn} within ${ms / 1000} s; it ${begun ? "is still being answered" : "still waits for a worker to begin it"}. ` +
      `Go on: me session events ${word(session)} --after ${seq} --follow. Give it up: me session stop ${word(session)} --turn ${turn}`,
  );
}
