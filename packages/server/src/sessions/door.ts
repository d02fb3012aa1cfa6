import type { Writable } from "node:stream";
import { MAX_BODY_BYTES, type Method, type Session, type SpaceApi, spaceApi } from "@gatehouse/protocol";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { callMethod, type House, inDoor, readAs, senderOf } from "../house.ts";
import { readJson } from "../json.ts";
import { Refusal } from "../refusal.ts";
import { holdStream, mayCall, type Sender } from "../rpc.ts";
import type { Streams } from "./stream.ts";
import type { Tails } from "./tails.ts";

const BASE = "/api/v1";

interface Route {
  verb: "GET" | "POST" | "PATCH" | "DELETE";
  path: string;
  method: keyof SpaceApi;
  /** The method that it is instead, where the body has a member of that name. */
  or?: Readonly<Record<string, keyof SpaceApi>>;
}

/** Every method of sessions, tasks and runs as a route of plain HTTP: params come from the path, the query and the body. */
// biome-ignore format: a table reads in columns
export const routes: readonly Route[] = [
  { verb: "GET",    path: "/tasks",                     method: "task.list" },
  { verb: "POST",   path: "/tasks",                     method: "task.register" },
  { verb: "GET",    path: "/tasks/*",                   method: "task.get" },
  { verb: "DELETE", path: "/tasks/*",                   method: "task.delete" },
  { verb: "POST",   path: "/sessions",                  method: "session.create" },
  { verb: "GET",    path: "/sessions",                  method: "session.list" },
  { verb: "GET",    path: "/sessions/:session",         method: "session.get" },
  { verb: "PATCH",  path: "/sessions/:session",         method: "session.update" },
  { verb: "DELETE", path: "/sessions/:session",         method: "session.delete" },
  { verb: "POST",   path: "/sessions/:session/in",      method: "session.send", or: { stop: "session.stop" } },
  { verb: "POST",   path: "/sessions/:session/stop",    method: "session.stop" },
  { verb: "POST",   path: "/sessions/:session/close",   method: "session.close" },
  { verb: "GET",    path: "/sessions/:session/events",  method: "session.events" },
  { verb: "GET",    path: "/sessions/:session/runs",    method: "run.list" },
  { verb: "GET",    path: "/runs/:run",                 method: "run.get" },
  { verb: "POST",   path: "/runs/lease",                method: "run.lease" },
  { verb: "POST",   path: "/runs/:run/next",            method: "run.next" },
  { verb: "POST",   path: "/runs/:run/emit",            method: "run.emit" },
  { verb: "POST",   path: "/runs/:run/end-turn",        method: "run.endTurn" },
  { verb: "POST",   path: "/runs/:run/end",             method: "run.end" },
  { verb: "POST",   path: "/runs/:run/heartbeat",       method: "run.heartbeat" },
];

/** What takes messages, chunks or an application's own data. */
const big: ReadonlySet<keyof SpaceApi> = new Set(["session.create", "session.update", "session.send", "run.emit"]);

const STREAM = "/sessions/:session/out";

/** By what logs are read as they grow. */
export interface Reading {
  streams: Streams;
  tails: Tails;
}

/** Opens the routes of sessions: each is a method of the space RPC, and enters its path. */
export const addSessions =
  (reading: Reading) =>
  (app: FastifyInstance, house: House): void => {
    for (const route of routes)
      app.route({
        method: route.verb,
        url: BASE + route.path,
        ...(big.has(route.method) && { bodyLimit: MAX_BODY_BYTES }),
        handler: (request, reply) => inDoor(house, request, reply, () => serve(house, request, reply, route)),
      });
    app.get(BASE + STREAM, (request, reply) => inDoor(house, request, reply, () => stream(house, request, reply, reading)));
  };

async function serve(house: House, request: FastifyRequest, reply: FastifyReply, route: Route): Promise<void> {
  // A request that can't be read is refused after its credential: without one nobody learns so much.
  const { body: call } = await readAs(house.doors.space, request, (body) => readCall(request, body, route));
  const { method, params } = call;
  const result = await callMethod(house.doors.space, senderOf(request, reply), method, params);
  const made = method === "session.create" && !(result as { existing: boolean }).existing;
  reply.code(made ? 201 : 200).send(result);
}

