import { type Layer, type LayerName, splitPermission } from "@gatehouse/protocol";
import type { Actor, Standing } from "./actor.ts";
import type { Sql } from "./db.ts";
import { countPermissions } from "./meter.ts";
import { Refusal } from "./refusal.ts";

interface Row {
  id: string | null;
  slug: string;
  name: string;
  createdAt: string;
  admin: boolean | null;
  kind: Actor["principal"]["kind"];
  held: string[] | null;
  ownerPresent: boolean;
  ownerHeld: string[] | null;
}

const SLUG = /^[a-z0-9]{12}$/;
/** Whose standing is read. */
interface Holder extends Pick<Actor, "act"> {
  principal: Pick<Actor["principal"], "id">;
  credential: Pick<Actor["credential"], "ceiling" | "scope" | "under">;
}

/** Looked for on the roster where there is no space: a stranger's answer takes the same time. */
const NO_SPACE = "00000000-0000-0000-0000-000000000000";

/**
 * Reads where a principal stands in a space, in one round trip. It costs the same whether the space
 * exists or not, and whatever other members were granted.
 * @param space its slug, or its id
 * @param options.lasting leaves out all that keys have made
 * @returns null for whoever is not in it, which includes everybody where there is no such space
 */
export async function readStanding(
  sql: Sql,
  space: { slug: string } | { id: string },
  actor: Holder,
  { lasting = false }: { lasting?: boolean } = {},
): Promise<Standing | null> {
  const [row] = await sql<Row[]>`
    select s.id, s.slug, s.name, s.created_at, m.admin, p.kind,
           case when m.admin is not null then held(s.id, p.id, m.admin, ${lasting}) end as held,
           p.kind <> 'a' or om.principal_id is not null or coalesce(o.space_id = s.id, false) as owner_present,
           case when m.admin is not null and p.kind = 'a' then held(s.id, o.id, coalesce(om.admin, false), ${lasting}) end as owner_held
    from principals p
    left join live_members m on m.principal_id = p.id and not (${lasting} and m.key_id is not null)
      and m.space_id = ${"slug" in space ? idOf(sql, space.slug) : sql`coalesce(${space.id}::uuid, ${NO_SPACE})`}
    left join spaces s on s.id = m.space_id
    left join principals o on o.id = p.owner_id
    left join live_members om on om.space_id = s.id and om.principal_id = o.id and not (${lasting} and om.key_id is not null)
    where p.id = ${actor.principal.id}`;
  if (!row?.id || row.admin === null) return null;
  countPermissions((row.held?.length ?? 0) + (row.ownerHeld?.length ?? 0));
  const layers: Layer[] = [{ name: "grants", permissions: (row.held ?? []).map(splitPermission) }];
  if (row.kind === "a") layers.push({ name: "owner", permissions: row.ownerPresent ? (row.ownerHeld ?? []).map(splitPermission) : [] });
  if (actor.credential.ceiling) layers.push({ name: "ceiling", permissions: actor.credential.ceiling });
  const { id, slug, name, createdAt, admin } = row;
  const acting = actor.act && (await readActing(sql, id, actor.act, lasting));
  layers.push(...(acting?.layers ?? []));
  const { scope, under = [] } = actor.credential;
  if (scope) for (const permissions of [scope, ...under]) layers.push({ name: "token", permissions });
  return { space: { id, slug, name, createdAt }, admin, ownerPresent: row.ownerPresent && (acting?.ownerPresent ?? true), layers };
}

const ofActor: Partial<Record<LayerName, LayerName>> = { grants: "actor", owner: "actor-owner", ceiling: "actor-ceiling" };

/** What an agent that acts for somebody may do itself: layers over theirs. Nothing, where it is not in the space. */
async function readActing(sql: Sql, id: string, { principal, ceiling }: NonNullable<Actor["act"]>, lasting: boolean) {
  const standing = await readStanding(sql, { id }, { principal, credential: { ceiling } }, { lasting });
  const layers = standing?.layers ?? [{ name: "grants" as const, permissions: [] }];
  return {
    ownerPresent: standing?.ownerPresent ?? false,
    layers: layers.map((layer) => ({ ...layer, name: ofActor[layer.name] ?? layer.name })),
  };
}

/** What can't be a slug is looked for all the same: a stranger's answer takes the same time. */
const idOf = (sql: Sql, slug: string) => sql`coalesce((select id from spaces where slug = ${SLUG.test(slug) ? slug : ""}), ${NO_SPACE})`;

/** A key on which somebody's standing hangs, whose it is, and when it expires: RFC 3339; null = never. */
export interface Tie {
  id: string;
  principalId: string;
  expiresAt: string | null;
}

/**
 * Reads which keys have made any of what a caller has in a space, its owner, or the agent that acts for it: that goes with its key.
 * @returns their ids, whose they are (all keys of a person may be revoked at once), and when they expire
 */
export async function readTies(sql: Sql, slug: string, { principal, act }: Pick<Holder, "principal" | "act">): Promise<Tie[]> {
  const callers = [principal.id, ...(act ? [act.principal.id] : [])];
  return sql<Tie[]>`
    with space as materialized (select ${idOf(sql, slug)} as id),
    holders as materialized (
      select id from principals where id = any(${callers}::uuid[])
      union select owner_id from principals where id = any(${callers}::uuid[]) and owner_id is not null),
    mine as materialized (
      select gm.group_id as id, gm.key_id from group_members gm
      where gm.principal_id = any(array(select id from holders))
        and exists (select from principals p where p.id = gm.group_id and p.space_id = (select id from space) offset 0))
    select id, principal_id, expires_at from api_keys where (expires_at is null or expires_at > now()) and id = any(array(
      select key_id from mine
      union select key_id from members where space_id = (select id from space) and principal_id = any(array(select id from holders))
      union select key_id from grants where space_id = (select id from space)
        and principal_id = any(array(select id from holders union all select id from mine))))`;
}

/**
 * Lets a caller into the space that a request names, or that their credential is bound to. Whoever is not in it gets in as a stranger
 * (standing null), whom every call refuses alike.
 * @throws Refusal INVALID_REQUEST when the request names none
 */
export async function enterSpace(sql: Sql, actor: Actor, asked: string | undefined): Promise<Actor> {
  const { space } = actor.credential;
  const slug = asked ?? space;
  if (slug === undefined) throw new Refusal("INVALID_REQUEST", "Name the space: X-Me-Space: <slug>. `me space list` shows yours.");
  const entered = await readStanding(sql, { slug }, actor);
  return { ...actor, standing: space === undefined || space === slug ? entered : null };
}
