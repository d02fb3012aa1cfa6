import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, Json, Moment, method, Next, page, storedBytes, Timestamp } from "./method.ts";
import { ExternalId, Run, SessionRef } from "./run.ts";
import { IdleSeconds, TaskPath } from "./task.ts";

/** Largest message, action or batch of chunks, in bytes of JSON: 256 KiB. */
export const MAX_EVENT_BYTES = 262_144;
/** Most parts of one message. */
const MAX_PARTS = 1000;
/** Most inputs of one session that wait for their turn. */
export const MAX_QUEUED_TURNS = 100;
/** Most inputs of one session in any minute. */
export const MAX_INPUTS_PER_MINUTE = 120;

/** Largest metadata of a session, in bytes of JSON: 16 KiB. */
export const MAX_METADATA_BYTES = 16_384;

const Metadata = z.record(z.string(), Json).describe("your own data, kept with the session");
const NewMetadata = Metadata.refine(
  (metadata) => storedBytes(JSON.stringify(metadata)) <= MAX_METADATA_BYTES,
  `must have at most ${MAX_METADATA_BYTES / 1024} KiB of JSON`,
);
const Tag = z
  .string()
  .min(1)
  .max(64, { abort: true })
  .refine((text) => text.isWellFormed(), "must not hold half of a surrogate pair");
const Tags = z.array(Tag).max(32);

export const Session = z.strictObject({
  id: Id,
  externalId: z.string().nullable(),
  task: TaskPath,
  status: z.enum(["open", "closed", "expired"]),
  metadata: Metadata,
  tags: Tags,
  idleTimeoutSeconds: IdleSeconds,
  createdBy: PrincipalRef.nullable(),
  lastSeq: z.number().int().describe("place of the newest event in its log"),
  createdAt: Timestamp,
  expiresAt: Timestamp.nullable(),
  closedAt: Timestamp.nullable(),
});
export type Session = z.infer<typeof Session>;

/** What is said to an agent: text, or a message of the AI SDK (UIMessage). */
const Message = z.union([
  z.string().min(1),
  z.looseObject({
    id: z.string().optional(),
    role: z.literal("user"),
    parts: z
      .array(z.looseObject({ type: z.string() }))
      .min(1)
      .max(MAX_PARTS),
  }),
]);
const Action = z.strictObject({ name: z.string().min(1).max(64), data: Json.optional() });

/** What came of a tool that an answer called, as a chunk of the AI SDK: from a tool of the page, or from the person asked whether it may run. */
const ToolResult = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("tool-output-available"), toolCallId: z.string(), output: Json }),
  z.strictObject({ type: z.literal("tool-output-error"), toolCallId: z.string(), errorText: z.string() }),
  z.strictObject({
    type: z.literal("tool-approval-response"),
    approvalId: z.string(),
    approved: z.boolean(),
    reason: z.string().optional(),
  }),
]);
export type ToolResult = z.infer<typeof ToolResult>;

const InputId = z.string().min(1).max(128).describe("names the input: sent again, it counts once");

/** One event of a session's log. */
export const SessionEvent = z.strictObject({
  seq: z.number().int().describe("its place in the log: 1, 2, 3, without gaps"),
  at: Timestamp,
  direction: z.enum(["in", "out"]),
  kind: z
    .enum(["message", "action", "results", "stop", "close", "run", "run-end", "turn-start", "chunks", "turn-lost", "turn-end"])
    .describe("in: message, action, results, stop, close; out: the others"),
  turn: z.number().int().nullable(),
  run: Id.nullable(),
  data: Json,
});
export type SessionEvent = z.infer<typeof SessionEvent>;

/** Why a stream of a session's log ended: what follows it stops, asks whether it still may read, or comes again. */
export const StreamEnd = z.strictObject({ why: z.enum(["the session is over", "access ended", "the server stops"]) });
export type StreamEnd = z.infer<typeof StreamEnd>;

const bySession = z.strictObject({ session: SessionRef });

