import { type Api, type ErrorCode, errors, type InputOf, type Method, type ResultOf } from "@gatehouse/protocol";
import type { Logger } from "pino";
import type { Actor } from "./actor.ts";
import { type AuditNote, recordChange } from "./audit.ts";
import type { Authenticate, Credentials } from "./authenticate.ts";
import { answerBatch, areUrgent, contractOf, costOf, mustAfford } from "./batch.ts";
import { type Budgets, lineOf, type Place } from "./budgets.ts";
import { mustHold, retried } from "./change.ts";
import type { Database, Sql } from "./db.ts";
import type { Denials } from "./denials.ts";
import { type Call, idOf, type Message, readCall, readMessages } from "./envelope.ts";
import type { Feed } from "./feed.ts";
import { toJson } from "./json.ts";
import { countAnswer, metered } from "./meter.ts";
import { parseParams } from "./params.ts";
import { Refusal, STRANGER, toRefusal } from "./refusal.ts";
import { admit, denied, type Judging, type Policy, type Rule } from "./rules.ts";
import { type CallRecord, currentTraceparent, FAULTS, observeCall } from "./telemetry.ts";
import { callersTurn } from "./turns.ts";

/** What a handler works with besides its input. `sql` is a transaction where the method writes. */
export interface At extends Judging {
  /** Aborted when the caller has gone: nobody will read the answer. */
  gone: AbortSignal;
  /** Waits for something to come, without a place among the calls. @throws Refusal where too many wait, or the call would be refused by then */
  wait<T>(waiting: () => Promise<T>): Promise<T>;
  /** Judges the call once more, after a wait outside of the database. @throws Refusal */
  still: () => Promise<void>;
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
  budgets: Budgets;
  denials: Denials;
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
  /** Resolves when the answer has left: it takes up memory until then. */
  left?: Promise<void> | undefined;
}

/** A request as it came through the transport: its size and media type are right, nothing else is known. */
export interface DoorRequest extends Sender {
  body: Uint8Array;
}

/** What a caller is known by. */
type Caller = Pick<Sender, "presented" | "space">;

/** A request while it is answered. */
type Answering = Sender & { gone: AbortSignal };

/** A call that has its place among the others. */
type InPlace = Answering & { place: Place };

/** What to send back: an HTTP status and the JSON text of the body, if there is one. */
export interface DoorReply {
  status: number;
  body?: string;
  /** Seconds to wait, where the status is 429. */
  retryAfter?: number | undefined;
}

/** Of a caller of whom it is not known whether they are still there. */
const STAYS = new AbortController().signal;

/**
 * The path of a request: one answer for each call that asked for one. Each call of a batch is judged as if it came alone:
 * by its turn, the credential may have been revoked.
 */
export const answer = (door: Door, request: DoorRequest): Promise<DoorReply> => metered((spent) => answerRequest(door, request, spent));

async function answerRequest(door: Door, { body, gone = STAYS, ...sender }: DoorRequest, spent: () => number): Promise<DoorReply> {
  let actor: Actor | undefined;
  try {
    const request = { ...sender, gone };
    const caller = await inTurn(door, request); //                         2  who is it, and where do they stand?
    actor = caller;
    const { batch, messages } = await door.budgets.reading(caller, body, readMessages); // 3  what do they ask?
    if (!batch) return replyOf(await answerCall(door, messages[0] as Message, request, { actor }));
    await door.budgets.pay(caller, messages.length, areUrgent(door.api, messages));
    mustAfford(door.api, messages);
    const texts = await answerBatch(messages, async (message, over) => (await answerCall(door, message, request, { over })).text);
    return texts.length === 0 ? { status: 204 } : { status: 200, body: `[${texts.join(",")}]` };
  } catch (thrown) {
    return refuseRequest(door, toRefusal(thrown), sender.requestId, actor);
  } finally {
    if (actor) door.budgets.owe(actor, spent());
  }
}

/** The sender of a request, once it is their turn of the event loop. @throws Refusal UNAUTHENTICATED */
async function inTurn(door: Door, request: Caller): Promise<Actor> {
  const actor = await enter(door, request);
  const turn = callersTurn(lineOf(actor, true));
  return turn ? turn.then(() => enter(door, request)) : actor;
}

