import { z } from "zod";
import { Id, method, page, Timestamp } from "./method.ts";
import { formatPermission, PermissionText } from "./permission.ts";

/** Seconds that a run waits for the next message before it ends, unless the task or the session says otherwise. */
export const DEFAULT_IDLE_SECONDS = 30;
export const IdleSeconds = z.number().int().min(0).max(3600).describe("seconds a run waits for the next message before it ends");

/** Most tasks of one space, and of those that one key registered. */
export const MAX_TASKS = 1000;
export const MAX_TASKS_PER_KEY = 100;

/** The path of a task, as permissions name it: `support/billing`. */
export const TaskPath = z
  .string()
  .max(200, { abort: true })
  .refine(
    (path) => PermissionText.safeParse(formatPermission({ action: "read", type: "tasks", path })).success,
    "must be segments with / between",
  )
  .describe("The path of a task: segments with / between");

export const Task = z.strictObject({
  path: TaskPath,
  description: z.string(),
  idleTimeoutSeconds: IdleSeconds,
  online: z.boolean().describe("whether a worker that serves it was heard of within the last minute"),
  seenAt: Timestamp,
  createdAt: Timestamp,
});
export type Task = z.infer<typeof Task>;

export const taskMethods = {
  "task.list": method({
    summary: "Lists the tasks of the space that you may read or start, in the order of their paths.",
    effect: "read",
    tool: "list_agents",
    params: z.strictObject({
      ...page,
      after: TaskPath.optional().describe("the `next` of the page before; left out = the first page"),
    }),
    result: z.strictObject({ tasks: z.array(Task), next: TaskPath.nullable() }),
    errors: [],
  }),
  "task.get": method({
    summary: "Shows one task.",
    effect: "read",
    params: z.strictObject({ task: TaskPath }),
    result: Task,
    errors: ["NOT_FOUND"],
  }),
  "task.register": method({
    summary:
      "As a worker: says that you serve a task. Say so again at least every minute. The task goes with the key or token that said so last.",
    effect: "write",
    params: z.strictObject({
      task: TaskPath,
      description: z.string().max(1000).default(""),
      idleTimeoutSeconds: IdleSeconds.default(DEFAULT_IDLE_SECONDS),
    }),
    result: z.strictObject({ id: Id, task: TaskPath }),
    errors: ["CONFLICT"],
  }),
  "task.delete": method({
    summary: "Deletes a task. Its sessions stay. A worker that still serves it registers it again.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({ task: TaskPath }),
    result: z.strictObject({ task: TaskPath }),
    errors: ["NOT_FOUND"],
  }),
};
