import { type Serving, serve } from "@gatehouse/agent";
import { echo } from "@gatehouse/agent/echo";
import { type Client, createSpaceClient, createUserClient, GatehouseError, signOut, type Target } from "@gatehouse/client";
import type { SpaceApi, UserApi } from "@gatehouse/protocol";
import type { Server } from "@gatehouse/server";
import { everyPage } from "../pages.ts";

/** What it may do, as a grant and as the ceiling of its key: answer as echo, and nothing else. */
const PERMISSION = `admin:tasks:${echo.id}`;
const KEY_NAME = "of the running server";

/**
 * Serves the agent `echo` in the local owner's first space, so that a first conversation works with no model.
 *
 * It is an agent like any other: made by the owner's own calls, bounded by a grant and by its key's ceiling. The key is
 * never written down: it is made when the server starts and deleted when it stops; one that a crash left behind, of
 * which nobody has the secret, is deleted at the next start. Whoever deletes the agent is rid of it for good.
 */
export async function serveEcho({ url, signInOwner }: Pick<Server, "url" | "signInOwner">): Promise<Serving | undefined> {
  if (!signInOwner) return undefined;
  const made = await asOwner(url, signInOwner, makeEcho);
  if (!made) return undefined;
  const serving = await serve([echo], { server: url, space: made.space, credential: made.key, signals: false, log: () => {} });
  return {
    finished: serving.finished,
    async stop(leave) {
      await serving.stop(leave);
      await asOwner(url, signInOwner, (target) => createUserClient(target).apiKey.delete({ id: made.id }));
    },
  };
}

/** Does something as the owner, in a session that ends with it. */
async function asOwner<T>(url: string, signIn: NonNullable<Server["signInOwner"]>, run: (target: Target) => Promise<T>): Promise<T> {
  const target = { server: url, credential: (await signIn()).token };
  try {
    return await run(target);
  } finally {
    await signOut(target);
  }
}

/** A new key of the agent, and the space it is for; undefined where there is no space, or the agent is not wanted any more. */
async function makeEcho(target: Target): Promise<{ id: string; key: string; space: string } | undefined> {
  const client = createUserClient(target);
  const spaces = await everyPage(client.space.list, ({ spaces }) => spaces);
  const [first] = spaces.filter(({ admin }) => admin).sort((a, b) => a.createdAt.localeCompare(b.createdAt));
  if (!first) return undefined;
  const agent = await echoOf(client, createSpaceClient({ ...target, space: first.slug }));
  if (agent === undefined) return undefined;
  const { keys } = await client.apiKey.list({ agent });
  for (const { id, name } of keys) if (name === KEY_NAME) await client.apiKey.delete({ id });
  const { id, key } = await client.apiKey.create({ name: KEY_NAME, agent, ceiling: [PERMISSION] });
  return { id, key, space: first.slug };
}

/** The agent's id. It is made once: where the task was served before, what is gone or was taken away stays so. */
async function echoOf(client: Client<UserApi>, space: Client<SpaceApi>): Promise<string | undefined> {
  const agents = await everyPage(client.agent.list, ({ agents }) => agents);
  const { id: person } = await client.whoami();
  // An agent of a group of which somebody made them an admin is not theirs.
  const known = agents.find(({ name, owner }) => name === echo.id && owner.id === person)?.id;
  const served = await space.task.get({ task: echo.id }).catch((error: unknown) => {
    if (error instanceof GatehouseError && error.code === "NOT_FOUND") return undefined;
    throw error;
  });
  if (served) return known;
  const id = known ?? (await client.agent.create({ name: echo.id })).id;
  await space.principal.add({ principal: id });
  await space.access.grant({ principal: id, permission: PERMISSION });
  // In person, so that it stays when the agent and its key are gone: it tells the next start that it was served before.
  await space.task.register({ task: echo.id, description: echo.description ?? "" });
  return id;
}
