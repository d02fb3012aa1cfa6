import type { Api, ParamsOf, ResultOf, RpcRequest, RpcResponse, SpaceApi, UserApi } from "@gatehouse/protocol";
import { MAX_BATCH, spaceApi, userApi } from "@gatehouse/protocol";
import { SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { GatehouseError } from "./error.ts";
import { post, type Target, toError } from "./transport.ts";

/** A call of one method: params may be left out where the method needs none. */
type CallOf<A extends Api, M extends keyof A> =
  {} extends ParamsOf<A, M> ? (params?: ParamsOf<A, M>) => Promise<ResultOf<A, M>> : (params: ParamsOf<A, M>) => Promise<ResultOf<A, M>>;

type Noun<M> = M extends `${infer N}.${string}` ? N : never;
type VerbOf<M, N extends string> = M extends `${N}.${infer V}` ? V : never;

/** A client of `A`: `agent.create` is called as `client.agent.create(params)`, `whoami` as `client.whoami()`. */
export type Client<A extends Api> = {
  readonly [M in keyof A as M extends `${string}.${string}` ? never : M]: CallOf<A, M>;
} & {
  readonly [N in Noun<keyof A>]: { readonly [V in VerbOf<keyof A, N>]: CallOf<A, `${N}.${V}` & keyof A> };
} & {
  /** Sends the calls that `run` makes, before it first waits, as one batch. Each call succeeds or fails on its own. */
  batch<T>(run: (batched: Client<A>) => T): T;
};

/** Retries of a read that did not reach the server, or that it could not answer; waits double between them. */
const RETRIES = 2;
const RETRY_WAIT_MS = 150;
const PASSING = new Set<GatehouseError["code"]>(["UNREACHABLE", "UNAVAILABLE"]);

type Send = (name: string, params: unknown) => Promise<unknown>;

/**
 * The typed client of the user RPC, made by looping over the contract.
 * Only reads are retried: a write that got no answer may have happened.
 * @throws GatehouseError from every call
 */
export const createUserClient = (target: Target): Client<UserApi> => createClient(userApi, "/api/v1/user/rpc", target);

/**
 * The same for the space RPC: calls inside one space, which may be left out where the credential is for one, as tokens are.
 * @throws GatehouseError NOT_FOUND from every call of who is not in it
 */
export const createSpaceClient = (target: Target): Client<SpaceApi> => createClient(spaceApi, "/api/v1/space/rpc", target);

const tracer = trace.getTracer("gatehouse-client");

function createClient<A extends Api>(api: A, path: string, target: Target): Client<A> {
  const single: Send = (name, params) =>
    traced(name, () =>
      retried(api[name]?.effect === "read", async () => {
        const [answer] = await post(target, path, { jsonrpc: "2.0", id: 1, method: name, params: params ?? {} } as RpcRequest);
        return unwrap(answer);
      }),
    );
  return { ...nouns(api, single), batch: (run: (batched: Client<A>) => unknown) => run(batchOf(api, path, target)) } as Client<A>;
}

/** One function for each method of the contract, grouped by noun. */
function nouns(api: Api, send: Send): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const name of Object.keys(api)) {
    const [noun, verb] = name.split(".") as [string, string?];
    const call = (params?: unknown) => send(name, params);
    if (verb === undefined) made[noun] = call;
    else made[noun] = { ...(made[noun] as object | undefined), [verb]: call };
  }
  return made;
}

/** A client that gathers the calls made in one turn, and sends them together. */
function batchOf<A extends Api>(api: A, path: string, target: Target): Client<A> {
  let gathered: { request: RpcRequest; settle: (answer: RpcResponse | Error | undefined) => void }[] = [];
  const flush = async () => {
    const sending = gathered;
    gathered = [];
    for (let from = 0; from < sending.length; from += MAX_BATCH) {
      const part = sending.slice(from, from + MAX_BATCH);
      const readsOnly = part.every(({ request }) => api[request.method]?.effect === "read");
      const answers = await traced("batch", () =>
        retried(readsOnly, () =>
          post(
            target,
            path,
            part.map(({ request }) => request),
          ),
        ),
      ).catch((error: Error) => error);
      for (const { request, settle } of part) settle(Array.isArray(answers) ? answers.find(({ id }) => id === request.id) : answers);
    }
  };
  const send: Send = (method, params) =>
    new Promise((resolve, reject) => {
      if (gathered.length === 0) queueMicrotask(flush);
      const request = { jsonrpc: "2.0", id: gathered.length + 1, method, params: params ?? {} } as RpcRequest;
      gathered.push({
        request,
        settle: (answer) => {
          if (answer instanceof Error) reject(answer);
          else
            try {
              resolve(unwrap(answer));
            } catch (error) {
              reject(error);
            }
        },
      });
    });
  const client = nouns(api, send) as Client<A>;
  return { ...client, batch: (run: (batched: Client<A>) => unknown) => run(client) } as Client<A>;
}

function unwrap(answer: RpcResponse | undefined): unknown {
  if (!answer) throw new GatehouseError("BAD_ANSWER", "The server left this call unanswered.");
  if ("error" in answer) throw toError(answer.error);
  return answer.result;
}

/** @param allowed whether it may be done again where it failed by what passes */
export async function retried<T>(allowed: boolean, run: () => Promise<T>): Promise<T> {
  for (let tried = 0; ; tried++) {
    try {
      return await run();
    } catch (error) {
      if (!allowed || tried >= RETRIES || !(error instanceof GatehouseError) || !PASSING.has(error.code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_WAIT_MS * 2 ** tried));
    }
  }
}

/** Runs a call in a client span; the transport carries its context to the server. Without an SDK this does nothing. */
function traced<T>(name: string, run: () => Promise<T>): Promise<T> {
  const attributes = { "rpc.system.name": "jsonrpc", "jsonrpc.protocol.version": "2.0", "rpc.method": name };
  return tracer.startActiveSpan(name, { kind: SpanKind.CLIENT, attributes }, async (span) => {
    try {
      return await run();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      if (error instanceof GatehouseError) span.setAttribute("error.type", error.code);
      throw error;
    } finally {
      span.end();
    }
  });
}
