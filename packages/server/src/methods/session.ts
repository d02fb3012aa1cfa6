import { createHash } from "node:crypto";
import {
  DEFAULT_IDLE_SECONDS,
  type ErrorCode,
  MAX_INPUTS_PER_MINUTE,
  MAX_QUEUED_TURNS,
  PAGE_BYTES,
  type Session,
  type SessionEvent,
  type sessionMethods,
} from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { type Actor, standingOf } from "../actor.ts";
import { inTransaction, type Sql } from "../db.ts";
import { Refusal } from "../refusal.ts";
import type { At, Handlers } from "../rpc.ts";
import { mayNameMembers } from "../rules.ts";
import { addTo } from "../sessions/lock.ts";
import { checksOf, dataOf, idsAlone, mustWrite, NO_SESSION, readable, runRows, sessionNamed, sessionRows } from "../sessions/rows.ts";
import type { Jwt } from "../tokens/jwt.ts";
import { mintToken } from "../tokens/mint.ts";
import { fitting, future, MOST_ROWS_READ, one, pageOf } from "./rows.ts";
import type { Ruled } from "./task.ts";

/** Seconds that the token which comes with a session lives. */
const SESSION_TOKEN_SECONDS = 3600;

/** Seconds after which it makes sense to ask again whether some of the inputs that wait are answered. */
const BACKLOG_SECONDS = 5;

/** What is said in a session, as it is kept. */
interface Input {
  kind: "message" | "action" | "results";
  inputId: string;
  /** JSON. */
  data: string;
}

/** A message as the AI SDK has it. */
const asMessage = (message: unknown): object =>
  typeof message === "string" ? { role: "user", parts: [{ type: "text", text: message }] } : (message as object);

interface Saying {
  message?: unknown;
  action?: unknown;
  results?: unknown;
  inputId?: string | undefined;
  follows?: number | undefined;
}

const inputOf = ({ message, action, results, inputId = uuidv7(), follows }: Saying): Input => {
  if (action !== undefined) return { kind: "action", inputId, data: dataOf(action) };
  if (results !== undefined) return { kind: "results", inputId, data: dataOf({ results, follows }) };
  return { kind: "message", inputId, data: dataOf({ id: inputId, ...asMessage(message), follows }) };
};

/** Names a message by itself: said again, it is the same input. */
const nameOf = (message: unknown): string =>
  `create:${createHash("sha256")
    .update(JSON.stringify(asMessage(message)))
    .digest("base64url")}`;

/** Locks a session, so that nothing is added to it meanwhile. @param judge judges the call again, once it is locked @throws Refusal SESSION_CLOSED, SESSION_EXPIRED; NOT_FOUND where it was deleted */
async function lockOpen(sql: Sql, id: string, judge?: At["still"]): Promise<void> {
  const [row] = await sql<{ closeReason: string | null; over: boolean }[]>`
    select close_reason, coalesce(expires_at <= now(), false) as over from sessions where id = ${id} for update`;
  await judge?.();
  if (!row) throw new Refusal("NOT_FOUND", NO_SESSION);
  if (row.closeReason === "closed") throw new Refusal("SESSION_CLOSED");
  if (row.closeReason === "expired" || row.over) throw new Refusal("SESSION_EXPIRED");
}

/** What is wrong with what is said, where the table of errors has no better words for it. */
const WRONG: { readonly [code in ErrorCode]?: string } = {
  NOT_FOUND: NO_SESSION,
  INVALID_PARAMS: "follows must be a turn of this session, or 0 for its beginning.",
  CONFLICT: "That inputId was used for another input. Give each input its own.",
};

/** The refusal of what is too much. @param pause seconds to wait, where it is too much for a minute; else too many inputs wait */
const tooMuch = (pause: number | null): Refusal =>
  new Refusal(
    "RATE_LIMITED",
    pause === null
      ? `${MAX_QUEUED_TURNS} inputs wait in this session already. Send more when some are answered.`
      : `This session takes ${MAX_INPUTS_PER_MINUTE} inputs in a minute. Wait for the seconds named in Retry-After, or retryAfter.`,
    { retryAfter: pause ?? BACKLOG_SECONDS },
  );

/** Adds what is said to a session: once, and with a run that will answer it, or not at all. @throws Refusal */
async function append(at: At, id: string, { kind, inputId, data }: Input) {
  const say = (sql: Sql) => sql<Said[]>`
    select place::integer as seq, which as turn, run, duplicate, problem, pause
    from say(lock_session(${id}), ${kind}, ${inputId}, ${data}::jsonb, ${at.actor.principal.id}, ${at.traceparent()}, ${MAX_QUEUED_TURNS}, ${MAX_INPUTS_PER_MINUTE})`;
  const { problem, pause, run, ...kept } = one(await addTo(at, id, say));
  if (problem) throw problem === "RATE_LIMITED" ? tooMuch(pause) : new Refusal(problem, WRONG[problem]);
  return { inputId, ...kept, run: { id: run ?? "" } };
}

