import { z } from "zod";
import { Id, Json, method, Next, page, Timestamp } from "./method.ts";
import { looksLikeId } from "./name.ts";
import { IdleSeconds, TaskPath } from "./task.ts";

/** Longest that a worker's question waits for an answer, in seconds. */
export const MAX_WAIT_SECONDS = 20;

const SessionName = z
  .string()
  .regex(/^[A-Za-z0-9._~@:%+=-]{1,128}$/, "must be 1 to 128 of letters, digits and . _ ~ @ : % + = -")
  .refine((text) => text !== "." && text !== "..", "must not be . or ..: addresses mean something else by them");

/** Your own name for a session. */
export const ExternalId = SessionName.refine((text) => !looksLikeId(text), "must not look like an id");

/** A session, by its id or its external id: both are judged as the row they name. */
export const SessionRef = SessionName.describe("A session's id, or its external id");

export const Run = z.strictObject({
  id: Id,
  session: Id,
  number: z.number().int().describe("the first run of a session is 1"),
  reason: z.enum(["initial", "continuation", "upgrade"]),
  status: z.enum(["waiting", "live", "ended"]).describe("waiting: for a worker"),
  endReason: z.enum(["idle", "lost", "closed", "handover", "upgrade"]).nullable(),
  createdAt: Timestamp,
  endedAt: Timestamp.nullable(),
});
export type Run = z.infer<typeof Run>;

const waitSeconds = z.number().min(0).max(MAX_WAIT_SECONDS).default(0).describe("seconds to wait for something to come");

/** A worker's hold of a run: what it writes with an epoch that is over is refused. */
const hold = { run: Id, epoch: z.number().int().describe("as run.lease gave it") };

const errorsOfHold = ["NOT_FOUND", "LEASE_LOST"] as const;

export const runMethods = {
  "run.get": method({ summary: "Shows a run.", effect: "read", params: z.strictObject({ run: Id }), result: Run, errors: ["NOT_FOUND"] }),
  "run.list": method({
    summary: "Lists the runs of a session, in their order.",
    effect: "read",
    tool: "list_runs",
    params: z.strictObject({ session: SessionRef, ...page }),
    result: z.strictObject({ runs: z.array(Run), next: Next }),
    errors: ["NOT_FOUND"],
  }),
  "run.lease": method({
    summary: "As a worker: takes a run that waits, of a task that you serve.",
    effect: "append",
    params: z.strictObject({
      tasks: z.array(TaskPath).min(1).max(64),
      worker: z.string().min(1).max(128).describe("names this process"),
      waitSeconds,
    }),
    result: z.strictObject({
      lease: z
        .strictObject({
          ...hold,
          session: Id,
          externalId: z.string().nullable(),
          task: TaskPath,
          metadata: z.record(z.string(), Json),
          number: z.number().int(),
          reason: z.enum(["initial", "continuation", "upgrade"]),
          idleTimeoutSeconds: IdleSeconds,
          leaseSeconds: z.number().describe("say that you live (run.heartbeat) at least once in this time"),
        })
        .nullable()
        .describe("null: none came"),
    }),
    errors: [],
  }),
  "run.next": method({
    summary: "As a worker: takes the next input of a run, and begins its turn. With none within the idle window, the run ends.",
    effect: "append",
    params: z.strictObject({ ...hold, waitSeconds }),
    result: z.strictObject({
      input: z
        .strictObject({
          turn: z.int32(),
          attempt: z.number().int().describe("2 and more: an earlier worker was lost over it"),
          inputId: z.string(),
          kind: z.enum(["message", "action", "results"]),
          data: Json,
          traceparent: z.string().nullable().describe("the trace that it came in (W3C Trace Context); null = none"),
        })
        .nullable(),
      ended: z.enum(["idle", "closed"]).nullable().describe("why the run is over, if it is"),
    }),
    errors: errorsOfHold,
  }),
  "run.emit": method({
    summary: "As a worker: adds to the answer. Chunks are the AI SDK's UI message chunks; send several together.",
    effect: "append",
    params: z.strictObject({
      ...hold,
      turn: z.int32(),
      chunks: z
        .array(z.looseObject({ type: z.string() }))
        .min(1)
        .max(1000),
      batch: z.int32().min(1).optional().describe("1, 2, 3 of this attempt: a batch that is sent again counts once"),
    }),
    result: z.strictObject({ seq: z.number().int(), stop: z.boolean().describe("whether the turn is to be stopped") }),
    errors: [...errorsOfHold, "CONFLICT"],
  }),
  "run.endTurn": method({
    summary: "As a worker: ends a turn. Said again, it changes nothing.",
    effect: "append",
    params: z.strictObject({
      ...hold,
      turn: z.int32(),
      outcome: z.enum(["complete", "errored", "stopped"]),
      error: z.string().max(1000).optional().describe("errored: what to tell people"),
    }),
    result: z.strictObject({ seq: z.number().int() }),
    errors: [...errorsOfHold, "CONFLICT"],
  }),
  "run.end": method({
    summary: "As a worker: lets go of a run; what it has not answered goes to the next worker.",
    effect: "append",
    params: z.strictObject({ ...hold, reason: z.enum(["handover", "upgrade"]).default("handover") }),
    result: z.strictObject({}),
    errors: errorsOfHold,
  }),
  "run.heartbeat": method({
    summary: "As a worker: keeps a run, and hears of a stop, or the turn's end, as soon as it comes.",
    effect: "append",
    params: z.strictObject({ ...hold, turn: z.int32().optional().describe("the turn being answered"), waitSeconds }),
    result: z.strictObject({ stop: z.boolean(), closed: z.boolean() }),
    errors: errorsOfHold,
  }),
};
