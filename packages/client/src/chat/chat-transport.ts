import type { ChatTransport, UIMessage, UIMessageChunk } from "ai";
import { createSpaceClient, retried } from "../client.ts";
import { followSession } from "../stream.ts";
import type { Target } from "../transport.ts";
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
 *   said again, as a log can only grow.
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

  async function send(message: Message, inputId: string) {
    // The same again does no harm, so that a line which breaks is no reason to bother people.
    return retried(true, () => space.session.send({ session, inputId, message: message as never }));
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
    turns: Iterable<number>,
    after: number,
    isStop: () => Promise<boolean> | boolean = () => true,
  ): ReadableStream<UIMessageChunk> {
    const waiting = new Map([...turns].map((turn) => [turn, new Telling(turn)]));
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

    async sendMessages({ trigger, messages, abortSignal }) {
      const message = messages.at(-1);
      if (message?.role !== "user") throw new Error("A session takes what people say: the last message must be theirs.");
      let sent = await send(message, message.id);
      for (let n = 2; trigger === "regenerate-message" && sent.duplicate && known.has(sent.turn); n++) {
        const id = `${message.id}.${n}`;
        sent = await send({ ...message, id }, id);
      }
      return tellUntil(abortSignal, [sent.turn], sent.seq);
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
      return tellUntil(abortSignal, turns.keys(), Math.min(...turns.values()), isStop);
    },
  };
}