interface Said {
  seq: number;
  turn: number;
  run: string | null;
  duplicate: boolean;
  problem: ErrorCode | null;
  pause: number | null;
}

async function shown({ actor, sql }: At, id: string): Promise<Session> {
  const session = one(await sessionRows(sql, sql`s.id = ${id} and s.space_id = ${standingOf(actor).space.id}`));
  return actor.credential.onlySession === undefined ? tellable(session, actor) : { ...session, ...NOT_FOR_BROWSERS };
}

/** A session as a caller may see it who may not see who is in the space. */
const tellable = (session: Session, actor: Actor): Session => (mayNameMembers(actor) ? session : { ...session, createdBy: null });

/** What its maker knows a session by, which is not for whoever talks in it. */
const NOT_FOR_BROWSERS = { externalId: null, metadata: {}, tags: [], createdBy: null } as const satisfies Partial<Session>;

/** Least bytes of a session in a page, as `sessions.bytes` has it. */
const SESSION_BYTES = 1000;

/** Paths that take about as long to look for as a row takes to read. */
const CHECKS_PER_ROW = 6;

export const sessionHandlers = ({ jwt, rules }: Ruled & { jwt: Jwt }): Handlers<typeof sessionMethods> => ({
  async "session.create"({ task, externalId, message, inputId, metadata, tags, idleTimeoutSeconds, expiresAt }, at) {
    const { actor, sql } = at;
    const { space } = standingOf(actor);
    const ends = expiresAt === undefined ? null : future(expiresAt);
    const id = uuidv7();
    const { count } = await sql`
      insert into sessions (id, space_id, task, external_id, metadata, tags, idle_timeout_seconds, expires_at, created_by)
      values (${id}, ${space.id}, ${task}, ${externalId ?? null}, ${sql.json(metadata ?? {})}, ${tags ?? []},
              coalesce(${idleTimeoutSeconds ?? null}, (select idle_timeout_seconds from live_tasks(${[...rules]}::text[]) where space_id = ${space.id} and path = ${task}), ${DEFAULT_IDLE_SECONDS}),
              ${ends}, ${actor.principal.id})
      on conflict on constraint session_external_id do nothing`;
    const existing = count === 0;
    const session = existing ? await existingSession(externalId as string, task, at) : id;
    // A session that there was already may be held by another call; whoever creates holds their credential while they wait.
    if (existing || message === undefined) await lockOpen(sql, session);
    if (message !== undefined)
      await append(at, session, inputOf({ message, inputId: inputId ?? (externalId === undefined ? undefined : nameOf(message)) }));
    const scope = [`read:sessions:${session}`, `write:sessions:${session}`];
    const minted = await mintToken(sql, jwt, actor, { space, scope, ttlSeconds: SESSION_TOKEN_SECONDS, onlySession: session });
    const [run] = await runRows(sql, sql`r.session_id = ${session} and r.ended_at is null`);
    at.audit.target = session;
    return { session: await shown(at, session), run: run ?? null, token: minted.token, tokenExpiresAt: minted.expiresAt, existing };
  },

  async "session.get"({ session }, at) {
    return shown(at, (await sessionNamed(session, at)).id);
  },

  async "session.list"({ task, tag, status, after, limit: asked }, { actor, sql }) {
    const limit = fitting(asked, SESSION_BYTES);
    const { space, layers } = standingOf(actor);
    const ids = idsAlone(layers);
    // A page takes no longer for a caller whose tasks have paths of many lengths.
    const most = Math.ceil(MOST_ROWS_READ / Math.max(1, checksOf(layers) / CHECKS_PER_ROW));
    const rows = sql`from sessions s where s.space_id = ${space.id}
      ${ids === undefined ? sql`` : sql`and s.id = any(${ids}::uuid[])`}
      ${after === undefined ? sql`` : sql`and s.id < ${after}`}
      order by s.id desc`;
    const { keys, next } = await pageOf(
      sql,
      sql`select s.id as key, s.bytes from (select s.* ${rows} limit ${most}) s where ${readable(sql, layers)}
        ${task === undefined ? sql`` : sql`and (s.task = ${task} or starts_with(s.task, ${`${task}/`}))`}
        ${tag === undefined ? sql`` : sql`and ${tag} = any(s.tags)`}
        ${status === undefined ? sql`` : sql`and coalesce(s.close_reason, case when s.expires_at <= now() then 'expired' end, 'open') = ${status}`}
        order by s.id desc limit ${limit + 1}`,
      limit,
      {
        most,
        read: sql`select count(*) from (select ${rows} limit ${most}) s`,
        // The last that was looked at, up to where it differs from the next: the caller may read neither.
        last: sql`
          select left(here, place) || substr('00000000-0000-7000-8000-000000000000', place + 1)
          from (select max(id) as here, min(id) as next from (select s.id::text ${rows} offset ${most - 1} limit 2) s having count(*) = 2) ends,
            lateral (select min(i) as place from generate_series(1, 36) i where left(here, i) <> left(next, i)) differ`,
      },
    );
    const sessions = await sessionRows(sql, sql`s.id = any(${keys}::uuid[]) order by s.id desc`);
    return { sessions: sessions.map((session) => tellable(session, actor)), next };
  },

  async "session.update"({ session, metadata, tags, expiresAt }, at) {
    const { sql } = at;
    const ends = expiresAt && future(expiresAt);
    const { id } = await sessionNamed(session, at);
    await lockOpen(sql, id);
    if (metadata !== undefined) await sql`update sessions set metadata = ${sql.json(metadata)} where id = ${id}`;
    if (tags !== undefined) await sql`update sessions set tags = ${tags} where id = ${id}`;
    if (ends !== undefined) await sql`update sessions set expires_at = ${ends} where id = ${id}`;
    at.audit.target = id;
    return shown(at, id);
  },

  async "session.send"({ session, ...said }, at) {
    const input = inputOf(said);
    const { id } = await sessionNamed(session, at);
    return append(at, id, input);
  },

  async "session.stop"({ session, turn }, at) {
    const { id } = await sessionNamed(session, at);
    return inTransaction(at.sql, async (sql) => {
      await lockOpen(sql, id, at.still);
      const [stopped] = await sql<{ turn: number; first: boolean; waits: boolean; run: string | null }[]>`
        update turns t set stop_asked = true from turns before
        where t.session_id = ${id} and ${turn === undefined ? sql`t.status = 'running'` : sql`t.status in ('queued', 'running') and t.turn = ${turn}`}
          and before.session_id = t.session_id and before.turn = t.turn
        returning t.turn, not before.stop_asked as first, t.status = 'queued' as waits,
          (select id from runs r where r.session_id = t.session_id and r.ended_at is null) as run`;
      if (stopped?.first) await sql`select log_event(${id}, 'in', 'stop', ${stopped.turn}, null, ${at.actor.principal.id}, '{}')`;
      // There is no worker yet that would end it.
      if (stopped?.waits) await sql`select finish_turn(${id}, ${stopped.turn}, ${stopped.run}, 'stopped', null)`;
      return { turn: stopped?.turn ?? null };
    });
  },

  async "session.close"({ session }, at) {
    const { id } = await sessionNamed(session, at);
    await at.sql`select close_session(${id}, 'closed', ${at.actor.principal.id})`;
    at.audit.target = id;
    return shown(at, id);
  },

  async "session.delete"({ session }, at) {
    const { id } = await sessionNamed(session, at);
    one(await at.sql`delete from sessions where id = ${id} returning id`);
    at.audit.target = id;
    return { id };
  },

  async "session.events"({ session, after, limit }, at) {
    const { id } = await sessionNamed(session, at);
    const { events } = await eventsAfter(at.sql, id, after, limit);
    const { lastSeq } = await shown(at, id);
    return { events, lastSeq };
  },
});

