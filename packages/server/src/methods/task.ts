import { judge, MAX_TASKS, MAX_TASKS_PER_KEY, type Task, type taskMethods } from "@gatehouse/protocol";
import { keyOf, standingOf } from "../actor.ts";
import { lastingStanding } from "../bounds.ts";
import type { Fragment, Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { Handlers } from "../rpc.ts";
import type { Judging } from "../rules.ts";
import { readable } from "../sessions/rows.ts";
import { readTies, type Tie } from "../standing.ts";
import { one, pageOf } from "./rows.ts";

/** The rules that tasks are read by. */
export interface Ruled {
  /** The rules of the configuration that stand: what came in by another is over. */
  rules: readonly string[];
}

const taskRows = (sql: Sql, { rules }: Ruled, which: Fragment): Promise<Task[]> => sql<Task[]>`
  select s.path, s.description, s.idle_timeout_seconds, s.seen_at > now() - interval '1 minute' as online, s.seen_at, s.created_at
  from live_tasks(${[...rules]}::text[]) s where ${which} order by s.path`;

const NO_TASK = "No worker has offered that task. `me task list` shows those there are.";

/** Why a task is one too many. */
const TOO_MANY: Readonly<Record<string, string>> = {
  space: `This space has ${MAX_TASKS} tasks, which is the most. Delete some first: me task delete TASK`,
  key: `This key has registered ${MAX_TASKS_PER_KEY} tasks, which is the most for one key. Delete some first, or use another key.`,
};

/** What a task hangs on that a caller registers: nothing, for a person who is signed in and may do so by what lasts. */
async function tiesOf(task: string, at: Judging) {
  const { via, source, expiresAt, rule } = at.actor.credential;
  const lenders = await lendersOf(task, at);
  const own =
    via === "session"
      ? { key: null, token: null, ends: null }
      : { key: keyOf(at.actor) ?? source?.actorKey?.id ?? source?.key?.id ?? null, token: source?.token?.id ?? null, ends: expiresAt };
  return { ...own, rule: rule ?? null, keys: lenders.map(({ id }) => id), ends: [own.ends, ...lenders.map((lender) => lender.expiresAt)] };
}

/** The keys that have given the caller what registering a task takes: none, where what lasts is enough. */
async function lendersOf(task: string, at: Judging): Promise<Tie[]> {
  const standing = await lastingStanding(at);
  if (standing && judge(standing.layers, [{ action: "admin", type: "tasks", path: task }]).allowed) return [];
  const lenders = await readTies(at.sql, standingOf(at.actor).space.slug, at.actor);
  // The key has expired since the call was let in.
  if (lenders.length === 0)
    throw new Refusal("FORBIDDEN", "The key that let you register this task has expired.", { reason: "permission" });
  return lenders;
}

export const taskHandlers = (ruled: Ruled): Handlers<typeof taskMethods> => ({
  async "task.list"({ after, limit }, { actor, sql }) {
    const { space, layers } = standingOf(actor);
    const { keys, next } = await pageOf(
      sql,
      sql`select s.path as key, octet_length(to_json(s.description)::text) + 500 as bytes from live_tasks(${[...ruled.rules]}::text[]) s
        where s.space_id = ${space.id} and ${readable(sql, layers, { tasksAlone: true })} ${after === undefined ? sql`` : sql`and s.path > ${after}`}
        order by s.path limit ${limit + 1}`,
      limit,
    );
    return { tasks: await taskRows(sql, ruled, sql`s.space_id = ${space.id} and s.path = any(${keys}::text[])`), next };
  },

  async "task.get"({ task }, { actor, sql }) {
    const { space } = standingOf(actor);
    return one(await taskRows(sql, ruled, sql`s.space_id = ${space.id} and s.path = ${task}`), NO_TASK);
  },

  async "task.register"({ task, description, idleTimeoutSeconds }, at) {
    const { actor, sql, audit } = at;
    const { key, token, keys, rule, ends } = await tiesOf(task, at);
    // A worker says so every minute: only what is new is recorded.
    const known = await sql`
      select from live_tasks(${[...ruled.rules]}::text[]) where space_id = ${standingOf(actor).space.id} and path = ${task}
        and registered_by = ${actor.principal.id} and description = ${description} and idle_timeout_seconds = ${idleTimeoutSeconds}
        and key_id is not distinct from ${key}`;
    audit.target = task;
    if (known.length > 0) audit.unchanged = true;
    const made = one(
      await sql<{ id: string | null; problem: string | null }[]>`
        select task as id, problem from register_task(${standingOf(actor).space.id}, ${task}, ${description}, ${idleTimeoutSeconds},
          ${actor.principal.id}, ${key}, ${token}, ${keys}::uuid[], ${rule},
          (select min(e) from unnest(${ends}::timestamptz[]) e), ${MAX_TASKS}, ${MAX_TASKS_PER_KEY})`,
    );
    if (made.problem !== null) throw new Refusal("CONFLICT", TOO_MANY[made.problem]);
    return { id: made.id as string, task };
  },

  async "task.delete"({ task }, { actor, sql, audit }) {
    one(await sql`delete from tasks where space_id = ${standingOf(actor).space.id} and path = ${task} returning id`, NO_TASK);
    audit.target = task;
    return { task };
  },
});
