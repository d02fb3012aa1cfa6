import type { Writable } from "node:stream";
import { type Method, type Session, type SpaceApi, spaceApi } from "@gatehouse/protocol";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { callMethod, type House, inDoor, presentedBy, senderOf } from "../house.ts";
import { Refusal, toRefusal } from "../refusal.ts";
import { mayCall, type Sender } from "../rpc.ts";
import type { Streams } from "./stream.ts";
import type { Tails } from "./tails.ts";

const BASE = "/api/v1";

interface Route {
  verb: "GET" | "POST" | "PATCH";
  path: string;
  method: keyof SpaceApi;
}

/** Every method of sessions, tasks and runs as a route of plain HTTP: params come from the path, the query and the body. */
// biome-ignore format: a table reads in columns
export const routes: readonly Route[] = [
  { verb: "GET",   path: "/tasks",                     method: "task.list" },
  { verb: "POST",  path: "/tasks",                     method: "task.register" },
  { verb: "GET",   path: "/tasks/*",                   method: "task.get" },
  { verb: "POST",  path: "/sessions",                  method: "session.create" },
  { verb: "GET",   path: "/sessions",                  method: "session.list" },
  { verb: "GET",   path: "/sessions/:session",         method: "session.get" },
  { verb: "PATCH", path: "/sessions/:session",         method: "session.update" },
  { verb: "POST",  path: "/sessions/:session/in",      method: "session.send" },
  { verb: "POST",  path: "/sessions/:session/stop",    method: "session.stop" },
  { verb: "POST",  path: "/sessions/:session/close",   method: "session.close" },
  { verb: "GET",   path: "/sessions/:session/events",  method: "session.events" },
  { verb: "GET",   path: "/sessions/:session/runs",    method: "run.list" },
  { verb: "GET",   path: "/runs/:run",                 method: "run.get" },
  { verb: "POST",  path: "/runs/lease",                method: "run.lease" },
  { verb: "POST",  path: "/runs/:run/next",            method: "run.next" },
  { verb: "POST",  path: "/runs/:run/emit",            method: "run.emit" },
  { verb: "POST",  path: "/runs/:run/end-turn",        method: "run.endTurn" },
  { verb: "POST",  path: "/runs/:run/end",             method: "run.end" },
  { verb: "POST",  path: "/runs/:run/heartbeat",       method: "run.heartbeat" },
];

/** By what logs are read as they grow. */
export interface Reading {
  streams: Streams;
  tails: Tails;
}

/** Opens the routes of sessions: each is a method of the space RPC, and enters its path. */
export const addSessions =
  (reading: Reading) =>
  (app: FastifyInstance, house: House): void => {
    for (const { verb, path, method } of routes)
      app.route({
        method: verb,
        url: BASE + path,
        handler: (request, reply) => inDoor(house, request, reply, () => serve(house, request, reply, method)),
      });
    // Without HEAD: a stream has no end to wait for.
    app.get(`${BASE}/sessions/:session/out`, { exposeHeadRoute: false }, (request, reply) =>
      inDoor(house, request, reply, () => stream(house, request, reply, reading)),
    );
  };

async function serve(house: House, request: FastifyRequest, reply: FastifyReply, method: keyof SpaceApi): Promise<void> {
  const result = await call(house, request, method, () => paramsOf(request, spaceApi[method]), reply);
  const made = method === "session.create" && !(result as { existing: boolean }).existing;
  reply.code(made ? 201 : 200).send(result);
}

/** Calls a method by its one path. @throws Refusal what it was refused with */
async function call(house: House, request: FastifyRequest, method: string, params: () => string, reply?: FastifyReply): Promise<unknown> {
  // A request that can't be read is refused after its credential: without one nobody learns so much.
  const read = attempt(params);
  if (read.refusal) {
    await house.doors.space.authenticate(presentedBy(request));
    throw read.refusal;
  }
  return callMethod(house.doors.space, senderOf(request, reply), method, read.text ?? "{}");
}

function attempt(run: () => string): { text?: string; refusal?: Refusal } {
  try {
    return { text: run() };
  } catch (thrown) {
    return { refusal: toRefusal(thrown) };
  }
}

/**
 * The params of a call, as text: its body, else its query in the types of the method's schema, and what the path names.
 * The body goes on as it was sent, so that what is ambiguous in it is refused here as it is everywhere.
 */
function paramsOf(request: FastifyRequest, contract: Method): string {
  const { "*": rest, ...named } = request.params as Record<string, string>;
  const sent =
    request.method === "GET"
      ? JSON.stringify(fromQuery(request.query as Record<string, unknown>, contract))
      : readJson(request.body as Uint8Array | undefined);
  const parts = [sent, JSON.stringify({ ...named, ...(rest !== undefined && { task: rest }) })];
  return `{${parts
    .map((object) => object.trim().slice(1, -1).trim())
    .filter(Boolean)
    .join(",")}}`;
}

function fromQuery(query: Record<string, unknown>, contract: Method): object {
  return Object.fromEntries(
    Object.entries(query).map(([name, value]) => {
      const schema = Object.hasOwn(contract.params.shape, name) ? contract.params.shape[name] : undefined;
      const number = typeof value === "string" && /^\d{1,15}$/.test(value) && schema?.safeParse(value).success === false;
      return [name, number ? Number(value) : value];
    }),
  );
}

/** The text of an object. @throws Refusal PARSE_ERROR */
function readJson(body: Uint8Array | undefined): string {
  if (!body?.length) return "{}";
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return text;
  } catch {}
  throw new Refusal("PARSE_ERROR", "Send a JSON object.");
}

/**
 * Streams a session's log as server-sent events: from behind `Last-Event-ID` (or `?after=`), and on as it grows. It
 * ends with the session, and with the caller's right to read it.
 */
async function stream(house: House, request: FastifyRequest, reply: FastifyReply, reading: Reading): Promise<void> {
  const { session } = request.params as { session: string };
  const from = request.headers["last-event-id"] ?? (request.query as { after?: string }).after ?? "0";
  const write = await openStream(house, senderOf(request), session, String(from), reading);
  const headers = { ...reply.getHeaders(), "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" };
  reply.hijack();
  reply.raw.writeHead(200, headers as Record<string, string>);
  await write(reply.raw);
}

/**
 * Opens the stream of a session's log to a caller.
 * @param from the place of the last event that they have
 * @returns writes it, until it is over
 * @throws Refusal where they may not read it
 */
export async function openStream(
  house: House,
  caller: Sender,
  ref: string,
  from: string,
  { streams, tails }: Reading,
): Promise<(to: Writable) => Promise<void>> {
  const session = (await callMethod(house.doors.space, caller, "session.get", JSON.stringify({ session: ref }))) as Session;
  if (!/^\d{1,15}$/.test(from))
    throw new Refusal("INVALID_PARAMS", "Last-Event-ID must be the place of an event: a whole number.", { issues: [] });
  const allowed = () => mayCall(house.doors.space, caller, "session.get", { session: session.id });
  const over = session.closedAt !== null && Number(from) >= session.lastSeq;
  return async (to) => {
    to.write(": open\n\n");
    await streams.serve(to, tails.follow(session.id, Number(from)), allowed, over);
  };
}
