import { randomBytes } from "node:crypto";
import { exchangeToken } from "@gatehouse/client";
import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import type { TestServer, TestUser } from "./harness.ts";

/** A space with people and an agent in it, for calls to be made in. */
export interface World {
  server: TestServer;
  /** Its admin. */
  ada: TestUser;
  bob: TestUser;
  /** Ada's agent, which holds everything in the space. */
  bot: { id: string; key: string; keyId: string };
  /** A token by which that agent acts for Ada. */
  acting: string;
  space: { id: string; slug: string };
}

/** A call that changes something, ready to be made. */
export interface Change {
  params: object;
  /** Who makes it, when neither Ada nor her agent can. */
  by?: TestUser;
  /** What the record of it must name. */
  // biome-ignore lint/suspicious/noExplicitAny: results of every method
  names: (result: any) => string[];
  /** The space whose record it belongs to, if it is not that of the door: null for none. */
  // biome-ignore lint/suspicious/noExplicitAny: results of every method
  where?: (result: any) => string | null;
}

export const unique = () => `n-${randomBytes(6).toString("hex")}`;

/** Calls a method that must succeed. */
export async function must(server: TestServer, credential: string, method: string, params: object = {}, space?: string) {
  const { result, error } = await server.call(credential, method, params, space);
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

export async function makeWorld(server: TestServer): Promise<World> {
  const [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  const space = await must(server, ada.session, "space.create", { name: "Team" });
  const asAda = (method: string, params: object) => must(server, ada.session, method, params, space.slug);
  await server.join(space.slug, ada, bob);
  const { id } = await must(server, ada.session, "agent.create", { name: "bot" });
  await asAda("principal.add", { principal: id });
  await asAda("access.grant", { principal: id, permission: "admin" });
  const { id: keyId, key } = await must(server, ada.session, "apiKey.create", { name: "of the bot", agent: id });
  const subject = await must(server, ada.session, "token.create", { space: space.slug, scope: ["admin"], mayAct: id });
  const target = { server: server.url, credential: key };
  const { token: acting } = await exchangeToken(target, { subject: subject.token, space: space.slug, scope: ["admin"] });
  return { server, ada, bob, bot: { id, key, keyId }, acting, space };
}

const nowhere = () => null;
const idOf = ({ id }: { id: string }) => [id];

/** How to call each method that writes, door by door: every call is about something fresh. */
export const changes: Record<"user" | "space", Record<string, (world: World) => Promise<Change>>> = {
  user: {
    "space.create": async () => ({ params: { name: unique() }, names: ({ slug }) => [slug], where: ({ id }) => id }),
    "space.rename": async ({ space: { id, slug } }) => ({ params: { slug, name: unique() }, names: () => [slug], where: () => id }),
    "space.delete": async ({ server, ada }) => {
      const { id, slug } = await must(server, ada.session, "space.create", { name: unique() });
      return { params: { slug, confirm: slug }, names: () => [slug], where: () => id };
    },
    "agent.create": async () => ({ params: { name: unique() }, names: idOf, where: nowhere }),
    "agent.rename": async (world) => ({ params: { id: await anAgent(world), name: unique() }, names: idOf, where: nowhere }),
    "agent.delete": async (world) => ({ params: { id: await anAgent(world) }, names: idOf, where: nowhere }),
    "agent.transfer": async (world) => {
      const { id: to } = world.bob;
      return { params: { id: await anAgent(world), to }, names: ({ id }) => [id, to], where: nowhere };
    },
    "agent.accept": async (world) => ({ params: { id: await anOffer(world) }, names: ({ id }) => [id, world.ada.id], where: nowhere }),
    "agent.decline": async (world) => ({ params: { id: await anOffer(world) }, names: idOf, where: nowhere }),
    "apiKey.create": async ({ bot }) => ({ params: { name: unique(), agent: bot.id }, names: idOf, where: nowhere }),
    "apiKey.rotate": async (world) => ({ params: { id: await aKey(world) }, names: idOf, where: nowhere }),
    "apiKey.delete": async (world) => ({ params: { id: await aKey(world) }, names: idOf, where: nowhere }),
    "token.create": async ({ space: { id, slug } }) => ({
      params: { space: slug, scope: ["read:docs"] },
      names: (result) => [result.id, "read:docs"],
      where: () => id,
    }),
    // It concerns all of them: Ada, for whom it speaks, and her agent, which acts.
    "token.revoke": async ({ server, acting, space }) => {
      const { id, token } = await must(server, acting, "token.create", { space: space.slug, scope: ["read"] });
      return { params: { token }, names: () => [id], where: nowhere };
    },
    "invite.accept": async (world) => {
      const { id, space } = await anInvitationOfAda(world);
      return { params: { id }, names: () => [id], where: () => space };
    },
    "invite.decline": async (world) => {
      const { id, space } = await anInvitationOfAda(world);
      return { params: { id }, names: () => [id], where: () => space };
    },
  },
  space: {
    "space.leave": async (world) => {
      const by = await aMember(world);
      return { by, params: {}, names: () => [by.id] };
    },
    "principal.add": async (world) => aboutPrincipal(await anAgent(world)),
    "principal.setAdmin": async (world) => aboutPrincipal((await aMember(world)).id, { admin: true }, ["admin=true"]),
    "principal.remove": async (world) => aboutPrincipal((await aMember(world)).id),
    "group.create": async () => ({ params: { name: unique() }, names: idOf }),
    "group.rename": async (world) => ({ params: { group: await aGroup(world), name: unique() }, names: idOf }),
    "group.delete": async (world) => ({ params: { group: await aGroup(world) }, names: idOf }),
    "group.addMember": async (world) => aboutMember(await aGroup(world), world.bob.id),
    "group.removeMember": async (world) => aboutMember(await aGroup(world, world.bob), world.bob.id),
    "group.setMemberAdmin": async (world) => aboutMember(await aGroup(world, world.bob), world.bob.id, { admin: true }, ["admin=true"]),
    "access.grant": async ({ bob }) => aboutPrincipal(bob.id, aPermission(), ["read:docs:"]),
    "access.revoke": async (world) => {
      const params = { principal: world.bob.id, ...aPermission() };
      await inside(world, "access.grant", params);
      return { params, names: () => [params.principal, params.permission] };
    },
    "invite.create": async () => ({ params: {}, names: idOf }),
    "invite.revoke": async (world) => ({ params: { id: (await inside(world, "invite.create", {})).id }, names: idOf }),
    "secretKey.create": async () => ({ params: { name: unique() }, names: idOf }),
    "secretKey.rotate": async (world) => ({ params: { id: await aSecretKey(world) }, names: idOf }),
    "secretKey.revoke": async (world) => ({ params: { id: await aSecretKey(world) }, names: idOf }),
    "session.create": async () => ({ params: { task: unique() }, names: ({ session }) => [session.id] }),
    "session.update": async (world) => ({ params: { session: await aSession(world), tags: [unique()] }, names: idOf }),
    "session.close": async (world) => ({ params: { session: await aSession(world) }, names: idOf }),
    "session.delete": async (world) => ({ params: { session: await aSession(world) }, names: idOf }),
    "task.register": async () => {
      const task = unique();
      return { params: { task }, names: () => [task] };
    },
    "task.delete": async (world) => {
      const task = unique();
      await inside(world, "task.register", { task });
      return { params: { task }, names: () => [task] };
    },
  },
};

/** Params of the reads that need some. */
export async function readParams(world: World): Promise<Record<string, object>> {
  const task = unique();
  await inside(world, "task.register", { task });
  const session = await aSession(world);
  const { run } = await inside(world, "session.send", { session, message: "Hello" });
  return {
    "agent.get": { id: world.bot.id },
    "agent.spaces": { id: world.bot.id },
    "apiKey.get": { id: world.bot.keyId },
    "token.inspect": { token: world.bot.key },
    "principal.resolve": { name: "Ada" },
    "principal.lookup": { ids: [world.ada.id] },
    "group.listMembers": { group: await aGroup(world) },
    "access.check": { permission: "read" },
    "access.explain": { permission: "read" },
    "task.get": { task },
    "session.get": { session },
    "session.events": { session },
    "run.get": { run: run.id },
    "run.list": { session },
  };
}

/** Every method of a kind, with its door. */
export const methodsThat = (effect: "read" | "write"): { door: "user" | "space"; method: string }[] =>
  Object.entries({ user: userApi, space: spaceApi } as Record<"user" | "space", Api>).flatMap(([door, api]) =>
    Object.keys(api)
      .filter((method) => api[method]?.effect === effect)
      .map((method) => ({ door: door as "user" | "space", method })),
  );

const aPermission = () => ({ permission: `read:docs:${unique()}` });
const aboutPrincipal = (principal: string, rest: object = {}, more: string[] = []): Change => ({
  params: { principal, ...rest },
  names: () => [principal, ...more],
});
const aboutMember = (group: string, member: string, rest: object = {}, more: string[] = []): Change => ({
  params: { group, member, ...rest },
  names: () => [group, member, ...more],
});

const inside = ({ server, ada, space }: World, method: string, params: object) => must(server, ada.session, method, params, space.slug);

async function aMember(world: World): Promise<TestUser> {
  const user = await world.server.user("Member");
  await world.server.join(world.space.slug, world.ada, user);
  return user;
}

async function aGroup(world: World, member?: TestUser): Promise<string> {
  const { id } = await inside(world, "group.create", { name: unique() });
  if (member) await inside(world, "group.addMember", { group: id, member: member.id });
  return id;
}

const anAgent = async ({ server, ada }: World, owner = ada): Promise<string> =>
  (await must(server, owner.session, "agent.create", { name: unique() })).id;

const aKey = async ({ server, ada }: World): Promise<string> => (await must(server, ada.session, "apiKey.create", { name: unique() })).id;

const aSecretKey = async (world: World): Promise<string> => (await inside(world, "secretKey.create", { name: unique() })).id;

const aSession = async (world: World): Promise<string> => (await inside(world, "session.create", { task: unique() })).session.id;

async function anOffer(world: World): Promise<string> {
  const id = await anAgent(world, world.bob);
  await must(world.server, world.bob.session, "agent.transfer", { id, to: world.ada.id });
  return id;
}

async function anInvitationOfAda({ server, ada, bob }: World): Promise<{ id: string; space: string }> {
  const space = await must(server, bob.session, "space.create", { name: unique() });
  const { id } = await must(server, bob.session, "invite.create", { email: ada.email }, space.slug);
  return { id, space: space.id };
}
