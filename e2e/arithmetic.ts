import { type Api, method } from "@gatehouse/protocol";
import {
  anyone,
  createAuth,
  createAuthenticate,
  createLog,
  type Door,
  type Handlers,
  openDoors,
  type Policy,
  Refusal,
  readConfig,
} from "@gatehouse/server";
import { z } from "zod";
import { Budgets, limitsFrom } from "../packages/server/src/budgets.ts";
import { Denials } from "../packages/server/src/denials.ts";
import { createGuesses } from "../packages/server/src/people/guesses.ts";
import type { TestServer } from "./harness.ts";

const numbers = <K extends string>(...names: K[]) =>
  z.strictObject(Object.fromEntries(names.map((name) => [name, z.number()])) as Record<K, z.ZodNumber>);
const contract = <P extends z.ZodObject, R extends z.ZodType>(params: P, result: R) =>
  method({ summary: "An example.", effect: "read", params, result, errors: [] });

/** The methods that the examples of the JSON-RPC 2.0 specification call, and one that takes its time. */
const arithmetic = {
  subtract: contract(numbers("minuend", "subtrahend"), z.number()),
  sum: contract(numbers("a", "b", "c"), z.number()),
  get_data: contract(z.strictObject({}), z.tuple([z.string(), z.number()])),
  update: contract(numbers("a", "b", "c", "d", "e"), z.null()),
  notify_hello: contract(numbers("greeting"), z.null()),
  notify_sum: contract(numbers("a", "b", "c"), z.null()),
  take: contract(z.strictObject({ seconds: z.number(), index: z.number() }), z.number()),
} satisfies Api;

/**
 * Serves the specification's example methods through the same doors, path and credentials as the real API.
 * @param server whose database and users it shares
 */
export async function serveArithmetic(server: TestServer) {
  /** What was called without an answer being asked for: the only trace that a notification leaves. */
  const heard: string[] = [];
  let running = 0;
  const load = { most: 0 };

  const handlers: Handlers<typeof arithmetic> = {
    subtract: async ({ minuend, subtrahend }) => minuend - subtrahend,
    sum: async ({ a, b, c }) => a + b + c,
    get_data: async () => ["hello", 5],
    update: async (input) => note("update", input),
    notify_hello: async (input) => note("notify_hello", input),
    notify_sum: async (input) => note("notify_sum", input),
    async take({ seconds, index }, { sql }) {
      load.most = Math.max(load.most, ++running);
      await sql`select pg_sleep(${seconds})`;
      running--;
      return index;
    },
  };
  function note(name: string, input: Record<string, number>): null {
    heard.push(`${name} ${Object.values(input)}`);
    return null;
  }

  const bothDoors = (door: Door) => ({ user: door, space: door });
  const config = readConfig({ RATE_LIMIT: "0", FAILED_AUTH_LIMIT: "0", LOG_LEVEL: "silent" });
  const { auth, close } = createAuth({ address: server.databaseUrl, secret: server.secret, publicUrl: server.url, cookieOrigins: [] });
  const app = await openDoors({
    config,
    publicUrl: server.url,
    origins: [],
    cookieOrigins: [],
    auth,
    mails: false,
    guesses: createGuesses(0),
    ready: async () => true,
    doors: bothDoors({
      api: arithmetic,
      policy: Object.fromEntries(Object.keys(arithmetic).map((name) => [name, [anyone]])) as unknown as Policy<typeof arithmetic>,
      handlers,
      authenticate: createAuthenticate({
        sql: server.sql,
        auth,
        cookieOrigins: [],
        readToken: () => Promise.reject(new Refusal("UNAUTHENTICATED")),
      }),
      sql: server.sql,
      budgets: new Budgets(limitsFrom(config)),
      denials: new Denials(server.sql, createLog("silent"), config.auditDelayMs),
      log: createLog("silent"),
    } as unknown as Door),
  });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return {
    rpcUrl: `${url}/api/v1/user/rpc`,
    heard,
    load,
    async close(): Promise<void> {
      await app.close();
      await close();
    },
  };
}
