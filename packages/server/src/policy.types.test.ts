import { errors, method, type RpcError, spaceApi, userApi } from "@gatehouse/protocol";
import pino from "pino";
import { expect, test } from "vitest";
import { z } from "zod";
import type { Actor } from "./actor.ts";
import { Budgets, limitsFrom } from "./budgets.ts";
import { openDatabase } from "./db.ts";
import { Denials } from "./denials.ts";
import { spaceRpcHandlers, userRpcHandlers } from "./methods/index.ts";
import { selfOrOwnAgent, spaceAdmin } from "./needs.ts";
import { spacePolicy, userPolicy } from "./policy.ts";
import { answer, type Door, type Handlers } from "./rpc.ts";
import { anyone, type Policy, users } from "./rules.ts";

// What must not compile is marked so: the type check fails when one of these lines has no error.

const contract = { summary: "", effect: "read", result: z.strictObject({}), errors: [] } as const;
const api = {
  plain: method({ ...contract, params: z.strictObject({}) }),
  aboutSpace: method({ ...contract, params: z.strictObject({ slug: z.string(), agent: z.string().optional() }) }),
};
type TestApi = typeof api;
const policyOf = (policy: Policy<TestApi>) => policy;
const handlersOf = (handlers: Handlers<TestApi>) => handlers;

const handlers = handlersOf({ plain: async () => ({}), aboutSpace: async () => ({}) });
const policy = policyOf({ plain: [anyone], aboutSpace: [users, spaceAdmin((i) => i.slug)] });

// @ts-expect-error a method has no row
policyOf({ plain: [anyone] });

// @ts-expect-error a row for no method
policyOf({ ...policy, forgotten: [anyone] });

// @ts-expect-error a row with nobody in it
policyOf({ ...policy, plain: [] });

// @ts-expect-error a row that only says what the params must name
policyOf({ ...policy, aboutSpace: [spaceAdmin((i) => i.slug)] });

// @ts-expect-error the method has no such param
policyOf({ ...policy, aboutSpace: [users, spaceAdmin((i) => i.space)] });

// @ts-expect-error a method without params has none to name
policyOf({ ...policy, plain: [users, selfOrOwnAgent((i) => i.agent)] });

// @ts-expect-error a param that may be left out can't name what must be there
policyOf({ ...policy, aboutSpace: [users, spaceAdmin((i) => i.agent)] });

// @ts-expect-error a method has no handler
handlersOf({ plain: handlers.plain });

// @ts-expect-error a handler reads a param that the method does not have
handlersOf({ ...handlers, plain: async (i) => (i.name ? {} : {}) });

// @ts-expect-error a handler answers what the contract does not say
handlersOf({ ...handlers, plain: async () => "done" });

const actors: Record<string, Pick<Actor["credential"], "via" | "ceiling" | "scope"> & Pick<Actor["principal"], "kind">> = {
  "a user in a session": { kind: "u", via: "session", ceiling: null },
  "a user's key": { kind: "u", via: "pat", ceiling: null },
  "a user's key with a ceiling": { kind: "u", via: "pat", ceiling: [{ action: "admin" }] },
  "a user's token": { kind: "u", via: "jwt", ceiling: null, scope: [{ action: "admin" }] },
  "an agent": { kind: "a", via: "agent_key", ceiling: null },
  "a service": { kind: "s", via: "secret_key", ceiling: null },
};

test.each(Object.entries(actors))("what the policy has no row for is open to nobody: not to %s", async (_who, { kind, ...credential }) => {
  const id = "019a0000-0000-7000-8000-000000000000";
  const actor: Actor = { principal: { id, kind, name: "", email: null }, owner: null, credential: { id, expiresAt: null, ...credential } };
  let reached = 0;
  const handler = async () => {
    reached++;
    return {};
  };
  const call = async (method: keyof TestApi, rows: object): Promise<RpcError | undefined> => {
    // The cast stands for whatever may go around the compiler: a plugin, a merge, plain JavaScript.
    const door = {
      ...{ api, policy: rows, handlers: { plain: handler, aboutSpace: handler } },
      ...{ authenticate: async () => actor, sql, budgets, denials, log },
    };
    const body = new TextEncoder().encode(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { slug: "s" } }));
    return JSON.parse((await answer(door as unknown as Door, { presented: {}, body, requestId: "r" })).body as string).error;
  };
  const sql = openDatabase("postgres://nobody@127.0.0.1:1/none"); // never asked: what is denied touches no database
  const log = pino({ level: "silent" });
  const budgets = new Budgets(limitsFrom({ callRate: 1000, maxStreams: 1, maxWaits: 1 }));
  const denials = new Denials(sql, log, 600_000); // so late that none is written
  for (const method of ["plain", "aboutSpace"] as const) {
    expect(await call(method, {})).toMatchObject({ code: errors.FORBIDDEN.number, data: { code: "FORBIDDEN", reason: "no-rule" } });
    expect(await call(method, Object.create(null))).toMatchObject({ data: { reason: "no-rule" } });
  }
  expect(reached).toBe(0);
  expect(await call("plain", { plain: [anyone] }), "with its row it gets past it").toMatchObject({ data: { code: "INVALID_PARAMS" } });
});

test.each([
  ["user", userApi, userPolicy, userRpcHandlers({} as never)],
  ["space", spaceApi, spacePolicy, spaceRpcHandlers({} as never)],
] as const)(
  "the policy and the handlers of the %s RPC have a row and a handler for each method, and none beside them",
  (_door, api, ...both) => {
    for (const table of both) expect(Object.keys(table).sort()).toEqual(Object.keys(api).sort());
  },
);