/** Who a caller is by now, and where they stand. @throws Refusal UNAUTHENTICATED */
async function enter(door: Door, { presented, space }: Caller): Promise<Actor> {
  const actor = await door.authenticate(presented);
  return door.enter ? door.enter.remembered(judging(door, actor), actor, space) : actor;
}

/**
 * The database, for what tells whether a caller may: behind no query of theirs. Else whoever keeps their own line full would put
 * off the end of what they had.
 */
const judging = (door: Door, actor: Actor): Database => door.sql.as(`judging ${lineOf(actor)}`, { urgent: true });

/** Whether a call that has a connection by now may still be made, as far as that is known without its params. @throws Refusal */
async function mustStillEnter(door: Door, caller: Caller, method: string): Promise<void> {
  const actor = await enter(door, caller);
  mustBeIn(actor);
  await admit(door.policy[method], method, { actor, sql: judging(door, actor) });
}

/**
 * Whether a request may call a method with such params, now: the path of a call up to the handler, for a stream that
 * stays open after its call. Undefined where that can't be told, as while the database is away.
 */
export async function mayCall(door: Door, caller: Caller, method: string, input: object): Promise<boolean | undefined> {
  try {
    await mustStill(door, caller, method, input);
    return true;
  } catch (thrown) {
    // A database that is away has taken nothing from anybody, and has told nobody that they still may.
    return FAULTS.has(toRefusal(thrown).code) ? undefined : false;
  }
}

/** An open stream among its caller's. */
interface StreamPlace {
  /** In whose name the caller reads. */
  party: string;
  /** Reads in the caller's name. */
  sql: Database;
  /** Reads in the name of all who read in the caller's space. */
  shared: Database;
  /** Counts what was sent against the caller's budget. @returns when there is room for more */
  sent(characters: number): Promise<void>;
  release(): void;
}

/** Counts an open stream among its caller's. @throws Refusal RATE_LIMITED */
export async function holdStream(door: Door, caller: Caller): Promise<StreamPlace> {
  const actor = await enter(door, caller);
  const release = door.budgets.hold("streams", actor);
  const shared = door.sql.as(`readers of ${actor.standing?.space.id}`);
  const party = lineOf(actor);
  return { party, sql: door.sql.as(party), shared, sent: door.budgets.pacer(actor), release };
}

/** Who it is by now, where they stand, and whether they may. @throws Refusal */
async function mustStill(door: Door, caller: Caller, method: string, input: object): Promise<void> {
  const actor = await enter(door, caller);
  mustBeIn(actor);
  const at = { actor, sql: judging(door, actor) };
  await admit(door.policy[method], method, at);
  await meet(door.policy[method] as Rule<never>, input, at);
}

/** Answers, and records, a request of which no call could be read. */
export async function refuseRequest(door: Pick<Door, "log">, refusal: Refusal, requestId: string, actor?: Actor): Promise<DoorReply> {
  await observeCall(door.log, { requestId, method: "_OTHER", ...(actor && { actor }) }, async () => ({ refusal }));
  const { number } = errors[refusal.code];
  const { retryAfter } = refusal.details;
  return { status: number < 0 ? 200 : number, body: textOf("null", { refusal }, requestId), retryAfter };
}

/** A call's JSON text: none for a notification; and what it came to. */
interface Answered extends Outcome {
  text: string | undefined;
}

/** Refusals of a request that is one call which its status tells, too, with the headers that go with it. */
const TOLD_BY_STATUS: ReadonlySet<ErrorCode> = new Set(["UNAUTHENTICATED", "RATE_LIMITED"]);

function replyOf({ text, refusal }: Answered): DoorReply {
  const status = refusal && TOLD_BY_STATUS.has(refusal.code) ? errors[refusal.code].number : undefined;
  return text === undefined ? { status: status ?? 204 } : { status: status ?? 200, body: text, retryAfter: refusal?.details.retryAfter };
}

function textOf(rpcId: string | undefined, { refusal, result }: Outcome, requestId: string): string | undefined {
  if (rpcId === undefined) return undefined;
  const rest = refusal ? `"error":${JSON.stringify(refusal.toRpcError(requestId))}` : `"result":${toJson(result)}`;
  return `{"jsonrpc":"2.0","id":${rpcId},${rest}}`;
}

/**
 * One call in its turn, its one span and log line, and the JSON text of its answer.
 * @param known.actor who calls, where nothing came between that and the call
 * @param known.over why it is refused, whatever it is
 */