/**
 * The call that a request is. Its params are, as text: its body, else its query in the types of the method's schema, and what
 * the path names. The body goes on as it was sent, so that what is ambiguous in it is refused here as it is everywhere.
 * @throws Refusal PARSE_ERROR, PAYLOAD_TOO_LARGE
 */
function readCall(request: FastifyRequest, body: Uint8Array, { verb, method, or = {} }: Route): { method: keyof SpaceApi; params: string } {
  const { "*": rest, ...named } = request.params as Record<string, string>;
  const [sent, members] =
    verb === "GET" ? [JSON.stringify(fromQuery(request.query as Record<string, unknown>, spaceApi[method])), []] : readObject(body);
  const parts = [sent, JSON.stringify({ ...named, ...(rest !== undefined && { task: rest }) })];
  const params = parts
    .map((object) => object.trim().slice(1, -1).trim())
    .filter(Boolean)
    .join(",");
  const other = members.find((member) => Object.hasOwn(or, member));
  return { method: other === undefined ? method : (or[other] as keyof SpaceApi), params: `{${params}}` };
}

function fromQuery(query: Record<string, unknown>, contract: Method): object {
  return Object.fromEntries(
    Object.entries(query).flatMap(([name, value]) => {
      // From the beginning, as where it is left out.
      if (name === "after" && value === "") return [];
      const schema = Object.hasOwn(contract.params.shape, name) ? contract.params.shape[name] : undefined;
      const number = typeof value === "string" && /^\d{1,15}$/.test(value) && schema?.safeParse(value).success === false;
      return [[name, number ? Number(value) : value]];
    }),
  );
}

/** The text of an object, and the names of its members. @throws Refusal PARSE_ERROR, PAYLOAD_TOO_LARGE */
function readObject(body: Uint8Array): [text: string, members: string[]] {
  if (body.length === 0) return ["{}", []];
  const { text, value } = readJson(body);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return [text, Object.keys(value)];
  throw new Refusal("PARSE_ERROR", "Send a JSON object.");
}

/**
 * Streams a session's log as server-sent events: from behind `Last-Event-ID` (or `?after=`), and on as it grows. It
 * ends with the session, and with the caller's right to read it.
 */
async function stream(house: House, request: FastifyRequest, reply: FastifyReply, reading: Reading): Promise<void> {
  const { session } = request.params as { session: string };
  // An empty one is none (WHATWG HTML §9.2): the log from its beginning.
  const from = request.headers["last-event-id"] || (request.query as { after?: string }).after || "0";
  const serveTo = await openStream(house, senderOf(request), session, String(from), reading);
  const headers = { ...reply.getHeaders(), "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" };
  // A stream has no end to wait for: its head is all there is to it.
  if (request.method === "HEAD") return void reply.headers(headers).send();
  await serveTo(() => {
    reply.hijack();
    reply.raw.writeHead(200, headers as Record<string, string>);
    return reply.raw;
  });
}

/**
 * Opens the stream of a session's log to a caller.
 * @param from the place of the last event that they have
 * @returns serves it to what `open` returns, until it is over. It holds a place among the caller's streams meanwhile, and
 * throws a Refusal, without a call of `open`, where there is none
 * @throws Refusal where they may not read it
 */
export async function openStream(
  house: House,
  caller: Sender,
  ref: string,
  from: string,
  { streams, tails }: Reading,
): Promise<(open: () => Writable) => Promise<void>> {
  const session = (await callMethod(
    house.doors.space,
    { ...caller, left: undefined },
    "session.get",
    JSON.stringify({ session: ref }),
  )) as Session;
  if (!/^\d{1,15}$/.test(from))
    throw new Refusal("INVALID_PARAMS", "Last-Event-ID must be the place of an event: a whole number.", { issues: [] });
  // Such as whoever read on before the database was restored: what comes would be missing something, or look as if it had been read.
  if (Number(from) > session.lastSeq)
    throw new Refusal("INVALID_PARAMS", "The log ends before that place: it is not the log that was read. Read it from its beginning.", {
      issues: [],
    });
  const allowed = () => mayCall(house.doors.space, caller, "session.get", { session: session.id });
  const over = session.closedAt !== null && Number(from) >= session.lastSeq;
  return async (open) => {
    const { party, sql, shared, sent, release } = await holdStream(house.doors.space, caller);
    try {
      const to = open();
      to.write(": open\n\n");
      await streams.serve(to, tails.follow(session.id, Number(from), sql, shared), { party, allowed, sent }, over);
    } finally {
      release();
    }
  };
}
