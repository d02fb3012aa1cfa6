import { type Layer, looksLikeId, MAX_EVENT_BYTES, type Permission, type Run, type Session, storedBytes } from "@gatehouse/protocol";
import { LRUCache } from "lru-cache";
import { type Actor, standingOf } from "../actor.ts";
import type { Fragment, Sql } from "../db.ts";
import type { Feed } from "../feed.ts";
import { type Alternative, admin, anyOf, read, write } from "../needs.ts";
import { mustFit, Refusal } from "../refusal.ts";
import { type Decision, denied, type Judging, type Need, onRow } from "../rules.ts";

/** The session of the caller's space that an id, or an external id, names. What looks like an id may have been taken for an external id once. */
const named = (sql: Sql, actor: Actor, ref: string): Fragment =>
  looksLikeId(ref)
    ? sql`s.space_id = ${standingOf(actor).space.id} and (s.id = ${ref} or s.external_id = ${ref}) order by s.id = ${ref} desc limit 1`
    : sql`s.space_id = ${standingOf(actor).space.id} and s.external_id = ${ref}`;

/** A session as its permissions name it. */
interface SessionKey {
  id: string;
  task: string;
}

/** What was named, by space and name: until it is deleted, it stays what that names, and stays with its task and space. */
const sessions = new LRUCache<string, SessionKey>({ max: 10_000 });
/** How many names were forgotten: what was read meanwhile may be gone. */
let forgotten = 0;

/**
 * Forgets the names of sessions that are deleted, on any server. While the feed is lost, a name may stand for a session
 * that is gone: handlers find no row then.
 */
export function forgetDeleted(feed: Feed): void {
  feed.watch((tag) => {
    if (tag !== undefined && !tag.startsWith("n:")) return;
    forgotten++;
    if (tag === undefined) sessions.clear();
    else sessions.delete(tag.slice(2));
  });
}

/** A run's id is never another's: whoever holds one that is deleted is told that they lost it. */
const runs = new LRUCache<string, SessionKey & { run: string }>({ max: 10_000 });

/**
 * Whether a caller may know that there is a session. Whom a layer limits to sessions that it names, such as the token of
 * one for a browser, may know of those alone; all others, whose permissions are for tasks, of every session in the space.
 */
const mayKnow = (actor: Actor, { id }: SessionKey): boolean =>
  standingOf(actor).layers.every(({ permissions }) =>
    permissions.some(({ type, path }) =>
      type === "sessions" ? path === undefined || path === id : type === undefined || type === "tasks",
    ),
  );

export const NO_SESSION = "There is no such session in this space. `me session list` shows those you may read.";
/** For who made it up, to start a session by. */
const NO_NAME = "A name of your own must not look like an id (a UUID).";

/** Whether a caller may call a session what they call it. A browser knows the id of its own, and learns of no other name of it. */
const mayName = (actor: Actor, ref: string, session: SessionKey): boolean =>
  mayKnow(actor, session) && (actor.credential.onlySession === undefined || ref.toLowerCase() === session.id);

/** @throws Refusal NOT_FOUND, after a look into the database in any case: that there is one that the caller may not know takes no other time */
export async function sessionNamed(ref: string, { actor, sql }: Judging): Promise<SessionKey> {
  const name = `${standingOf(actor).space.id} ${ref}`;
  const known = sessions.get(name);
  if (known && mayName(actor, ref, known)) return known;
  const before = forgotten;
  const [row] = await sql<SessionKey[]>`select s.id, s.task from sessions s where ${named(sql, actor, ref)}`;
  if (!row || !mayName(actor, ref, row)) throw new Refusal("NOT_FOUND", looksLikeId(ref) ? `${NO_SESSION} ${NO_NAME}` : NO_SESSION);
  if (before === forgotten) sessions.set(name, row);
  return row;
}

/** @throws Refusal NOT_FOUND, as `sessionNamed` does */
export async function runNamed(id: string, { actor, sql }: Judging): Promise<SessionKey & { run: string }> {
  const { space } = standingOf(actor);
  const name = `${space.id} ${id}`;
  const known = runs.get(name);
  if (known && mayKnow(actor, known)) return known;
  const [row] = await sql<(SessionKey & { run: string })[]>`
    select s.id, s.task, r.id as run from runs r join sessions s on s.id = r.session_id
    where r.id = ${id} and s.space_id = ${space.id}`;
  if (!row || !mayKnow(actor, row)) throw new Refusal("NOT_FOUND", "There is no such run in this space.");
  runs.set(name, row);
  return row;
}

/** What an event holds, as JSON. @throws Refusal where it is too long to be kept, or holds what can't be */
export function dataOf(held: unknown): string {
  const text = JSON.stringify(held);
  if (storedBytes(text) > MAX_EVENT_BYTES)
    throw new Refusal("INVALID_PARAMS", `What is sent is too long: an event holds at most ${MAX_EVENT_BYTES / 1024} KiB of JSON.`);
  mustFit(text);
  return text;
}

type Pick<Input> = (input: Input) => string;

const ofThis = (on: typeof read): Alternative<SessionKey>[] => [on("tasks", ({ task }) => task), on("sessions", ({ id }) => id)];
const reading = anyOf(...ofThis(read));

/** A decision about a session without the session's task and id: of the permissions needed, the types alone. */
const nameless = ({ needed, layers, ...decision }: Decision): Decision => ({
  ...decision,
  needed: needed.map(({ path: _, ...permission }) => permission),
  layers: layers.map((layer) => ({ ...layer, by: null })),
});

