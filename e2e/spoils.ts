import { covers, effective, formatPermission, type Permission, parsePermission } from "@gatehouse/protocol";
import { readStanding } from "../packages/server/src/standing.ts";
import type { TestServer } from "./harness.ts";
import type { Heist } from "./heist.ts";

/** All that somebody could be after. */
export interface Spoils {
  /** What each principal may do in each space, by "principal in space". */
  authority: Map<string, Permission[]>;
  /** What would be somebody's gain if there were more of it, one line each. */
  things: Set<string>;
}

/** What a principal may do in a space by a credential with that ceiling: nothing, where their owner is gone. */
async function authorityOf(server: TestServer, id: string, spaceId: string, ceiling: Permission[] | null = null): Promise<Permission[]> {
  const standing = await readStanding(server.sql, { id: spaceId }, { principal: { id }, credential: { ceiling } });
  return standing?.ownerPresent ? effective(standing.layers) : [];
}

/** What the stolen credential may do at this moment, in each space. */
export async function reachOf(server: TestServer, { spaces, stolen, stolenFrom }: Heist): Promise<Map<string, Permission[]>> {
  const [key] = await server.sql<{ ceiling: string[] | null }[]>`
    select ceiling from api_keys where id = ${stolen.id} and key_lives(id)`;
  const reach = (id: string) => (key ? authorityOf(server, stolenFrom, id, key.ceiling?.map(parsePermission) ?? null) : []);
  return new Map(await Promise.all(spaces.map(async ({ id }) => [id, await reach(id)] as const)));
}

/** Takes stock: of everybody in the database, whether they were there from the first or not. */
export async function takeStock(server: TestServer, { spaces, principals, agents }: Heist): Promise<Spoils> {
  const { sql } = server;
  const ids = spaces.map(({ id }) => id);
  const present = await sql<
    { space: string; who: string }[]
  >`select space_id as space, principal_id as who from members where space_id = any(${ids})`;
  const authority = new Map(
    await Promise.all(present.map(async ({ space, who }) => [`${who} in ${space}`, await authorityOf(server, who, space)] as const)),
  );
  // What the accomplice does with what is their own is nobody's loss.
  const mine = principals.accomplice as string;
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
  return { authority, things: new Set(things.map(({ thing }) => thing)) };
}

/** What there is in `after` that is neither in `before` nor within the reach given for its space. @returns one line for each */
export function gains(before: Spoils, after: Spoils, reach: Map<string, Permission[]>, watched: RegExp): string[] {
  const more = [...after.authority].flatMap(([where, permissions]) => {
    const own = [...(before.authority.get(where) ?? []), ...(reach.get(where.split(" in ")[1] as string) ?? [])];
    const over = permissions.filter((one) => !own.some((held) => covers(held, one)));
    return over.map((one) => `${where} may ${formatPermission(one)}`);
  });
  return [...more, ...after.things.difference(before.things)].filter((line) => line.includes(" may ") || watched.test(line));
}
