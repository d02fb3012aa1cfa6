import { type RpcError, spaceApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { uniqueName } from "./params.ts";
import { type SpaceMethod, spaceMethods, validSpaceParams } from "./space-params.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

// Every method of the space RPC, by every kind of caller who may not read grants: how they are refused is the same, whatever
// others were granted.

let server: TestServer;
let world: SpaceWorld;
/** Somebody outside the space, and a group in it, to whom more was granted than any of the callers may do. */
let awaited: string;
let strong: string;
/** A member to whom the same was granted. */
let member: string;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
});
afterAll(() => server.close());

async function newTargets(): Promise<void> {
  strong = await world.newGroup();
  [awaited, member] = [await world.newUser(), await world.newUser()];
  await world.asAda("principal.add", { principal: member });
}

/** Two states of the space that differ in nothing but others' grants. */
const granted = { one: ["admin:docs", "read:audit"], other: ["write:mail", "admin:docs:b", "read:grants"] };

async function grantOthers(permissions: readonly string[]): Promise<void> {
  const { id: space } = world.space;
  const others = [awaited, member, strong, world.shared];
  await server.sql`delete from grants where space_id = ${space} and principal_id = any(${others}::uuid[])`;
  // To those that are still there.
  await server.sql`
    insert into grants (id, space_id, principal_id, permission)
    select new_id(), ${space}, p.id, permission from principals p, unnest(${[...permissions]}::text[]) permission
    where p.id = any(${others}::uuid[])`;
}

/** Who calls: what Bob, or his agent and so Bob, are granted, and the ceiling of the key that they call by. */
interface Caller {
  grants: string[];
  by: "session" | "pat" | "agent" | "token";
  ceiling?: string[];
}
const callers: Record<string, Caller> = {
  "a member with no grant": { grants: [], by: "session" },
  "who may write members and groups": { grants: ["write:members", "admin:groups"], by: "session" },
  "who may write members, by a key": { grants: ["write:members", "admin:groups"], by: "pat" },
  "an admin's key that may write members alone": { grants: ["admin"], by: "pat", ceiling: ["write:members"] },
  "an admin's key that may administer groups": { grants: ["admin"], by: "pat", ceiling: ["write:members", "admin:groups"] },
  "an agent that may write members and groups": { grants: ["write:members", "admin:groups"], by: "agent" },
  "an agent's key that may write members alone": { grants: ["admin"], by: "agent", ceiling: ["write:members"] },
  "a token for members": { grants: ["admin"], by: "token", ceiling: ["write:members", "admin:groups"] },
};

/** Brings a caller into the space. @returns their credential */
async function arrive({ grants, by, ceiling }: Caller): Promise<string> {
  await world.clear();
  const { bob, bot, slug, must } = world;
  await world.asAda("principal.add", { principal: bob.id });
  await must(bob.session, "principal.add", { principal: bot }, slug);
  for (const principal of [bob.id, bot]) for (const permission of grants) await world.asAda("access.grant", { principal, permission });
  if (by === "session") return bob.session;
  const key = (limit?: string[]) =>
    must(bob.session, "apiKey.create", { name: uniqueName(), ...(by === "agent" && { agent: bot }), ...(limit && { ceiling: limit }) });
  if (by !== "token") return (await key(ceiling)).key;
  return (await must((await key()).key, "token.create", { space: slug, scope: ceiling })).token;
}

/** Params about those to whom others' grants are, wherever a method takes somebody. */
async function paramsOf(method: SpaceMethod): Promise<Record<string, unknown>[]> {
  const params = await validSpaceParams(method, world);
  const shape = Object.keys(spaceApi[method].params.shape);
  const about = (who: string) =>
    Object.fromEntries(
      Object.entries({ ...params, group: strong, groups: [strong], principal: who, member: who, actor: who }).filter(
        ([name, value]) => shape.includes(name) && value !== undefined,
      ),
    );
  return shape.includes("principal") || shape.includes("member") ? [awaited, member, world.shared].map(about) : [about(awaited)];
}

const seen = (error: RpcError | undefined) => error && { ...error, data: { ...error.data, requestId: "" } };

describe.each(Object.keys(callers))("%s", (name) => {
  test("is refused in the same words, whatever others were granted", async () => {
    const exceeded: string[] = [];
    for (const method of spaceMethods) {
      // What is called may end any of them.
      await newTargets();
      const credential = await arrive(callers[name] as Caller);
      for (const params of await paramsOf(method)) {
        const questions = [
          [method, params],
          ["access.explain", { method, params }],
          ["access.check", { method, params }],
        ] as const;
        for (const [asked, given] of questions) {
          // What is not refused is not about refusals, and may change what the next one is about.
          const ask = async (permissions: readonly string[]) => {
            await grantOthers(permissions);
            return server.call(credential, asked, given, world.slug);
          };
          const first = await ask(granted.one);
          if (!first.error && asked === method) continue;
          const second = await ask(granted.other);
          const text = JSON.stringify({ asked, given });
          expect(seen(second.error), text).toEqual(seen(first.error));
          if (asked === "access.explain") expect(second.result, text).toEqual(first.result);
          if (first.error?.data.reason === "exceeds") exceeded.push(asked);
        }
      }
    }
    if (name.includes("key that") || name.includes("and groups")) expect(exceeded).not.toEqual([]);
  });
});

test("who may read grants is told what exceeds them, and so is the owner of an agent", async () => {
  await newTargets();
  await grantOthers(granted.one);
  const reader = await arrive({ grants: ["admin"], by: "pat", ceiling: ["write:members", "read:grants"] });
  const { error } = await server.call(reader, "principal.add", { principal: awaited }, world.slug);
  expect(error).toMatchObject({
    data: { reason: "exceeds", missing: ["admin:docs", "read:audit"] },
    message: expect.stringContaining("admin:docs"),
  });

  const limited = await arrive({ grants: ["write:members"], by: "pat" });
  const { bot, bob, slug } = world;
  await world.asAda("principal.remove", { principal: bot });
  await world.asAda("access.grant", { principal: bot, permission: "admin:docs" });
  expect((await server.call(limited, "principal.add", { principal: bot }, slug)).error?.data).toMatchObject({ missing: ["admin:docs"] });
  await world.must(bob.session, "principal.add", { principal: bot }, slug);
});
