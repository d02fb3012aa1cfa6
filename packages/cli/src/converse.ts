import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { type Client, failureOf, followSession, type GatehouseError, type Target, textOf } from "@gatehouse/client";
import type { Session, SessionEvent, SpaceApi } from "@gatehouse/protocol";
import { note, safeLines, word } from "./output.ts";

const PROMPT = "> ";

/** A conversation, and by what it is led. */
export interface Talk {
  client: Client<SpaceApi>;
  target: Target;
  session: Session;
}

/**
 * Leads a conversation at a terminal until the person leaves, or it is over: answers go to stdout as they come, all else
 * to stderr. What was said before is shown first; what is typed while an answer comes waits for its turn. What is typed
 * is done in its order, however fast it comes; what stops or leaves does not wait.
 */
export async function converse({ client, target, session: { id, task, externalId, lastSeq } }: Talk): Promise<void> {
  const leaving = new AbortController();
  /** Inputs that were typed here: they are on the screen already. */
  const mine = new Set<string>();
  /** What was typed so far, done one by one. */
  let queue = Promise.resolve();
  let undone = 0;
  let lastSent = 0;
  let lastEnded = 0;
  let place = 0;
  let stopping = false;
  let closed = false;
  const busy = () => undone > 0 || lastSent > lastEnded;
  const prompt = () => {
    if (place >= lastSeq && !busy() && !closed && !leaving.signal.aborted) process.stderr.write(PROMPT);
  };
  const tell = (error: GatehouseError) => note(`Error: ${error.message}`);

  const stop = async () => {
    const { turn } = await client.session.stop({ session: id });
    if (turn === null) note("Nothing is being answered.");
  };
  const commands: Record<string, () => Promise<void>> = {
    "/stop": stop,
    "/close": () =>
      inTurn(async () => {
        await client.session.close({ session: id });
        closed = true;
      }),
    "/quit": async () => leaving.abort(),
  };

  /** Does what was typed when all before it is done, or has failed. */
  function inTurn(act: () => Promise<void>): Promise<void> {
    undone++;
    queue = queue
      .then(act)
      .catch(tell)
      .finally(() => {
        undone--;
      });
    return queue;
  }

  async function say(message: string): Promise<void> {
    const inputId = randomUUID();
    mine.add(inputId);
    const { turn } = await client.session.send({ session: id, message, inputId });
    lastSent = Math.max(lastSent, turn);
  }

  async function typed(line: string): Promise<void> {
    const text = line.trim();
    const command = Object.hasOwn(commands, text) ? commands[text] : undefined;
    if (command) await command().catch(tell);
    else if (text.startsWith("/")) note(`There are ${Object.keys(commands).join(", ")}.`);
    else if (text) await inTurn(() => say(text));
    prompt();
  }

  function hear(event: SessionEvent): void {
    place = event.seq;
    if (event.kind === "results") lastSent = Math.max(lastSent, event.turn ?? 0);
    if (event.kind === "message") {
      lastSent = Math.max(lastSent, event.turn ?? 0);
      const { follows } = event.data as { follows?: number };
      if (follows !== undefined) note(`(A message was edited. The conversation goes on after turn ${follows}.)`);
      if (!mine.has((event.data as { id: string }).id)) note(`${PROMPT}${wordsOf(event)}`);
    }
    if (event.kind === "chunks") process.stdout.write(safeLines(textOf(event)));
    if (event.kind === "turn-lost") note("\nThe worker was lost over it: another one answers anew.");
    if (event.kind === "turn-end") {
      lastEnded = Math.max(lastEnded, event.turn ?? 0);
      stopping = false;
      process.stdout.write("\n");
      const failure = failureOf(event);
      if (failure) note(failure);
    }
    if (event.kind === "turn-end" || place === lastSeq) prompt();
  }

  function interrupted(): void {
    if (stopping || !busy()) {
      leaving.abort();
      return;
    }
    stopping = true;
    note("\nStopping. Ctrl-C once more leaves.");
    stop().catch(tell);
  }

  note(`Talking with ${task}. /stop stops its answer, /close ends the conversation, /quit leaves it.`);
  const lines = createInterface({ input: process.stdin, terminal: false });
  lines.on("line", typed);
  lines.on("close", () => leaving.abort());
  process.on("SIGINT", interrupted);
  try {
    prompt();
    for await (const event of followSession(target, id, { signal: leaving.signal })) hear(event);
    process.off("SIGINT", interrupted); // what was typed is said still; Ctrl-C now ends that too
    await queue;
    note(leaving.signal.aborted ? `\nGo on: me chat --session ${word(externalId ?? id)}` : "The conversation is over.");
  } finally {
    process.off("SIGINT", interrupted);
    lines.close();
  }
}

const wordsOf = ({ data }: SessionEvent): string =>
  (data as { parts: { text?: unknown }[] }).parts.map(({ text }) => (typeof text === "string" ? text : "")).join("");