export const sessionMethods = {
  "session.create": method({
    summary: "Starts a conversation with a task; with an external id that is known, answers with the one there is.",
    effect: "write",
    params: z.strictObject({
      task: TaskPath,
      externalId: ExternalId.optional().describe("your own name for it: the same again answers with the same session"),
      metadata: NewMetadata.optional(),
      tags: Tags.optional(),
      message: Message.optional().describe("the first message"),
      inputId: InputId.optional().describe("names the first message; left out beside an external id, the message names itself"),
      idleTimeoutSeconds: IdleSeconds.optional(),
      expiresAt: Moment.optional().describe("when it ends by itself, in the future; left out = never"),
    }),
    result: z.strictObject({
      session: Session,
      run: Run.nullable().describe("the run that answers; null where there was no message"),
      token: z.string().describe("for a browser, for an hour: it reads, sends and stops in this session, and does nothing else"),
      tokenExpiresAt: Timestamp,
      existing: z.boolean(),
    }),
    errors: ["CONFLICT", "SESSION_CLOSED", "SESSION_EXPIRED", "RATE_LIMITED", "LIMIT_REACHED"],
  }),
  "session.get": method({
    summary: "Shows a session. A browser's token is not shown its metadata, its tags, its external id, nor who made it.",
    effect: "read",
    tool: "show_session",
    params: bySession,
    result: Session,
    errors: ["NOT_FOUND"],
  }),
  "session.list": method({
    summary: "Lists the sessions you may read, newest first.",
    effect: "read",
    params: z.strictObject({
      task: TaskPath.optional().describe("only of this task and those beneath it"),
      tag: z.string().max(64).optional(),
      status: z.enum(["open", "closed", "expired"]).optional(),
      ...page,
    }),
    result: z.strictObject({ sessions: z.array(Session), next: Next }),
    errors: [],
  }),
  "session.update": method({
    summary: "Changes a session's metadata, tags or end.",
    effect: "write",
    params: z.strictObject({
      session: SessionRef,
      metadata: NewMetadata.optional(),
      tags: Tags.optional(),
      expiresAt: Moment.nullable().optional().describe("in the future; null = never"),
    }),
    result: Session,
    errors: ["NOT_FOUND", "SESSION_CLOSED", "SESSION_EXPIRED"],
  }),
  "session.send": method({
    summary: "Says something in a session: acknowledged when it is kept; messages that come during a turn wait for theirs.",
    effect: "append",
    params: z
      .strictObject({
        session: SessionRef,
        message: Message.optional(),
        action: Action.optional(),
        results: z.array(ToolResult).min(1).max(64).optional().describe("what came of tools that the answer before it called"),
        inputId: InputId.optional(),
        follows: z
          .int32()
          .min(0)
          .optional()
          .describe(
            "the turn after which the conversation goes on with this, as where a message is edited; 0 = its beginning; left out = the turn before. The log keeps what was said since then",
          ),
      })
      .refine(
        ({ message, action, results }) => [message, action, results].filter((said) => said !== undefined).length === 1,
        "say a message, an action, or results of tools",
      )
      .refine(({ action, follows }) => action === undefined || follows === undefined, "an action follows the turn before it"),
    result: z.strictObject({
      inputId: z.string(),
      seq: z.number().int(),
      turn: z.number().int(),
      run: z.strictObject({ id: Id }).describe("the run that will answer, as things stand"),
      duplicate: z.boolean().describe("whether this input was there already"),
    }),
    errors: ["NOT_FOUND", "SESSION_CLOSED", "SESSION_EXPIRED", "RATE_LIMITED", "CONFLICT"],
  }),
  "session.stop": method({
    summary: "Stops the turn that is being answered, the model's call with it, or the one that is named. What else waits stays.",
    effect: "append",
    takesBack: true,
    params: z.strictObject({
      session: SessionRef,
      turn: z.int32().optional().describe("this one and no other, also where it waits still"),
      stop: z.literal(true).optional().describe("says nothing more: it stands for a message where inputs are posted to"),
    }),
    result: z.strictObject({ turn: z.number().int().nullable().describe("null: there was nothing to stop") }),
    errors: ["NOT_FOUND", "SESSION_CLOSED", "SESSION_EXPIRED"],
  }),
  "session.close": method({
    summary: "Closes a session for good: its run ends, its streams close.",
    effect: "write",
    takesBack: true,
    params: bySession,
    result: Session,
    errors: ["NOT_FOUND"],
  }),
  "session.delete": method({
    summary: "Deletes a session for good: its log, its runs and its tokens. What is being answered is stopped.",
    effect: "write",
    takesBack: true,
    params: bySession,
    result: z.strictObject({ id: Id }),
    errors: ["NOT_FOUND"],
  }),
  "session.events": method({
    summary: "Reads a session's log, page by page: a page ends early where its events are large.",
    effect: "read",
    tool: "read_session",
    params: z.strictObject({
      session: SessionRef,
      after: z.number().int().min(0).default(0).describe("only events behind this place"),
      limit: z.number().int().min(1).max(1000).default(200),
    }),
    result: z.strictObject({ events: z.array(SessionEvent), lastSeq: z.number().int() }),
    errors: ["NOT_FOUND"],
  }),
};
