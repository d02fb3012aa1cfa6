import { randomBytes } from "node:crypto";
import { type Ask, type ProgramLogin, signProgramIn } from "./program.ts";

interface Person {
  id: string;
  email: string;
  session: string;
}

/** What it takes to give something, and to take it away again: one server, of those on a database. */
export interface Town {
  user(): Promise<Person>;
  /** Asks a path of it, and again while there are too many who ask. */
  ask: Ask;
  /** Calls a method, in a space where one is named. @throws Error when it is refused */
  // biome-ignore lint/suspicious/noExplicitAny: results of every method
  call(credential: string, method: string, params?: object, space?: string): Promise<any>;
}

/** A call that succeeds until something is taken away. */
export interface Taken {
  credential: string;
  method: string;
  space?: string;
  /** By the tool of that method, at the door for programs. */
  tool?: true;
  /** How often the method itself asks the database; left out, never. */
  asks?: number;
  /** Resolves when the server has answered that it is taken away. */
  take(): Promise<unknown>;
}

/** Posts as somebody. @throws Error when it is refused */
async function post({ ask }: Town, path: string, body: object | URLSearchParams, session?: string): Promise<void> {
  const form = body instanceof URLSearchParams;
  const headers = { ...(!form && { "content-type": "application/json" }), ...(session && { authorization: `Bearer ${session}` }) };
  const answered = await ask(path, { method: "POST", headers, body: form ? body : JSON.stringify(body) });
  if (!answered.ok) throw new Error(`${path}: ${await answered.text()}`);
}
const signOut = (town: Town, session: string) => post(town, "/api/auth/sign-out", {}, session);

const name = () => `n-${randomBytes(6).toString("hex")}`;

/** Brings somebody into a space as people come in: they are invited, and accept. */
export async function join(town: Town, slug: string, host: Person, guest: Person): Promise<void> {
  const { id } = await town.call(host.session, "invite.create", { email: guest.email }, slug);
  await town.call(guest.session, "invite.accept", { id });
}

/** A space of Ada's with Bob in it, and an agent of Bob's with a key; what they do takes a grant. */
async function makeScene(town: Town) {
  const [ada, bob] = await Promise.all([town.user(), town.user()]);
  const { slug } = await town.call(ada.session, "space.create", { name: "Team" });
  const asAda = (method: string, params: object) => town.call(ada.session, method, params, slug);
  const asBob = (method: string, params: object = {}, space?: string) => town.call(bob.session, method, params, space);
  await join(town, slug, ada, bob);
  const needs = "read:members";
  return {
    ada,
    bob,
    slug,
    asAda,
    asBob,
    needs,
    /** A method that takes that grant. */
    inSpace: { method: "principal.list", space: slug, asks: 1 },
    /** The same by a program. */
    inProgram: { method: "principal.list", tool: true, asks: 1 } as const,
    grant: (principal: string, permission = needs) => asAda("access.grant", { principal, permission }),
    revoke: (principal: string, permission = needs) => asAda("access.revoke", { principal, permission }),
    async key(agent?: string): Promise<{ id: string; key: string }> {
      return asBob("apiKey.create", { name: name(), ...(agent !== undefined && { agent }) });
    },
    /** A program that is signed in for Bob, for what it takes. */
    async program(scope = `${needs} offline_access`): Promise<ProgramLogin> {
      await asAda("access.grant", { principal: bob.id, permission: needs });
      return signProgramIn(town.ask, bob.session, slug, scope);
    },
    /** A token of some credential, for what it takes. */
    token: async (credential: string): Promise<{ id: string; token: string }> =>
      town.call(credential, "token.create", { space: slug, scope: [needs] }),
    agent: async (): Promise<string> => (await asBob("agent.create", { name: name() })).id,
    /** Bob's agent in the space, where both hold what it takes. */
    async agentInSpace(): Promise<{ id: string; key: string }> {
      const id = await this.agent();
      await asBob("principal.add", { principal: id }, slug);
      await Promise.all([this.grant(bob.id), this.grant(id)]);
      return { id, key: (await this.key(id)).key };
    },
    /** A group with Bob in it, which holds what it takes. */
    async groupWithBob(): Promise<string> {
      const { id } = await asAda("group.create", { name: name() });
      await asAda("group.addMember", { group: id, member: bob.id });
      await this.grant(id);
      return id;
    },
  };
}
type Scene = Awaited<ReturnType<typeof makeScene>>;

