import type { Api, InputOf, Method, ResultOf } from "@gatehouse/protocol";
import type { Logger } from "pino";
import type { Actor } from "./actor.ts";
import { type AuditNote, recordChange, recordDenial } from "./audit.ts";
import type { Authenticate, Credentials } from "./authenticate.ts";
import { mustHold, retried } from "./change.ts";
import type { Database, Sql } from "./db.ts";
import { type Call, idOf, type Message, readCall, readMessages } from "./envelope.ts";
import type { Feed } from "./feed.ts";
import { parseParams } from "./params.ts";
import { Refusal, STRANGER, toRefusal } from "./refusal.ts";
import { admit, type Judging, type Policy, type Rule } from "./rules.ts";
import { type CallRecord, currentTraceparent, FAULTS, loggable, observeCall } from "./telemetry.ts";

/** What a handler works with besides its input. `sql` is a transaction where the method writes. */
export interface At extends Judging {
  /** Aborted when the caller has gone: nobody will read the answer. */
  gone: AbortSignal;
  /** For a method that waits, before it goes on. @throws Refusal where the call would be refused by now */
  still(): Promise<void>;
  /** Where the call stands in its trace (W3C Trace Context), for what goes on after it; null = in none. */
  traceparent: () => string | null;
  /** What the record of a change is to say; the handler may complete it. */
  audit: AuditNote;
}

/** The handlers of `A`: one for every method. */
export type Handlers<A extends Api> = { readonly [M in keyof A]: (input: InputOf<A, M>, at: At) => Promise<ResultOf<A, M>> };

/** Gives a caller their standing in the space that a request names. */
export type Enter = (sql: Sql, actor: Actor, space: string | undefined) => Promise<Actor>;

/** A door: a set of methods, who may call them, and what they do. */
export interface Door<A extends Api = Api> {
  api: A;
  policy: Policy<A>;
  handlers: Handlers<A>;
  authenticate: Authenticate;
  /** For a door that leads into a space: the caller's standing there, as it is remembered, and as the database has it. */
  enter?: { remembered: Enter; now: Enter };
  sql: Database;
  feed: Feed;
  log: Logger;
}

/** Who sends a request, as far as it says so. */
export interface Sender {
  presented: Credentials;
  /** X-Me-Space. */
  space?: string | undefined;
  requestId: string;
  /** Aborted when the caller has gone. */
  gone?: AbortSignal;
}

/** A request as it came through the transport: its size and media type are right, nothing else is known. */
export interface DoorRequest extends Sender {
  body: Uint8Array;
}

/** What a caller is known by. */
type Caller = Pick<Sender, "presented" | "space">;

/** A request while it is answered. */
type Answering = Sender & { gone: AbortSignal };

/** What to send back: an HTTP status and the JSON text of the body, if there is one. */
export interface DoorReply {
  status: number;
  body?: string;
}

/** Of a caller of whom it is not known whether they are still there. */
const STAYS = new AbortController().signal;
/** Calls of one batch that are under way at once. */
const PARALLEL = 8;

/** The path of a request: one credential for all of its calls, and one answer for each that asked for one. */
export async function answer(door: Door, { presented, space, body, requestId, gone = STAYS }: DoorRequest): Promise<DoorReply> {
  let actor: Actor | undefined;
  try {
    actor = await door.authenticate(presented); //                         2  who is it?
    if (door.enter) actor = await door.enter.remembered(door.sql, actor, space); // where do they stand?
    const { batch, messages } = readMessages(body); //                     3  what do they ask?
    const answers = await inParallel(messages, PARALLEL, (message) =>
      answerCall(door, actor as Actor, message, { presented, space, requestId, gone }),
    );
    const texts = answers.filter((text) => text !== undefined);
    if (texts.length === 0) return { status: 204 };
    return { status: 200, body: batch ? `[${texts.join(",")}]` : (texts[0] as string) };
  } catch (thrown) {
    return refuseRequest(door, toRefusal(thrown), requestId, actor);
  }
}

/**
 * Whether a request may call a method with such params, now: the path of a call up to the handler, for a stream that
 * stays open after its call.
 */
export async function mayCall(door: Door, caller: Caller, method: string, input: object): Promise<boolean> {
  try {
    await mustStill(door, caller, method, input);
    return true;
  } catch (thrown) {
    // A database that is away has taken nothing from anybody.
    return FAULTS.has(toRefusal(thrown).code);
  }
}

/** Who it is by now, where they stand, and whether they may. @throws Refusal */
async function mustStill(door: Door, { presented, space }: Caller, method: string, input: object): Promise<void> {
  let actor = await door.authenticate(presented);
  if (door.enter) actor = await door.enter.remembered(door.sql, actor, space);
  mustBeIn(actor);
  const at = { actor, sql: door.sql };
  await admit(door.policy[method], method, at);
  await meet(door.policy[method] as Rule<never>, input, at);
}

