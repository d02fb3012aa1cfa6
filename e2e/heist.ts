import { exchangeToken } from "@gatehouse/client";
import { decodeJwt } from "jose";
import type { TestServer, TestUser } from "./harness.ts";

/** All that can be stolen and used by somebody else. */
export const STOLEN = [
  ...["pat", "pat, ceiling", "token of pat", "token, agent for user"],
  ...["agent key", "agent key, ceiling", "token of agent key"],
  ...["secret key", "secret key, ceiling", "token of secret key"],
] as const;
type Stolen = (typeof STOLEN)[number];

/** What differs between the worlds in which a credential is stolen. */
export interface Plan {
  /** Which credential it is: of the victim, of an agent of theirs, or of the space's service; limited or not. */
  stolen: Stolen;
  victimIsAdmin: boolean;
  /** What the victim and their agent were granted besides. */
  granted: string[];
  ceiling: string[];
  /** Whether the accomplice is a member from the first, or somebody who was prepared to be one. */
  accompliceIsMember: boolean;
  accompliceAdministers: boolean;
}

/** Those who are there in every plan. */
export interface Cast {
  boss: TestUser;
  victim: TestUser;
  accomplice: TestUser;
  /** The slug of a space that they all share, and their agents with them: they know each other. */
  lobby: string;
}

export type Heist = Awaited<ReturnType<typeof prepare>>;

/** Two spaces of the boss, with groups and agents; the victim's credential, stolen; and an accomplice with an agent and keys of their own. */
export async function prepare(server: TestServer, { boss, victim, accomplice, lobby }: Cast, plan: Plan) {
  const must = async (session: string, method: string, params: object, space?: string) => {
    const { result, error } = await server.call(session, method, params, space);
    if (!result) throw new Error(`${method}: ${error?.message}`);
    return result;
  };
  const makeSpace = async (name: string) => (await must(boss.session, "space.create", { name })) as { id: string; slug: string };
  const [here, there] = [await makeSpace("here"), await makeSpace("there")];
  const asBoss = (method: string, params: object, space = here) => must(boss.session, method, params, space.slug);
  const makeAgent = async ({ session }: TestUser): Promise<string> =>
    (await must(session, "agent.create", { name: `agent of ${here.slug}` })).id;
  const makeKey = (user: TestUser, rest: object): Promise<{ id: string; key: string }> =>
    must(user.session, "apiKey.create", { name: unique(), ...rest });

  for (const space of [here, there]) await asBoss("principal.add", { principal: victim.id }, space);
  if (plan.victimIsAdmin) await asBoss("principal.setAdmin", { principal: victim.id, admin: true });

  const group = async (name: string): Promise<string> => (await asBoss("group.create", { name })).id;
  const [strong, weak] = [await group("strong"), await group("weak")];
  for (const permission of ["admin:docs", "read:audit"]) await asBoss("access.grant", { principal: strong, permission });
  await asBoss("group.addMember", { group: strong, member: boss.id });
  await asBoss("group.setMemberAdmin", { group: strong, member: boss.id, admin: true });

  const [bot, shared, decoy] = [await makeAgent(victim), await makeAgent(boss), await makeAgent(accomplice)];
  await must(victim.session, "principal.add", { principal: bot }, lobby);
  await must(accomplice.session, "principal.add", { principal: decoy }, lobby);
  await must(boss.session, "agent.transfer", { id: shared, to: strong });
  for (const principal of [bot, shared]) await asBoss("principal.add", { principal });
  const service = await serviceOf(server, (ceiling) => asBoss("secretKey.create", { name: unique(), ...(ceiling && { ceiling }) }));
  for (const principal of [bot, victim.id, service.id])
    for (const permission of plan.granted) await asBoss("access.grant", { principal, permission });
  await asBoss("access.grant", { principal: shared, permission: "admin" });

  // What awaits the accomplice: none of it counts while they are not on the roster.
  if (plan.accompliceIsMember) await asBoss("principal.add", { principal: accomplice.id });
  else await asBoss("access.grant", { principal: accomplice.id, permission: "admin:tasks" });
  if (plan.accompliceAdministers && !plan.accompliceIsMember) {
    await asBoss("group.addMember", { group: strong, member: accomplice.id });
    await asBoss("group.setMemberAdmin", { group: strong, member: accomplice.id, admin: true });
  }

  // What the key is that is stolen, or that the stolen token came from; and whose.
  const ceiling = plan.stolen.endsWith("ceiling") ? plan.ceiling : undefined;
  const of = plan.stolen.includes("secret key") ? "service" : plan.stolen.includes("agent key") ? "bot" : "victim";
  const key =
    of === "service"
      ? await service.makeKey(ceiling)
      : await makeKey(victim, { ...(of === "bot" && { agent: bot }), ...(ceiling && { ceiling }) });
  const wanted = { space: here.slug, scope: plan.granted };
  const mint = async (): Promise<string> => {
    const acting = plan.stolen === "token, agent for user";
    const { token } = await must(key.key, "token.create", { ...wanted, ...(acting && { mayAct: bot }) });
    if (!acting) return token;
    const { key: credential } = await makeKey(victim, { agent: bot });
    return (await exchangeToken({ server: server.url, credential }, { ...wanted, subject: token })).token;
  };
  const stolen = plan.stolen.startsWith("token") ? await mint() : key.key;
  const ends = plan.stolen.startsWith("token")
    ? {
        revoke: () => must(key.key, "token.revoke", { token: stolen }),
        // With a token expire those that were minted from it, which live no longer.
        expire: () => server.sql`
          with recursive gone as (
            select id from tokens where id = ${decodeJwt(stolen).jti as string}
            union all select t.id from tokens t join gone on gone.id = t.parent_id)
          update tokens set expires_at = now() - interval '1 second' where id in (select id from gone)`,
      }
    : {
        revoke: () =>
          of === "service" ? asBoss("secretKey.revoke", { id: key.id }) : must(victim.session, "apiKey.delete", { id: key.id }),
        expire: () => server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${key.id}`,
      };
  return {
    plan,
    spaces: [here, there],
    groups: { strong, weak } as Record<string, string>,
    /** Everybody who can be named. */
    principals: { boss: boss.id, victim: victim.id, accomplice: accomplice.id, bot, shared, decoy, service: service.id } as Record<
      string,
      string
    >,
    /** Those whose owner is to stay. */
    agents: [bot, shared],
    /** By what calls are made: the stolen credential, and all that the accomplice has of their own. */
    credentials: {
      thief: stolen,
      accomplice: accomplice.session,
      "accomplice's pat": (await makeKey(accomplice, {})).key,
      "accomplice's agent": (await makeKey(accomplice, { agent: decoy })).key,
    } as Record<string, string>,
    /** Filled by what calls answer. */
    invites: [] as string[],
    sessions: [] as string[],
    holds: [] as { run: string; epoch: number }[],
    tokens: [] as string[],
    minted: [] as string[],
    keys: [key.id],
    ...ends,
  };
}

const unique = () => `k-${crypto.randomUUID()}`.slice(0, 30);

/** The service of a space, by the first of its keys. */
async function serviceOf(server: TestServer, makeKey: (ceiling?: string[]) => Promise<{ id: string; key: string }>) {
  const { result } = await server.call((await makeKey()).key, "whoami");
  return { id: result.id as string, makeKey };
}