/** A need of a session that was found. Whoever asks, and may not read it, is told neither its task nor its id by what is needed. */
function ofSession(...alternatives: Alternative<SessionKey>[]): Need<SessionKey> {
  const need = anyOf(...alternatives);
  const decide = async (session: SessionKey, at: Judging): Promise<Decision> => {
    const [decision, { allowed: read }] = await Promise.all([
      need.decide(session, at),
      reading.decide(session, { ...at, actor: at.caller ?? at.actor }),
    ]);
    return read ? decision : nameless(decision);
  };
  return {
    ...need,
    decide,
    async check(session, at) {
      const decision = await decide(session, at);
      if (!decision.allowed) throw await denied(decision, at);
    },
  };
}

const toRead = ofSession(...ofThis(read));
const toWrite = ofSession(...ofThis(write));
const toWriteTask = ofSession(write("tasks", ({ task }) => task));
const toServe = ofSession(admin("tasks", ({ task }) => task));

/** The session named is judged as the row it is, however it was named: by its task, or by its id. */
export const readSession = <Input>(pick: Pick<Input>): Need<Input> => onRow((input, at) => sessionNamed(pick(input), at), toRead);
/** Whoever may write all of the task, and not this session alone. */
export const writeTaskOf = <Input>(pick: Pick<Input>): Need<Input> => onRow((input, at) => sessionNamed(pick(input), at), toWriteTask);
export const writeSession = <Input>(pick: Pick<Input>): Need<Input> => onRow((input, at) => sessionNamed(pick(input), at), toWrite);
export const readRun = <Input>(pick: Pick<Input>): Need<Input> => onRow((input, at) => runNamed(pick(input), at), toRead);
/** Whoever serves a task, and nobody else, answers in its sessions. */
export const serveRun = <Input>(pick: Pick<Input>): Need<Input> => onRow((input, at) => runNamed(pick(input), at), toServe);

/** Those who may write a session, as a row that was found. @throws Refusal FORBIDDEN */
export const mustWrite = (session: SessionKey, at: Judging): Promise<void> => toWrite.check(session, at);

/** What is told of the sessions that a condition on `s` names. */
export const sessionRows = (sql: Sql, which: Fragment): Promise<Session[]> => sql<Session[]>`
  select s.id, s.external_id, s.task, s.metadata, s.tags, s.idle_timeout_seconds, s.last_seq::integer, s.created_at, s.expires_at, s.closed_at,
         coalesce(s.close_reason, case when s.expires_at <= now() then 'expired' end, 'open') as status,
         case when p.id is not null then json_build_object('id', p.id, 'kind', p.kind, 'name', p.name) end as created_by
  from sessions s left join principals p on p.id = s.created_by
  where ${which}`;

/** What is told of the runs that a condition on `r` names. */
export const runRows = (sql: Sql, which: Fragment): Promise<Run[]> => sql<Run[]>`
  select r.id, r.session_id as session, r.number, r.reason, r.end_reason, r.created_at, r.ended_at,
         case when r.ended_at is not null then 'ended' when r.leased_until is null then 'waiting' else 'live' end as status
  from runs r where ${which}`;

/** The ids of the only sessions that a caller may read, where all that some layer holds of them is for sessions by their id. */
export function idsAlone(layers: readonly Layer[]): string[] | undefined {
  const byId = layers.find(({ permissions }) =>
    permissions.every(({ type, path }) => type !== undefined && type !== "tasks" && (type !== "sessions" || path !== undefined)),
  );
  return byId?.permissions.flatMap(({ type, path }) => (type === "sessions" && path !== undefined && looksLikeId(path) ? [path] : []));
}

/** The paths of a type that some permissions are for. */
const pathsOf = (permissions: readonly Permission[], wanted: string): string[] =>
  permissions.flatMap(({ type, path }) => (type === wanted && path !== undefined ? [path] : []));

const lengthsOf = (paths: readonly string[]): number[] => [...new Set(paths.map(({ length }) => length))];

const membersOf = (sql: Sql, paths: readonly string[]): Fragment => sql.json(Object.fromEntries(paths.map((path) => [path, true])));

/** The number of paths that `readable` looks for, for each row. */
export const checksOf = (layers: readonly Layer[]): number =>
  layers.reduce((sum, { permissions }) => sum + lengthsOf(pathsOf(permissions, "tasks")).length, 0);

/** Those sessions `s` (or, with tasks alone, those tasks `s`) that every layer lets the caller read. */
export function readable(sql: Sql, layers: readonly Layer[], { tasksAlone = false } = {}): Fragment {
  const conditions = layers.map(({ permissions }) => {
    const all = permissions.some(
      ({ type, path }) => path === undefined && (type === undefined || type === "tasks" || (type === "sessions" && !tasksAlone)),
    );
    const task = tasksAlone ? sql`s.path` : sql`s.task`;
    const tasks = pathsOf(permissions, "tasks");
    // A path is read by who holds it, or one that it is beneath: as many are looked for as have different lengths, however many are
    // held. They are members of one object, which PostgreSQL finds by a binary search, whatever plan it makes.
    return sql`(${all}
      or exists (select from unnest(${lengthsOf(tasks)}::integer[]) held
        where substr(${task}, held + 1, 1) in ('/', '') and ${membersOf(sql, tasks)} ? left(${task}, held))
      ${tasksAlone ? sql`` : sql`or ${membersOf(sql, pathsOf(permissions, "sessions"))} ? s.id::text`})`;
  });
  return conditions.reduce((both, one) => sql`${both} and ${one}`, sql`${layers.length > 0}`);
}
