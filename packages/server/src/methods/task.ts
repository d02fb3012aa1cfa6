import type { Task, taskMethods } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { standingOf } from "../actor.ts";
import type { Handlers } from "../rpc.ts";
import { readable } from "../sessions/rows.ts";
import type { Fragment, Sql } from "../sql.ts";
import { one } from "./rows.ts";

const taskRows = (sql: Sql, which: Fragment): Promise<Task[]> => sql<Task[]>`
  select s.path, s.description, s.idle_timeout_seconds, s.seen_at > now() - interval '1 minute' as online, s.seen_at, s.created_at
  from tasks s where ${which} order by s.path`;

export const taskHandlers: Handlers<typeof taskMethods> = {
  async "task.list"(_input, { actor, sql }) {
    const { space, layers } = standingOf(actor);
    return { tasks: await taskRows(sql, sql`s.space_id = ${space.id} and ${readable(sql, layers, { tasksAlone: true })}`) };
  },

  async "task.get"({ task }, { actor, sql }) {
    const { space } = standingOf(actor);
    return one(
      await taskRows(sql, sql`s.space_id = ${space.id} and s.path = ${task}`),
      "No worker has offered that task. `me task list` shows those there are.",
    );
  },

  async "task.register"({ task, description, idleTimeoutSeconds }, { actor, sql }) {
    const row = one(
      await sql<{ id: string }[]>`
        insert into tasks (id, space_id, path, description, idle_timeout_seconds, registered_by)
        values (${uuidv7()}, ${standingOf(actor).space.id}, ${task}, ${description}, ${idleTimeoutSeconds}, ${actor.principal.id})
        on conflict on constraint task_path do update set description = excluded.description,
          idle_timeout_seconds = excluded.idle_timeout_seconds, registered_by = excluded.registered_by, seen_at = now()
        returning id`,
    );
    return { id: row.id, task };
  },
};
