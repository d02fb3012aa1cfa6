import { randomBytes } from "node:crypto";
import { type UserApi, userApi } from "@gatehouse/protocol";
import { makeKey } from "../packages/server/src/key.ts";
import type { TestServer, TestUser } from "./harness.ts";

/** Makes something for a call to be about. @returns what names it in params */
export type Targets = Record<"agent" | "apiKey" | "space" | "home" | "token" | "offer" | "invite" | "newOwner", () => Promise<string>>;

export const uniqueName = () => `n-${randomBytes(6).toString("hex")}`;

/** Fresh things that belong to a user: whatever a call does to one, the next call gets another. */
export const targetsOf = (server: TestServer, user: TestUser): Targets => {
  const must = async (session: string, method: string, params: object = {}, space?: string) => {
    const { result, error } = await server.call(session, method, params, space);
    if (!result) throw new Error(`${method}: ${error?.message}`);
    return result;
  };
  const make = (method: keyof UserApi, by = user) => must(by.session, method, { name: uniqueName() });
  // Of offers and invitations there is another side.
  let made: Promise<TestUser> | undefined;
  const other = () => {
    made ??= server.user("Other").then(async (someone) => {
      await server.acquaint(someone, user);
      return someone;
    });
    return made;
  };
  return {
    agent: async () => (await make("agent.create")).id,
    apiKey: async () => (await make("apiKey.create")).id,
    space: async () => (await make("space.create")).slug,
    // Where a token is to be good.
    home: async () => (await make("space.create")).slug,
    async token() {
      const { slug } = await make("space.create");
      return (await must(user.session, "token.create", { space: slug, scope: ["read"] })).token;
    },
    newOwner: async () => (await other()).id,
    async offer() {
      const agent = await make("agent.create", await other());
      await must((await other()).session, "agent.transfer", { id: agent.id, to: user.id });
      return agent.id;
    },
    async invite() {
      const { slug } = await make("space.create", await other());
      return (await must((await other()).session, "invite.create", { email: user.email }, slug)).id;
    },
  };
};

/** Well-formed names of nothing. */
export const noTargets = (server: TestServer): Targets => {
  const id = async () => (await server.sql<{ id: string }[]>`select new_id() as id`)[0]?.id as string;
  const slug = async () => randomBytes(6).toString("hex");
  return { agent: id, apiKey: id, offer: id, invite: id, newOwner: id, space: slug, home: slug, token: async () => makeKey("pat") };
};

/** The params that name a target, and of which kind, by the method. */
const targetParams: Record<string, (method: keyof UserApi) => keyof Targets | undefined> = {
  id: (method) => (/^agent\.(accept|decline)$/.test(method) ? "offer" : (method.split(".")[0] as keyof Targets)),
  to: () => "newOwner",
  agent: () => "agent",
  slug: () => "space",
  space: () => "home",
  // An invitation is named by its id or by a token of its own, never by both.
  token: (method) => (method.startsWith("token.") ? "token" : undefined),
};

const valueParams: Record<string, (soFar: Record<string, unknown>) => unknown> = {
  name: uniqueName,
  // Of lists: behind every row, or before it.
  after: () => "01890000-0000-7000-8000-000000000000",
  limit: () => 3,
  confirm: ({ slug }) => slug,
  ceiling: () => ["read:tasks"],
  expiresAt: () => new Date(Date.now() + 3_600_000).toISOString(),
  overlapHours: () => 1,
  scope: () => ["read:tasks"],
  ttlSeconds: () => 60,
  token: () => undefined,
  // A token for an agent to act by is for a user alone to make.
  mayAct: () => undefined,
};

export const methods = Object.keys(userApi) as (keyof UserApi)[];
const paramsOf = (method: keyof UserApi) => Object.keys(userApi[method].params.shape);

/** What kind of thing a method is about, if any. */
export function targetOf(method: keyof UserApi): keyof Targets | undefined {
  return paramsOf(method)
    .map((param) => targetParams[param]?.(method))
    .find((target) => target !== undefined);
}

/**
 * Valid params for any method, each optional one included, about a fresh target.
 * @throws Error for a param that it has no value for: say here what a valid one looks like
 */
export async function validParams(method: keyof UserApi, targets: Targets): Promise<Record<string, unknown>> {
  const params: Record<string, unknown> = {};
  for (const name of paramsOf(method)) {
    const target = targetParams[name]?.(method);
    const makeTarget = target && targets[target];
    const makeValue = valueParams[name];
    if (makeTarget) params[name] = await makeTarget();
    else if (makeValue) params[name] = makeValue(params);
    else throw new Error(`${method} has a param that no valid value is known for: ${name}`);
  }
  return params;
}