const ways: Record<string, (scene: Scene, town: Town) => Promise<Taken>> = {
  "a key is revoked": async ({ key, asBob }) => {
    const { id, key: credential } = await key();
    return { credential, method: "whoami", take: () => asBob("apiKey.delete", { id }) };
  },
  "a key is rotated, with no overlap": async ({ key, asBob }) => {
    const { id, key: credential } = await key();
    return { credential, method: "whoami", take: () => asBob("apiKey.rotate", { id, overlapHours: 0 }) };
  },
  "a token is revoked": async ({ bob, grant, token, asBob, inSpace }) => {
    await grant(bob.id);
    const { token: credential } = await token(bob.session);
    return { credential, ...inSpace, take: () => asBob("token.revoke", { token: credential }) };
  },
  "the key is revoked that a token came from": async ({ bob, grant, key, token, asBob, inSpace }) => {
    await grant(bob.id);
    const source = await key();
    return { credential: (await token(source.key)).token, ...inSpace, take: () => asBob("apiKey.delete", { id: source.id }) };
  },
  "the key is rotated, with no overlap, that a token came from": async ({ bob, grant, key, token, asBob, inSpace }) => {
    await grant(bob.id);
    const source = await key();
    const take = () => asBob("apiKey.rotate", { id: source.id, overlapHours: 0 });
    return { credential: (await token(source.key)).token, ...inSpace, take };
  },
  "the person signs out that a token came from": async ({ bob, grant, token, inSpace }, town) => {
    await grant(bob.id);
    return { credential: (await token(bob.session)).token, ...inSpace, take: () => signOut(town, bob.session) };
  },
  "the token is revoked that a token came from": async ({ bob, grant, token, asBob, inSpace }) => {
    await grant(bob.id);
    const wide = await token(bob.session);
    return { credential: (await token(wide.token)).token, ...inSpace, take: () => asBob("token.revoke", { token: wide.token }) };
  },
  "the grant is revoked that a token came from": async ({ bob, grant, revoke, token, inSpace }) => {
    await grant(bob.id);
    return { credential: (await token(bob.session)).token, ...inSpace, take: () => revoke(bob.id) };
  },
  "the member is removed whom a token speaks for": async ({ bob, grant, token, asAda, inSpace }) => {
    await grant(bob.id);
    return { credential: (await token(bob.session)).token, ...inSpace, take: () => asAda("principal.remove", { principal: bob.id }) };
  },
  "the owner leaves of the agent whom a token speaks for": async (scene) => {
    const { key } = await scene.agentInSpace();
    const { token: credential } = await scene.token(key);
    return { credential, ...scene.inSpace, take: () => scene.asBob("space.leave", {}, scene.slug) };
  },
  "a secret key is revoked": async ({ slug, asAda }) => {
    const { id, key: credential } = await asAda("secretKey.create", { name: name() });
    return { credential, method: "space.get", space: slug, take: () => asAda("secretKey.revoke", { id }) };
  },
  "a person signs a program out": async ({ bob, program, inProgram }, town) => {
    const { access_token: credential } = await program();
    const page = await (await town.ask("/account", { headers: { cookie: `gatehouse.session_token=${bob.session}` } })).text();
    const id = /data-end="([^"]+)"/.exec(page)?.[1] ?? "";
    return { credential, ...inProgram, take: () => post(town, "/api/auth/programs/end", { id }, bob.session) };
  },
  "a program signs itself out": async ({ program, inProgram }, town) => {
    const { client_id, access_token: credential, refresh_token: token = "" } = await program();
    return { credential, ...inProgram, take: () => post(town, "/api/v1/revoke", new URLSearchParams({ client_id, token })) };
  },
  "a program's token is revoked": async ({ asBob, program, inProgram }) => {
    const { access_token: credential } = await program();
    return { credential, ...inProgram, take: () => asBob("token.revoke", { token: credential }) };
  },
  "what renews a program's login comes twice": async ({ program, inProgram }, town) => {
    const { client_id, access_token: credential, refresh_token = "" } = await program();
    const again = new URLSearchParams({ grant_type: "refresh_token", client_id, refresh_token });
    await post(town, "/api/v1/token", again);
    return { credential, ...inProgram, take: () => town.ask("/api/v1/token", { method: "POST", body: again }) };
  },
  "the person signs out who let a program in until then": async ({ bob, needs, program, inProgram }, town) => {
    const { access_token: credential } = await program(needs);
    return { credential, ...inProgram, take: () => signOut(town, bob.session) };
  },
  "the grant is revoked that a program uses": async ({ bob, revoke, program, inProgram }) => {
    const { access_token: credential } = await program();
    return { credential, ...inProgram, take: () => revoke(bob.id) };
  },
  "the member is removed for whom a program acts": async ({ bob, asAda, program }) => {
    const { access_token: credential } = await program();
    return { credential, method: "whoami", tool: true, take: () => asAda("principal.remove", { principal: bob.id }) };
  },
  "the space is deleted in which a program acts": async ({ ada, slug, program }, town) => {
    const { access_token: credential } = await program();
    const take = () => town.call(ada.session, "space.delete", { slug, confirm: slug });
    return { credential, method: "whoami", tool: true, take };
  },
  "a person signs out": async ({ bob }, town) => ({
    credential: bob.session,
    method: "whoami",
    take: () => signOut(town, bob.session),
  }),
  "an agent is deleted": async ({ agent, key, asBob }) => {
    const id = await agent();
    return { credential: (await key(id)).key, method: "whoami", take: () => asBob("agent.delete", { id }) };
  },
  "an agent changes hands": async ({ ada, agent, key, asBob }, town) => {
    const id = await agent();
    const { key: credential } = await key(id);
    await asBob("agent.transfer", { id, to: ada.id });
    return { credential, method: "whoami", take: () => town.call(ada.session, "agent.accept", { id }) };
  },
  "an agent's owner leaves the space": async (scene) => {
    const { key: credential } = await scene.agentInSpace();
    return { credential, ...scene.inSpace, take: () => scene.asBob("space.leave", {}, scene.slug) };
  },
  "an agent's owner loses a grant": async (scene) => {
    const { key: credential } = await scene.agentInSpace();
    return { credential, ...scene.inSpace, take: () => scene.revoke(scene.bob.id) };
  },
  "a member is removed": async ({ bob, slug, asAda }) => ({
    credential: bob.session,
    method: "space.get",
    space: slug,
    take: () => asAda("principal.remove", { principal: bob.id }),
  }),
  "a grant is revoked": async ({ bob, grant, revoke, inSpace }) => {
    await grant(bob.id);
    return { credential: bob.session, ...inSpace, take: () => revoke(bob.id) };
  },
  "a grant is narrowed": async ({ bob, grant, revoke, inSpace }) => {
    await grant(bob.id, "read");
    await grant(bob.id, "read:tasks");
    return { credential: bob.session, ...inSpace, take: () => revoke(bob.id, "read") };
  },
  "an admin is made a member": async ({ bob, asAda, inSpace }) => {
    await asAda("principal.setAdmin", { principal: bob.id, admin: true });
    return { credential: bob.session, ...inSpace, take: () => asAda("principal.setAdmin", { principal: bob.id, admin: false }) };
  },
  "a group loses a member": async (scene) => {
    const group = await scene.groupWithBob();
    return {
      credential: scene.bob.session,
      ...scene.inSpace,
      take: () => scene.asAda("group.removeMember", { group, member: scene.bob.id }),
    };
  },
  "a group loses a grant": async (scene) => {
    const group = await scene.groupWithBob();
    return { credential: scene.bob.session, ...scene.inSpace, take: () => scene.revoke(group) };
  },
  "a group is deleted": async (scene) => {
    const group = await scene.groupWithBob();
    return { credential: scene.bob.session, ...scene.inSpace, take: () => scene.asAda("group.delete", { group }) };
  },
  "a space is deleted": async ({ ada, bob, slug }, town) => ({
    credential: bob.session,
    method: "space.get",
    space: slug,
    take: () => town.call(ada.session, "space.delete", { slug, confirm: slug }),
  }),
  "the key is revoked that made a grant": async ({ ada, bob, slug, needs, inSpace }, town) => {
    const { id, key } = await town.call(ada.session, "apiKey.create", { name: name() });
    await town.call(key, "access.grant", { principal: bob.id, permission: needs }, slug);
    return { credential: bob.session, ...inSpace, take: () => town.call(ada.session, "apiKey.delete", { id }) };
  },
};

/** Every way to take something away, ready to be made fresh. */
export const revocations: Record<string, (town: Town) => Promise<Taken>> = Object.fromEntries(
  Object.entries(ways).map(([what, way]) => [what, async (town: Town) => way(await makeScene(town), town)]),
);
