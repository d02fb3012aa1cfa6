import type { SessionEvent } from "@gatehouse/protocol";
import { MAX_ATTEMPTS } from "../packages/server/src/sessions/sweep.ts";
import { answerTo } from "./dice.ts";

/** A turn that is being answered. */
interface Open {
  turn: number;
  run: string | null;
  text: string;
}

/** What the log of a closed session tells that must not be; nothing, where all is well. */
export function faultsOf(log: readonly SessionEvent[]): string[] {
  const faults: string[] = [];
  const inputs: string[] = [];
  const attempts = new Map<number, number>();
  const ended = new Set<number>();
  const stopped = new Set<number>();
  let run: string | null = null;
  let runs = 0;
  let open: Open | undefined;
  let closed = false;

  for (const [i, { seq, kind, turn, run: by, data }] of log.entries()) {
    const must = (holds: boolean, what: string) => holds || faults.push(`${seq} ${kind}: ${what}`);
    const at = turn as number;
    const inputId = inputs[at - 1] ?? "";
    must(seq === i + 1, "the sequence has a gap");
    must(!closed, "comes behind the end");
    if (kind === "message") {
      const { id } = data as { id: string };
      must(!inputs.includes(id), `${id} is there twice`);
      must(at === inputs.push(id), "turns are not in order");
    } else if (kind === "run") {
      must(run === null, "two runs are alive");
      must((data as { number: number }).number === ++runs, "runs are not counted in order");
      run = by;
    } else if (kind === "run-end") {
      must(run === by, "is not of the run that is alive");
      run = null;
    } else if (kind === "turn-start") {
      must(run === by && by !== null, "by a run that is not alive");
      must(open === undefined, "while another turn is being answered");
      must(at === ended.size + 1 && at <= inputs.length, "it is another turn's time");
      attempts.set(at, (attempts.get(at) ?? 0) + 1);
      must((data as { attempt: number }).attempt === attempts.get(at), "attempts are not counted in order");
      open = { turn: at, run: by, text: "" };
    } else if (kind === "chunks") {
      must(run === by && open?.run === by && open.turn === at, "by a late writer");
      for (const { type, delta } of data as { type: string; delta: string }[]) if (open && type === "text-delta") open.text += delta;
    } else if (kind === "turn-lost" || kind === "turn-end") {
      const { outcome, error } = data as { outcome?: string; error?: string };
      const { words, fails } = answerTo(inputId);
      const full = words.join("");
      const mine = open?.turn === at ? open : undefined;
      must(!ended.has(at), "that turn has an end already");
      must(!mine || mine.run === by, "by a late writer");
      must(full.startsWith(mine?.text ?? ""), `what was said is no part of the answer: ${mine?.text}`);
      if (outcome) ended.add(at);
      if (outcome === "complete") must(!fails && mine?.text === full, `is not the answer: ${mine?.text}`);
      else if (outcome === "errored")
        must((mine?.text === full && fails) || ((attempts.get(at) ?? 0) >= MAX_ATTEMPTS && run === null), `for no reason: ${error}`);
      else if (outcome === "stopped") must(stopped.has(at) || log.at(-1)?.kind === "close", "nobody stopped it");
      else must(mine !== undefined, "that turn is not being answered");
      if (mine) open = undefined;
    } else if (kind === "stop") stopped.add(at);
    else if (kind === "close") closed = true;
    else must(false, "is of no kind that is known");
  }
  if (!closed) faults.push("it does not end");
  if (run !== null) faults.push("a run is left");
  if (ended.size !== inputs.length) faults.push(`${inputs.length} inputs, ${ended.size} ends`);
  return faults;
}
