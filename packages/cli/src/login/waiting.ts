import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { note } from "../output.ts";

const SECOND_MS = 1000;

/**
 * Waits for a person who does something elsewhere, and says so: at a terminal with the time that is left.
 * @param run ends by itself once its signal is aborted
 * @throws CliError when the time is over, or by Ctrl-C
 */
export async function waiting<T>(me: Me, says: string, seconds: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopped = new AbortController();
  const end = Date.now() + seconds * SECOND_MS;
  const show = () => {
    const left = Math.max(0, Math.round((end - Date.now()) / SECOND_MS));
    process.stderr.write(`\r${says} (${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left; Ctrl-C ends it) `);
  };
  const cancel = () => stopped.abort(new CliError("error", "Cancelled. Nothing was done."));
  const give = () => stopped.abort(new CliError("not signed in", `Nobody signed in within ${seconds} seconds. Try again: me login`));
  const timers = [setTimeout(give, seconds * SECOND_MS)];
  process.once("SIGINT", cancel);
  if (me.interactive) {
    show();
    timers.push(setInterval(show, SECOND_MS));
  } else note(says);
  try {
    return await run(stopped.signal);
  } catch (error) {
    throw stopped.signal.aborted ? stopped.signal.reason : error;
  } finally {
    for (const timer of timers) clearInterval(timer);
    process.removeListener("SIGINT", cancel);
    if (me.interactive) process.stderr.write("\n");
  }
}