async function answerCall(
  door: Door,
  message: Message,
  request: Answering,
  { actor, over }: { actor?: Actor; over?: Refusal | undefined } = {},
): Promise<Answered> {
  const { requestId, left } = request;
  const rpcId = idOf(message);
  const record: CallRecord = { requestId, ...(actor && { actor }), method: "_OTHER", ...(rpcId !== undefined && { rpcId }) };
  const outcome = await observeCall<Outcome>(door.log, record, async () => {
    let place: Place | undefined;
    try {
      if (over) throw over;
      record.actor ??= await enter(door, request);
      const contract = contractOf(door.api, message);
      // A call of a batch has paid what the cheapest costs.
      place = await door.budgets.take(record.actor, costOf(contract) - (actor ? 0 : 1), contract?.takesBack);
      if (place.waited) record.actor = await enter(door, request);
      return { result: await call(door, record.actor, message, record, { ...request, place }) };
    } catch (thrown) {
      const refusal = toRefusal(thrown);
      if (refusal.code === "FORBIDDEN" && record.actor)
        door.denials.add({ actor: record.actor, method: record.method, requestId }, refusal);
      return { refusal };
    } finally {
      place?.give();
    }
  });
  const text = textOf(rpcId, outcome, requestId);
  if (text) countAnswer(text.length);
  if (text && record.actor && left) door.budgets.keep(record.actor, text.length, left);
  return { ...outcome, text };
}

/** The path of one call, in the one order that tells a stranger nothing. */
async function call(door: Door, actor: Actor, message: Message, record: CallRecord, { gone, place, ...caller }: InPlace): Promise<unknown> {
  const { method, params, paramsFlaws } = readCall(message); //            3  envelope
  mustBeIn(actor);
  const contract = lookUp(door, method); //                                   and method
  record.method = method;
  const rule = door.policy[method];
  // Its queries wait in line behind the same principal's alone; one that waited for long is judged again before it is sent.
  const still = () => mustStillEnter(door, caller, method);
  const database = door.sql.as(lineOf(actor, contract.takesBack), { urgent: contract.takesBack === true, still });
  await admit(rule, method, { actor, sql: database }); //                  4  who: nothing of the params is read yet
  const input = parseParams(contract, params, paramsFlaws); //             5  params
  if (contract.effect === "write") await mayProceed(rule, input, { actor, sql: database });
  return within(door, database, contract, async (sql) => {
    const at: At = {
      actor: contract.effect === "write" ? await again(door, actor, sql) : actor,
      sql,
      audit: {},
      gone,
      async wait(waiting) {
        const came = await place.leave(waiting);
        await mustStill(door, caller, method, input as object);
        return came;
      },
      still,
      traceparent: currentTraceparent,
    };
    if (at.actor !== actor) await admit(rule, method, at);
    await meet(rule as Rule<never>, input, at); //                         6  needs: what the params name
    const result = await (door.handlers[method] as Handler)(input, at); // 7  handler
    const changed = contract.effect === "write" && !at.audit.unchanged;
    return {
      result,
      ended: changed ? await recordChange(sql, { actor: at.actor, method, requestId: record.requestId }, at.audit) : "",
    };
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
 * answer leaves, all is forgotten here that it has ended; where it is not known how the transaction ended, nothing is trusted.
 * What appends to a log ends nothing, and is fenced by the log itself: each of its statements is whole.
 */
async function within({ feed }: Door, sql: Database, contract: Method, run: (sql: Sql) => Promise<Done>): Promise<unknown> {
  if (contract.effect !== "write") return (await run(sql)).result;
  try {
    const { result, ended } = await retried(() => sql.begin(run));
    feed.tell(ended);
    return result;
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) feed.doubt(); // a refusal has rolled it back
    throw thrown;
  }
}

/** What a handler answers, and the tags of what has ended by it. */
interface Done {
  result: unknown;
  ended: string;
}

/** Refuses a change without a transaction, where the caller's permissions alone tell that it will be. @throws Refusal FORBIDDEN */
async function mayProceed(rule: Rule<never> | undefined, input: unknown, at: Judging): Promise<void> {
  const verdict = rule?.[1]?.verdict?.(input as never, at.actor);
  if (verdict?.allowed === false) throw await denied(verdict, at);
}

const meet = async (rule: Rule<never>, input: unknown, at: Judging): Promise<void> => rule[1]?.check(input as never, at);
