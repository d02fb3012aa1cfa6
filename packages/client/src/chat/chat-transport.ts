import type { ToolResult } from "@gatehouse/protocol";
import { type ChatTransport, isDeepEqualData, type UIMessage, type UIMessageChunk } from "ai";
import { createSpaceClient, retried } from "../client.ts";
import { followSession } from "../stream.ts";
import type { Target } from "../transport.ts";
import { resultsIn } from "./assemble.ts";
import { Telling } from "./telling.ts";
import { Transcript } from "./transcript.ts";

/** The session that a chat is held in. */
export interface ChatTarget extends Target {
  /** Its id, or its external id. */
  session: string;
}

/** How `useChat` talks in a session. */
export interface Chat<Message extends UIMessage = UIMessage> extends ChatTransport<Message> {
  /**
   * What was said so far, for `useChat({ messages })`. An answer that is under way goes on with `resume: true`, also
   * when it is over by then.
   * @throws GatehouseError
   */
  messages(): Promise<Message[]>;
}

/**
 * A transport by which `useChat` of the AI SDK talks in a session, in as many tabs as there are.
 *
 * - A message's id names it: sent again, it counts once, and its answer is told again.
 * - `stop` stops the turn that the chat waits for, and no other. So does the end of a component that made its own chat;
 *   make a `Chat` outside of it, and what is being answered goes on.
 * - `regenerate` asks once more: a message whose answer this chat has not seen to its end is answered once; else it is
 *   said again, and takes the place of what was said from there on. So does a message that is edited. The log keeps both.
 * - Results of tools of the page, and approvals, go on with the answer that asked for them.
 *
 * What the server refuses is thrown as a GatehouseError, which `useChat` gives as its `error`.
 */
export function createChatTransport<Message extends UIMessage = UIMessage>({ session, ...target }: ChatTarget): Chat<Message> {
  const space = createSpaceClient(target);
  const transcript = new Transcript();
  /** Turns that were not over when the messages were read, each with the place before its answer. */
  const begun = new Map<number, number>();
  /** Turns whose end the chat knows. */
  const known = new Set<number>();
  let reconnects = 0;

  // The same again does no harm, so that a line which breaks is no reason to bother people.
  const send = (input: { message?: Message; results?: ToolResult[]; inputId: string; follows?: number }) =>
    retried(true, () => space.session.send({ session, ...input } as never));

  /** Says a message: as the next, or where it was said before, in the place of what was said from there on. */
  async function say(message: Message, again: boolean, edited: boolean) {
    const found = again ? await look(message.id) : undefined;
    if (!found) return send({ message, inputId: message.id });
    const same = isDeepEqualData(found.message.parts, JSON.parse(JSON.stringify(message.parts)));
    // What this chat was not told of to its end is told once more.
    if (!edited && same && found.turn === transcript.newest && !known.has(found.turn)) {
      const { before } = transcript.turns().find(({ turn }) => turn === found.turn) as { before: number };
      return { turn: found.turn, seq: before };
    }
    return send({ message, inputId: crypto.randomUUID(), follows: transcript.parent(found.turn) });
  }

  async function look(id: string) {
    await transcript.read(space, session);
    return transcript.find(id);
  }

  /** Sends what came of the tools that an answer called. */
  async function bringResults(message: Message) {
    const found = await look(message.id);
    const results = found ? resultsIn(message, found.message) : [];
    if (!found || results.length === 0) throw new Error("The last answer waits for no result of a tool, and for no approval.");
    return send({ results, inputId: crypto.randomUUID(), follows: found.turn });
  }

  /** Tells of turns, in their order, from a place on, until none of them is waited for. */
  function tell(waiting: Map<number, Telling>, after: number, over: AbortController): ReadableStream<UIMessageChunk> {
    const events = followSession(target, session, { after, signal: over.signal });
    return new ReadableStream<UIMessageChunk>({
      async pull(controller) {
        for (;;) {
          const { done, value: event } = await events.next();
          const turn = event?.turn ?? 0;
          const telling = waiting.get(turn);
          const chunks = (event && telling?.take(event)) ?? [];
          for (const chunk of chunks) controller.enqueue(chunk);
          if (telling?.over) {
            waiting.delete(turn);
            known.add(turn);
          }
          if (done || waiting.size === 0) {
            over.abort();
            return controller.close();
          }
          if (chunks.length > 0) return;
        }
      },
      cancel: () => over.abort(),
    });
  }

  /** Tells of turns until a chat has heard enough, which stops the one that it waits for. */
  function tellUntil(
    signal: AbortSignal | undefined,
    waiting: Map<number, Telling>,
    after: number,
    isStop: () => Promise<boolean> | boolean = () => true,
  ): ReadableStream<UIMessageChunk> {
    const over = new AbortController();
    const stop = async () => {
      over.abort();
      const [turn] = waiting.keys();
      if (turn === undefined || !(await isStop())) return;
      known.add(turn);
      await retried(true, () => space.session.stop({ session, turn }));
    };
    // Whoever may not stop it is told so by what they do next.
    const onAbort = () => void stop().catch(() => {});
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    return tell(waiting, after, over);
  }

  return {
    // What is resumed is told from its beginning.
    resumeStreamIsReplay: true,

    async messages() {
      await transcript.read(space, session);
      for (const { turn, over, before } of transcript.turns())
        if (over) known.add(turn);
        else begun.set(turn, before);
      return (await transcript.messages()) as Message[];
    },

    async sendMessages({ trigger, messageId, messages, abortSignal }) {
      const message = messages.at(-1);
      if (message?.role === "assistant") {
        const { turn, seq } = await bringResults(message);
        return tellUntil(abortSignal, new Map([[turn, new Telling(turn, { id: message.id })]]), seq);
      }
      if (message?.role !== "user") throw new Error("A session takes what people say: the last message must be theirs.");
      const edited = trigger === "submit-message" && messageId !== undefined;
      const { turn, seq } = await say(message, edited || trigger === "regenerate-message", edited);
      return tellUntil(abortSignal, new Map([[turn, new Telling(turn)]]), seq);
    },

    async reconnectToStream({ abortSignal }) {
      const mine = ++reconnects;
      await transcript.read(space, session);
      const turns = new Map(begun);
      for (const { turn, over, before } of transcript.turns()) if (!over) turns.set(turn, before);
      for (const turn of known) turns.delete(turn);
      if (turns.size === 0 || abortSignal?.aborted) return null;
      // Resumed once more, which is done in the moment of the abort, it is not to be stopped.
      const isStop = () => Promise.resolve().then(() => mine === reconnects);
      const waiting = new Map<number, Telling>();
      for (const turn of turns.keys()) {
        const continued = await transcript.continued(turn);
        waiting.set(turn, new Telling(turn, continued && { id: continued.message.id, chunks: continued.chunks }));
      }
      return tellUntil(abortSignal, waiting, Math.min(...turns.values()), isStop);
    },
  };
}
