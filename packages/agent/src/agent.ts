import { TaskPath } from "@gatehouse/protocol";
import type { FlexibleSchema, ModelMessage, UIMessage } from "ai";
import type { Answer } from "./answer.ts";

/** A conversation, as a run holds it. */
export interface Conversation<Metadata = Record<string, unknown>> {
  session: { id: string; externalId: string | null };
  /** A worker's hold of the session: messages within the idle window come to the same one. */
  run: { id: string; number: number; reason: "initial" | "continuation" | "upgrade" };
  /** What the session's maker gave along, checked by the agent's schema. */
  metadata: Metadata;
}

/** One input, and all that it takes to answer it. */
export interface Turn<Metadata = Record<string, unknown>> extends Conversation<Metadata> {
  /** 1 for the first input of the session. */
  turn: number;
  /** 2 and more: an earlier worker was lost over it. What has effects outside should ask. */
  attempt: number;
  inputId: string;
  /** The conversation so far, as a model takes it; a message that is to be answered is the last. */
  messages: ModelMessage[];
  /** The same, as people see it. */
  uiMessages: UIMessage[];
  /** Aborted as soon as the turn is to be stopped. Hand it to the model. */
  signal: AbortSignal;
}

/** How a turn ended. */
export interface Ended {
  outcome: "complete" | "errored" | "stopped";
  /** What was answered, if anything. */
  answer: UIMessage | undefined;
  /** errored: what was thrown. */
  error: unknown;
}

/** What a task author writes. */
export interface AgentSpec<Metadata> {
  /** Path of the task, as permissions name it: `support`, `support/billing`. */
  id: string;
  /** What it does, for people. */
  description?: string;
  /** Answers a message. What it throws ends the turn `errored`. */
  run(turn: Turn<Metadata>): Answer | Promise<Answer>;
  /** Answers an action: an input that has a name, and is no message. */
  onAction?(action: { name: string; data: unknown }, turn: Turn<Metadata>): Answer | Promise<Answer>;
  /** Before the first turn of each run. */
  onStart?(conversation: Conversation<Metadata>): void | Promise<void>;
  /** Before each turn. What it throws ends the turn `errored`. */
  onTurnStart?(turn: Turn<Metadata>): void | Promise<void>;
  /** After each turn, when its end is kept. Not for one that went to another worker. */
  onTurnEnd?(turn: Turn<Metadata>, ended: Ended): void | Promise<void>;
  /** What to tell people of an error; left out, no more than that there was one. */
  onError?(error: unknown, conversation: Conversation<Metadata>): string;
  /** Seconds that a run waits for the next message; default 30. */
  idleTimeoutSeconds?: number;
  /** Turns that one worker answers at once; default 10. Conversations that wait for their next message do not count. */
  concurrency?: number;
  /** What a session's metadata must be: a schema of zod, or another that the AI SDK takes. Gives `metadata` its type. */
  metadata?: FlexibleSchema<Metadata>;
}

// Known by a symbol that all copies of this package share: `me` may run agents that were made with another.
const AGENT = Symbol.for("gatehouse.agent");

/** An agent that a worker can serve. */
export interface ChatAgent extends AgentSpec<unknown> {
  readonly [AGENT]: true;
}

/**
 * Makes an agent that answers in the sessions of a task.
 * @throws TypeError for an id that is no path of a task
 */
export function chatAgent<Metadata = Record<string, unknown>>(spec: AgentSpec<Metadata>): ChatAgent {
  const path = TaskPath.safeParse(spec.id);
  if (!path.success) throw new TypeError(`The agent's id ${JSON.stringify(spec.id)} ${path.error.issues[0]?.message}.`);
  return { ...spec, [AGENT]: true } as ChatAgent;
}

/** Whether something, such as what a file exports, is an agent. */
export const isChatAgent = (value: unknown): value is ChatAgent => typeof value === "object" && value !== null && AGENT in value;
