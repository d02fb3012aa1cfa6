import { formatPermission, MAX_BODY_BYTES } from "@gatehouse/protocol";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Actor } from "../actor.ts";
import { hostOf, isLoopback } from "../config.ts";
import { challengeWith, type House, inDoor, readAs, senderOf } from "../house.ts";
import { countValues, tryReadJson } from "../json.ts";
import { MCP, programScopes } from "../oauth/scopes.ts";
import { Refusal } from "../refusal.ts";
import type { Sender } from "../rpc.ts";
import type { Reading } from "../sessions/door.ts";
import { insideOf } from "./inside.ts";

/** What speaks the Model Context Protocol, behind the door: it is given a `fetch` that calls as whoever asked, and no credential. */
interface McpServing {
  /** The method that a tool can do nothing without. */
  needs(tool: string): { door: keyof House["doors"]; method: string } | undefined;
  serve(request: Request, inside: typeof fetch, body: unknown): Promise<Response>;
  close(): Promise<void>;
}

/** Loads it, when somebody first asks: a server starts sooner without. */
export type LoadMcp = () => Promise<McpServing>;

/**
 * Opens the door for MCP clients (Streamable HTTP), as the authorization specification of MCP 2026-07-28 has it: a
 * resource of its own, which people open to programs by OAuth. What is asked there enters the path of a call.
 */
export const addMcp =
  (load: LoadMcp, reading: Reading) =>
  (app: FastifyInstance, house: House): void => {
    let loading: Promise<McpServing> | undefined;
    app.addHook("preClose", async () => (await loading)?.close());
    app.route({
      method: "POST",
      url: MCP,
      bodyLimit: MAX_BODY_BYTES,
      onRequest: async (request) => mustBeOurs(house, request),
      handler: (request, reply) =>
        inDoor(house, request, reply, async () => {
          loading ??= load();
          await serve(house, request, reply, await loading, reading);
        }),
    });
  };

/** Against DNS rebinding: a page that was led here by another name may not ask, whatever the browser thinks it is. @throws Refusal */
function mustBeOurs({ publicUrl, origins }: House, { hostname, headers: { origin } }: FastifyRequest): void {
  const name = hostOf({ hostname });
  // Nobody else's name leads to this computer by being "localhost".
  const ours = name === hostOf(new URL(publicUrl)) || isLoopback(name);
  if (!ours)
    throw new Refusal("FORBIDDEN", `This server is not known by that name. Ask at ${publicUrl}${MCP}; what it is known by is PUBLIC_URL.`);
  if (origin !== undefined && !origins.includes(origin))
    throw new Refusal("FORBIDDEN", "This web origin may not ask here. The operator can allow it in ALLOWED_ORIGINS.");
}

async function serve(house: House, request: FastifyRequest, reply: FastifyReply, serving: McpServing, reading: Reading): Promise<void> {
  const { space = (request.query as { space?: string }).space, ...sender } = senderOf(request, reply);
  const caller: Sender = { ...sender, space };
  // A body that is not JSON is refused by the protocol's own handler.
  const { actor, body } = await readAs(house.doors.user, request, tryReadJson);
  // Besides the calls it leads to: many messages lead to none.
  await house.doors.user.budgets.pay(actor, MESSAGE_COST);
  mustBeMessage(body);
  const values = countValues((request.body as Uint8Array | undefined) ?? new Uint8Array());
  if (values > MAX_VALUES) mustBeForTool(body);
  if (values > VALUES_PER_CALL) await house.doors.user.budgets.pay(actor, Math.floor(values / VALUES_PER_CALL));
  const lacks = await lacking(house, actor, space, serving, body);
  if (lacks.length > 0) {
    const scope = [...(actor.credential.scope ?? []).map(formatPermission), ...lacks];
    challengeWith(house, reply, scope, "insufficient_scope");
    throw new Refusal("FORBIDDEN", `The scope of this token leaves out ${lacks.join(", ")}. Ask for more.`, {
      missing: lacks,
      layer: "token",
    });
  }
  const { method, headers } = request;
  const sent = new Request(house.publicUrl + MCP, {
    method,
    headers: withoutCredentials(headers),
    signal: caller.gone ?? null,
    ...(method === "POST" && { body: body === undefined ? "" : (request.body as Uint8Array<ArrayBuffer>) }),
  });
  const answered = await serving.serve(sent, insideOf(house, caller, reading), body);
  await reply.send(answered);
}