/** A page of the events of a log behind a place, in their order; and whether there were more by then. */
export async function eventsAfter(
  sql: Sql,
  session: string,
  after: number,
  limit: number,
  bytes = PAGE_BYTES,
): Promise<{ events: SessionEvent[]; more: boolean }> {
  const rows = await sql<(SessionEvent & { more: boolean })[]>`
    with page as materialized (select page_end(${session}, ${after}, ${limit}, ${bytes}) as place)
    select seq::integer, at, direction, kind, turn, run_id as run, data,
           exists (select from session_events where session_id = ${session} and seq = (select place from page) + 1) as more
    from session_events where session_id = ${session} and seq > ${after} and seq <= (select place from page) order by seq`;
  return { events: rows.map(({ more: _more, ...event }) => event), more: rows[0]?.more ?? false };
}

/**
 * The session that has the external id already, judged as the row it is; nothing of it is changed.
 * @throws Refusal FORBIDDEN where the caller may not write it, CONFLICT where it is another task's
 */
async function existingSession(externalId: string, task: string, at: At): Promise<string> {
  const row = await sessionNamed(externalId, at);
  await mustWrite(row, at);
  if (row.task !== task) throw new Refusal("CONFLICT", "A session of another task has that external id. Choose another.");
  return row.id;
}
