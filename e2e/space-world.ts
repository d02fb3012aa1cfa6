import type { Space } from "@gatehouse/protocol";
import type { TestServer, TestUser } from "./harness.ts";
import { uniqueName } from "./space-params.ts";

export type SpaceWorld = Awaited<ReturnType<typeof makeSpaceWorld>>;

/** A space that Ada administers, and who comes to its door: Bob, an agent of Bob's, and an agent that a group of the space owns. */
export async function makeSpaceWorld(server: TestServer) {
  const { sql } = server;
  const [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  /** Calls, and takes no for an answer from nobody. */
  const must = async (credential: string, method: string, params: object, space?: string) => {
    const { result, error } = await server.call(credential, method, params, space);
    if (!result) throw new Error(`${method}: ${error?.message}`);
    return result;
  };
  const space: Space = await must(ada.session, "space.create", { name: "Team" });
  const { slug } = space;
  const asAda = (method: string, params: object) => must(ada.session, method, params, slug);
  const newGroup = async (): Promise<string> => (await asAda("group.create", { name: uniqueName() })).id;
  const newAgent = async (owner: TestUser): Promise<string> => (await must(owner.session, "agent.create", { name: uniqueName() })).id;

  const lobby = await server.acquaint(ada, bob);
  /** An agent of Bob's, which Ada knows from another space. */
  const newAgentOfBob = async (): Promise<string> => {
    const principal = await newAgent(bob);
    await must(bob.session, "principal.add", { principal }, lobby);
    return principal;
  };
  const owners = await newGroup();
  await asAda("group.addMember", { group: owners, member: ada.id });
  await asAda("group.setMemberAdmin", { group: owners, member: ada.id, admin: true });
  const shared = await newAgent(ada);
  await must(ada.session, "agent.transfer", { id: shared, to: owners });

  return {
    space,
    slug,
    ada,
    bob,
    /** Bob's agent. */
    bot: await newAgentOfBob(),
    /** The agent of a group. */
    shared,
    /** The group that owns it. */
    owners,
    /** A group that no call is about. */
    aside: await newGroup(),
    must,
    asAda,
    newGroup,
    /** A user whom Ada knows, in another space. */
    async newUser(): Promise<string> {
      const name = uniqueName();
      const [row] = await sql<{ id: string }[]>`
        insert into auth."user" (id, name, email) values (uuidv7(), ${name}, ${`${name}@example.com`}) returning id`;
      await sql`insert into members (space_id, principal_id) select id, ${row?.id as string} from spaces where slug = ${lobby}`;
      return row?.id as string;
    },
    /** Somebody whom everybody in the space knows, and who is not in it: an agent of Ada's. */
    newcomer: () => newAgent(ada),
    newAgentOfBob,
    /** The id of nothing. */
    newId: async () => (await sql<{ id: string }[]>`select uuidv7() as id`)[0]?.id as string,
    /** A key for Bob, or for one of the agents. */
    async newKey(holder: "bob" | "bot" | "shared", limits: { ceiling?: string[] }): Promise<string> {
      const agent = { bob: {}, bot: { agent: this.bot }, shared: { agent: shared } }[holder];
      const by = holder === "shared" ? ada : bob;
      return (await must(by.session, "apiKey.create", { name: uniqueName(), ...agent, ...limits })).key;
    },
    /** Nobody but Ada is in the space, and nobody else was given anything. */
    async clear(): Promise<void> {
      const all = [bob.id, this.bot, shared, owners];
      await sql`delete from members where principal_id = any(${all}::uuid[]) and space_id = ${space.id}`;
      await sql`delete from group_members where principal_id = any(${all}::uuid[])`;
      await sql`delete from grants where principal_id = any(${all}::uuid[])`;
    },
  };
}
