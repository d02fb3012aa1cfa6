import { splitScope } from "@gatehouse/protocol";
import { makeWorld, must, type World } from "./changes.ts";
import type { TestServer } from "./harness.ts";

/** A space, and a credential of every kind in it. */
export interface TokenWorld extends World {
  /** What Ada has: her agent's key is `bot.key`. */
  pat: { id: string; key: string };
  /** Of the space's service. */
  secret: { id: string; key: string };
  /** Bob's own agent, on the roster too, which may write the tasks of support. */
  helper: { id: string; key: string; keyId: string };
  /** Bob's key; he may do everything with tasks. */
  bobs: { id: string; key: string };
}

export async function makeTokenWorld(server: TestServer): Promise<TokenWorld> {
  const world = await makeWorld(server);
  const { ada, bob, space } = world;
  const inSpace = (method: string, params: object) => must(server, ada.session, method, params, space.slug);
  const { id } = await must(server, bob.session, "agent.create", { name: "helper" });
  await inSpace("principal.add", { principal: id });
  await inSpace("access.grant", { principal: id, permission: "write:tasks:support" });
  await inSpace("access.grant", { principal: bob.id, permission: "admin:tasks" });
  const made = await must(server, bob.session, "apiKey.create", { name: "of the helper", agent: id });
  return {
    ...world,
    pat: await must(server, ada.session, "apiKey.create", { name: "laptop" }),
    bobs: await must(server, bob.session, "apiKey.create", { name: "laptop" }),
    secret: await inSpace("secretKey.create", { name: "backend" }),
    helper: { id, key: made.key, keyId: made.id },
  };
}

/** Mints a token in the world's space. */
export const mint = (
  { server, space }: World,
  credential: string,
  scope: string,
  more: object = {},
): Promise<{ id: string; token: string; scope: string[]; expiresAt: string }> =>
  must(server, credential, "token.create", { space: space.slug, scope: splitScope(scope), ...more });

/** Whether a credential is good for anything at all. */
export const isGood = async (server: TestServer, credential: string): Promise<boolean> =>
  (await server.call(credential, "whoami")).status === 200;