/** Answers, and records, a request of which no call could be read. */
export async function refuseRequest(door: Pick<Door, "log">, refusal: Refusal, requestId: string, actor?: Actor): Promise<DoorReply> {
  await observeCall(door.log, { requestId, method: "_OTHER", ...(actor && { actor }) }, async () => ({ refusal }));
  const error = refusal.toRpcError(requestId);
  return { status: error.code < 0 ? 200 : error.code, body: JSON.stringify({ jsonrpc: "2.0", id: null, error }) };
}

/** One call, its one span and log line, and the JSON text of its answer: undefined for a notification. */
async function answerCall(door: Door, actor: Actor, message: Message, request: Answering): Promise<string | undefined> {
  const { requestId } = request;
  const rpcId = idOf(message);
  const record: CallRecord = { requestId, actor, method: "_OTHER", ...(rpcId !== undefined && { rpcId }) };
  const outcome = await observeCall<Outcome>(door.log, record, async () => {
    try {
      return { result: await call(door, actor, message, record, request) };
    } catch (thrown) {
      const refusal = toRefusal(thrown);
      if (refusal.code !== "FORBIDDEN") return { refusal };
      // A denial that can't be recorded is a denial all the same.
      await recordDenial(door.sql, { actor, method: record.method, requestId }, refusal).catch((cause) =>
        door.log.error({ requestId, cause: loggable(cause) }, "a denial was not recorded"),
      );
      return { refusal };
    }
  });
  if (rpcId === undefined) return undefined;
  const rest = outcome.refusal ? { error: outcome.refusal.toRpcError(requestId) } : { result: outcome.result };
  return `{"jsonrpc":"2.0","id":${rpcId},${JSON.stringify(rest).slice(1)}`;
}

/** The path of one call, in the one order that tells a stranger nothing. */
async function call(door: Door, actor: Actor, message: Message, record: CallRecord, { gone, ...caller }: Answering): Promise<unknown> {
  const { method, params, paramsFlaws } = readCall(message); //            3  envelope
  mustBeIn(actor);
  const contract = lookUp(door, method); //                                   and method
  record.method = method;
  const rule = door.policy[method];
  await admit(rule, method, { actor, sql: door.sql }); //                  4  who: nothing of the params is read yet
  const input = parseParams(contract, params, paramsFlaws); //             5  params
  return within(door, contract, async (sql) => {
    const at: At = {
      actor: contract.effect === "write" ? await again(door, actor, sql) : actor,
      sql,
      audit: {},
      gone,
      still: () => mustStill(door, caller, method, input as object),
      traceparent: currentTraceparent,
    };
    if (at.actor !== actor) await admit(rule, method, at);
    await meet(rule as Rule<never>, input, at); //                         6  needs: what the params name
    const result = await (door.handlers[method] as Handler)(input, at); // 7  handler
    if (contract.effect === "write" && !at.audit.unchanged)
      await recordChange(sql, { actor: at.actor, method, requestId: record.requestId }, at.audit);
    return result;
  });
} //                                                                       8  result, error, span, log line: answerCall

/**
 * The caller of a change, as they are now: calls of one request follow each other, and who they are is remembered; since
 * then their credential may have been revoked, or they may have been removed. Until the change is done it stays.
 */
async function again(door: Door, actor: Actor, sql: Sql): Promise<Actor> {
  await mustHold(sql, actor);
  if (!door.enter) return actor;
  const now = await door.enter.now(sql, actor, actor.standing?.space.slug);
  mustBeIn(now);
  return now;
}

/** @throws Refusal NOT_FOUND for who is in no such space */
function mustBeIn({ standing }: Actor): void {
  if (standing === null) throw new Refusal("NOT_FOUND", STRANGER, { reason: "stranger" });
}

/** What a call came to: a result, or why not. */
interface Outcome {
  result?: unknown;
  refusal?: Refusal;
}

type Handler = (input: unknown, at: At) => Promise<unknown>;

/** @throws Refusal METHOD_NOT_FOUND */
function lookUp(door: Door, method: Call["method"]): Method {
  const contract = Object.hasOwn(door.api, method) ? door.api[method] : undefined;
  if (!contract) throw new Refusal("METHOD_NOT_FOUND");
  return contract;
}

/**
 * What writes runs in a transaction, so that it is authorized and done on the same rows, or not done at all. Before its
 * answer leaves, nothing is trusted here that it may have ended: however the transaction ended, which may be unknown.
 * What appends to a log ends nothing, and is fenced by the log itself: each of its statements is whole.
 */
async function within(door: Door, contract: Method, run: (sql: Sql) => Promise<unknown>): Promise<unknown> {
  if (contract.effect !== "write") return run(door.sql);
  return retried(() => door.sql.begin(run)).finally(() => door.feed.doubt());
}

const meet = async (rule: Rule<never>, input: unknown, at: Judging): Promise<void> => rule[1]?.check(input as never, at);

/** Maps in order, with at most `limit` under way at once. */
async function inParallel<T, R>(items: readonly T[], limit: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  const queue = items.entries();
  const worker = async () => {
    for (const [i, item] of queue) results[i] = await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}
