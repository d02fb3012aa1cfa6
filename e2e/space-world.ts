import { formatPermission, type Permission, type Space } from "@gatehouse/protocol";
import type { TestServer, TestUser } from "./harness.ts";
import { uniqueName } from "./params.ts";

export type SpaceWorld = Awaited<ReturnType<typeof makeSpaceWorld>>;

/** Who is where, and holds what, besides Ada. */
interface Placing {
  members: { id: string; admin: boolean }[];
  inGroups: { group: string; id: string; admin: boolean }[];
  grants: { to: string; permission: string }[];
}

/** A space that Ada administers, and who comes to its door: Bob, an agent of Bob's, an agent that a group of the space owns, and its service. */
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

  const bot = await newAgentOfBob();
  const newSecret = async (limits: object = {}): Promise<{ id: string; key: string }> =>
    asAda("secretKey.create", { name: uniqueName(), ...limits });
  const { result: service } = await server.call((await newSecret()).key, "whoami");
  const everybody = [bob.id, bot, shared, owners];
  const fromTheFirst = (await sql<{ id: string }[]>`select id from grants where principal_id = ${service.id}`).map(({ id }) => id);

  /** Keys by whose they are and what they are limited to: nothing that is called uses one up. */
  const keys = new Map<string, Promise<string>>();
  const makeKey = async (holder: "bob" | "bot" | "shared" | "service", ceiling: string[] | undefined): Promise<string> => {
    if (holder === "service") return (await newSecret({ ceiling })).key;
    const agent = { bob: undefined, bot, shared }[holder];
    const by = holder === "shared" ? ada : bob;
    return (await must(by.session, "apiKey.create", { name: uniqueName(), agent, ceiling })).key;
  };

  const newSession = async (): Promise<string> =>
    (await asAda("session.create", { task: `${uniqueName()}/task`, externalId: uniqueName() })).session.id;

  return {
    server,
    space,
    slug,
    ada,
    bob,
    /** Bob's agent. */
    bot,
    /** The agent of a group. */
    shared,
    /** The group that owns it. */
    owners,
    /** The principal as which the space's server side calls. */
    service: service.id as string,
    /** A group that no call is about. */
    aside: await newGroup(),
    must,
    asAda,
    newGroup,
    /** A user whom Ada knows, in another space. */
    async newUser(): Promise<string> {
      const name = uniqueName();
      const [row] = await sql<{ id: string }[]>`
        insert into auth."user" (id, name, email) values (new_id(), ${name}, ${`${name}@example.com`}) returning id`;
      await sql`insert into members (space_id, principal_id) select id, ${row?.id as string} from spaces where slug = ${lobby}`;
      return row?.id as string;
    },
    /** Somebody whom everybody in the space knows, and who is not in it: an agent of Ada's. */
    newcomer: () => newAgent(ada),
    newAgentOfBob,
    /** The id of nothing. */
    newId: async () => (await sql<{ id: string }[]>`select new_id() as id`)[0]?.id as string,
    newSecret,
    newSession,
    /** A session that no call is about. */
    session: await newSession(),
    /** A run with its first turn under way, which somebody holds as its worker; or which waits for one. */
    async newRun(worker?: string): Promise<{ session: string; run: string }> {
      const session = await newSession();
      const { run } = await asAda("session.send", { session, message: "Hello" });
      if (worker === undefined) return { session, run: run.id };
      await sql`
        with held as (
          update runs set epoch = nextval('run_epoch'), worker = 'a test', worker_id = ${worker}, leased_until = now() + interval '1 hour'
          where id = ${run.id})
        update turns set status = 'running', run_id = ${run.id}, attempts = 1 where session_id = ${session}`;
      return { session, run: run.id };
    },
    epochOf: async (run: string): Promise<number> =>
      (await sql<{ epoch: number }[]>`select epoch::integer from runs where id = ${run}`)[0]?.epoch as number,
    /** A key of Bob's, of one of the agents or of the service, limited or not. */
    keyOf(holder: Parameters<typeof makeKey>[0], limits: readonly Permission[] | null): Promise<string> {
      const ceiling = limits?.map(formatPermission);
      const name = `${holder} ${ceiling ?? ""}`;
      const key = keys.get(name) ?? makeKey(holder, ceiling);
      keys.set(name, key);
      return key;
    },
    /** Nobody but Ada and the service is in the space, and nobody else was given anything. */
    async clear(): Promise<void> {
      await sql`
        with tokens as (delete from tokens where space_id = ${space.id}),
             members as (delete from members where principal_id = any(${everybody}::uuid[]) and space_id = ${space.id}),
             groups as (delete from group_members where principal_id = any(${everybody}::uuid[]))
        delete from grants where principal_id = any(${everybody}::uuid[])
          or (principal_id = ${service.id} and id <> all(${fromTheFirst}::uuid[]))`;
    },
    /** Puts everybody where they are to stand: rows as the methods write them, of whom thousands are needed. */
    async place({ members, inGroups, grants }: Placing): Promise<void> {
      // Bob takes his agents along; those that a call is about are to be there all the same.
      const about = await sql<{ id: string }[]>`
        select p.id from members m join principals p on p.id = m.principal_id
        where m.space_id = ${space.id} and p.owner_id = ${bob.id} and p.id <> all(${everybody}::uuid[])`;
      await this.clear();
      await sql`
        with a as (insert into members (space_id, principal_id) select ${space.id}, id from unnest(${about.map(({ id }) => id)}::uuid[]) id on conflict do nothing),
        m as (
          insert into members (space_id, principal_id, admin)
          select ${space.id}, id, admin from jsonb_to_recordset(${sql.json(members)}) as r (id uuid, admin boolean)),
        g as (
          insert into group_members (group_id, principal_id, admin)
          select "group", id, admin from jsonb_to_recordset(${sql.json(inGroups)}) as r ("group" uuid, id uuid, admin boolean))
        insert into grants (id, space_id, principal_id, permission)
        select new_id(), ${space.id}, "to", permission from jsonb_to_recordset(${sql.json(grants)}) as r ("to" uuid, permission text)
        on conflict do nothing`;
    },
    /** While something runs, principals hold everything. */
    async lend<T>(ids: readonly string[], run: () => Promise<T>): Promise<T> {
      const lent = await sql<{ id: string }[]>`
        insert into grants (id, space_id, principal_id, permission)
        select new_id(), ${space.id}, id, 'admin' from unnest(${[...ids]}::uuid[]) id on conflict do nothing returning id`;
      try {
        return await run();
      } finally {
        await sql`delete from grants where id = any(${lent.map(({ id }) => id)}::uuid[])`;
      }
    },
  };
}
