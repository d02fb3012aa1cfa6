import { covers, effective, formatPermission, type Permission, parsePermission } from "@gatehouse/protocol";
import { readStanding } from "../packages/server/src/standing.ts";
import type { TestServer } from "./harness.ts";
import type { Heist } from "./heist.ts";

/** All that somebody could be after. */
export interface Spoils {
  /** What each principal may do in each space, by "principal in space". */
  authority: Map<string, readonly Permission[]>;
  /** What would be somebody's gain if there were more of it, one line each. */
  things: Set<string>;
}

type Holder = Parameters<typeof readStanding>[2];

/** What somebody may do in a space by a credential: nothing, where their owner is gone. */
async function authorityOf(server: TestServer, spaceId: string, holder: Holder): Promise<readonly Permission[]> {
  const standing = await readStanding(server.sql, { id: spaceId }, holder);
  return standing?.ownerPresent ? effective(standing.layers) : [];
}

/** What the stolen credential may do at this moment, in each space: as it is told itself. */
export async function reachOf(server: TestServer, { spaces, credentials }: Heist): Promise<Map<string, readonly Permission[]>> {
  const reach = async (slug: string): Promise<readonly Permission[]> => {
    const { result } = await server.call(credentials.thief, "access.effective", {}, slug);
    return (result?.permissions ?? []).map(parsePermission);
  };
  return new Map(await Promise.all(spaces.map(async ({ id, slug }) => [id, await reach(slug)] as const)));
}

/** A token that lives, but for those of the accomplice and of their agents. */
interface Live {
  id: string;
  space: string;
  who: string;
  scope: string[];
  under: string[][];
  ceiling: string[] | null;
  agent: string | null;
  agentCeiling: string[] | null;
}

const liveTokens = (server: TestServer, spaces: string[], mine: string) => server.sql<Live[]>`
  select t.id, t.space_id as space, t.principal_id as who, t.scope, t.under, k.ceiling, t.actor_id as agent, ak.ceiling as agent_ceiling
  from live_tokens t
  join principals p on p.id = t.principal_id
  left join api_keys k on k.id = t.key_id
  left join api_keys ak on ak.id = t.actor_key_id
  left join auth.session s on s.id = t.session_id
  where t.space_id = any(${spaces}) and p.id <> ${mine} and p.owner_id is distinct from ${mine}
    and secret_lives(t.key_id, t.key_hash) and secret_lives(t.actor_key_id, t.actor_key_hash)
    and (t.session_id is null or s."expiresAt" > now())`;

/** Somebody as they come by a token. */
const byToken = ({ who, scope, under, ceiling, agent, agentCeiling }: Live): Holder => ({
  principal: { id: who },
  credential: {
    ceiling: ceiling?.map(parsePermission) ?? null,
    scope: scope.map(parsePermission),
    under: under.map((layer) => layer.map(parsePermission)),
  },
  ...(agent && { act: { principal: { id: agent, name: "" }, owner: null, ceiling: agentCeiling?.map(parsePermission) ?? null } }),
});

/** Takes stock: of everybody in the database, whether they were there from the first or not. */
export async function takeStock(server: TestServer, { spaces, principals, agents }: Heist): Promise<Spoils> {
  const { sql } = server;
  const ids = spaces.map(({ id }) => id);
  const present = await sql<
    { space: string; who: string }[]
  >`select space_id as space, principal_id as who from members where space_id = any(${ids})`;
  // What the accomplice does with what is their own is nobody's loss.
  const mine = principals.accomplice as string;
  const tokens = await liveTokens(server, ids, mine);
  const unlimited = (who: string): Holder => ({ principal: { id: who }, credential: { ceiling: null } });
  const authority = new Map(
    await Promise.all([
      ...present.map(async ({ space, who }) => [`${who} in ${space}`, await authorityOf(server, space, unlimited(who))] as const),
      ...tokens.map(
        async (token) => [`token ${token.id} in ${token.space}`, await authorityOf(server, token.space, byToken(token))] as const,
      ),
    ]),
  );
  const things = await sql<{ thing: string }[]>`
    with notable as (select id, owner_id from principals where kind <> 'a' or owner_id <> ${mine})
    select 'member ' || principal_id || ' of ' || space_id as thing from live_members where space_id = any(${ids})
    union all select 'admin ' || principal_id || ' of ' || space_id from members where admin and space_id = any(${ids})
    union all select 'admin ' || gm.principal_id || ' of group ' || group_id from group_members gm
      join principals g on g.id = gm.group_id where gm.admin and g.space_id = any(${ids})
    union all select 'key ' || k.id || ' of ' || k.principal_id from api_keys k join notable n on n.id = k.principal_id
      where key_lives(k.id) and k.principal_id <> ${mine}
    union all select 'session ' || id || ' of ' || "userId" from auth.session where "userId" <> ${mine}
    union all select 'owner ' || owner_id || ' of ' || id from principals
      where id = any(${agents})
    union all select 'invitation ' || id from invites i where space_id = any(${ids}) and i.expires_at > now() and key_lives(i.key_id)`;
  const minted = tokens.map(({ id, who }) => `token ${id} of ${who}`);
  return { authority, things: new Set([...things.map(({ thing }) => thing), ...minted]) };
}

/** What there is in `after` that is neither in `before` nor within the reach given for its space. @returns one line for each */
export function gains(before: Spoils, after: Spoils, reach: Map<string, readonly Permission[]>, watched: RegExp): string[] {
  const more = [...after.authority].flatMap(([where, permissions]) => {
    const own = [...(before.authority.get(where) ?? []), ...(reach.get(where.split(" in ")[1] as string) ?? [])];
    const over = permissions.filter((one) => !own.some((held) => covers(held, one)));
    return over.map((one) => `${where} may ${formatPermission(one)}`);
  });
  return [...more, ...after.things.difference(before.things)].filter((line) => line.includes(" may ") || watched.test(line));
}
