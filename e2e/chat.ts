import type { Chat } from "@gatehouse/client/chat";
import { AbstractChat, type ChatInit, type ChatState, type ChatStatus, type UIMessage } from "ai";
import { textOf } from "./said.ts";

/** A chat of the AI SDK, as `useChat` has one, without React. */
export class TestChat extends AbstractChat<UIMessage> {
  /** What `onError` was given. */
  readonly errors: Error[] = [];

  constructor(transport: Chat, messages: UIMessage[] = [], init: Pick<ChatInit<UIMessage>, "sendAutomaticallyWhen"> = {}) {
    const state: ChatState<UIMessage> = {
      status: "ready" as ChatStatus,
      error: undefined,
      messages,
      pushMessage: (message) => {
        state.messages = [...state.messages, message];
      },
      popMessage: () => {
        state.messages = state.messages.slice(0, -1);
      },
      replaceMessage: (index, message) => {
        state.messages = state.messages.with(index, structuredClone(message));
      },
      snapshot: structuredClone,
    };
    super({ ...init, transport, state, onError: (error) => void this.errors.push(error) });
  }

  /** What it shows: who says what. */
  shown(): string[] {
    return this.messages.map((message) => `${message.role}: ${textOf(message)}`);
  }
}