/** The cost of a message, in calls, besides the calls it leads to: the protocol itself takes time. */
const MESSAGE_COST = 5;
/** Values of a message that take about as long to check as the cheapest call takes. */
const VALUES_PER_CALL = 100;
/** Most values of a message beside the arguments of a tool: the protocol's own checks take far longer for each than ours. */
const MAX_VALUES = 1000;
/** Longest name of a method or a tool. Ours are shorter; longer ones would come back in the answer. */
const MAX_NAME_LENGTH = 64;

/** A request is one message, as it pays for one: since 2025-06-18, MCP has no batches. @throws Refusal INVALID_REQUEST */
function mustBeMessage(body: unknown): void {
  if (Array.isArray(body)) throw new Refusal("INVALID_REQUEST", "MCP has no batches. Send each message in a request of its own.");
  const { method, params } = (body ?? {}) as Message;
  for (const name of [method, params?.name])
    if (typeof name === "string" && name.length > MAX_NAME_LENGTH)
      throw new Refusal("INVALID_REQUEST", `No method and no tool has a name of more than ${MAX_NAME_LENGTH} characters.`);
}

/** A message as far as this door reads it. */
interface Message {
  method?: unknown;
  params?: { name?: unknown; arguments?: unknown } | null;
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** Of a message of many values, few are not for a tool, which says itself what is wrong with them. @throws Refusal PAYLOAD_TOO_LARGE */
function mustBeForTool(body: unknown): void {
  let values = 0;
  const count = (value: unknown): void => {
    if (++values > MAX_VALUES)
      throw new Refusal("PAYLOAD_TOO_LARGE", `A message holds at most ${MAX_VALUES} values beside the arguments of a tool.`);
    if (isObject(value)) for (const inner of Object.values(value)) if (!isObject(inner) || inner !== tools) count(inner);
  };
  const { method, params } = (body ?? {}) as Message;
  const tools = method === "tools/call" ? params?.arguments : undefined;
  count(body);
}

const withoutCredentials = (headers: FastifyRequest["headers"]): Headers => {
  const { authorization: _key, cookie: _cookie, ...others } = headers;
  // Both are what a client of MCP must take. Who says less, or nothing, is answered all the same (RFC 9110 §12.4.1).
  const rest = { ...others, accept: "application/json, text/event-stream" };
  return new Headers(
    Object.entries(rest).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])) as [string, string][],
  );
};

/** What the scope of a program's login would have to hold besides, for a call of a tool to have any prospect. */
async function lacking({ doors }: House, actor: Actor, space: string | undefined, serving: McpServing, body: unknown): Promise<string[]> {
  const { method, params } = (body ?? {}) as Message;
  const needs = actor.credential.resource === MCP && method === "tools/call" ? serving.needs(String(params?.name)) : undefined;
  if (!needs) return [];
  const door = doors[needs.door];
  const here = door.enter ? await door.enter.remembered(door.sql, actor, space) : actor;
  const outlook = door.policy[needs.method]?.[1]?.outlook?.(here);
  const lacked = outlook?.layers.filter(({ allows }) => !allows) ?? [];
  // Where nothing else is wrong: a stranger to the space has no layers at all, and no scope would let them in.
  if (!outlook || lacked.length === 0 || lacked.some(({ layer }) => layer !== "token")) return [];
  return outlook.needed
    .map(formatPermission)
    .filter((scope) => Object.hasOwn(programScopes, scope))
    .slice(0, 1);
}
