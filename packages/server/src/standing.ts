import { type Layer, parsePermission } from "@gatehouse/protocol";
import type { Actor, Standing } from "./actor.ts";
import type { Sql } from "./db.ts";
import { Refusal } from "./refusal.ts";

interface Row {
  id: string | null;
  slug: string;
  name: string;
  createdAt: string;
  admin: boolean | null;
  kind: "u" | "a";
  held: string[] | null;
  ownerPresent: boolean;
  ownerHeld: string[] | null;
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
  actor: { principal: Pick<Actor["principal"], "id">; credential: Pick<Actor["credential"], "ceiling"> },
  { lasting = false }: { lasting?: boolean } = {},
): Promise<Standing | null> {
  const [row] = await sql<Row[]>`
    select s.id, s.slug, s.name, s.created_at, m.admin, p.kind,
           case when m.admin is not null then held(s.id, p.id, m.admin, ${lasting}) end as held,
           p.kind <> 'a' or om.principal_id is not null or coalesce(o.space_id = s.id, false) as owner_present,
           case when m.admin is not null and p.kind = 'a' then held(s.id, o.id, coalesce(om.admin, false), ${lasting}) end as owner_held
    from principals p
    left join live_members m on m.principal_id = p.id and not (${lasting} and m.key_id is not null)
      and m.space_id = coalesce(${"slug" in space ? sql`(select id from spaces where slug = ${space.slug})` : sql`${space.id}::uuid`}, ${NO_SPACE})
    left join spaces s on s.id = m.space_id
    left join principals o on o.id = p.owner_id
    left join live_members om on om.space_id = s.id and om.principal_id = o.id and not (${lasting} and om.key_id is not null)
    where p.id = ${actor.principal.id}`;
  if (!row?.id || row.admin === null) return null;
  const layers: Layer[] = [{ name: "grants", permissions: (row.held ?? []).map(parsePermission) }];
  if (row.kind === "a") layers.push({ name: "owner", permissions: row.ownerPresent ? (row.ownerHeld ?? []).map(parsePermission) : [] });
  if (actor.credential.ceiling) layers.push({ name: "ceiling", permissions: actor.credential.ceiling });
  const { id, slug, name, createdAt, admin, ownerPresent } = row;
  return { space: { id, slug, name, createdAt }, admin, ownerPresent, layers };
}

const SLUG = /^[a-z0-9]{12}$/;

/**
 * Lets a caller into the space that a request names. Whoever is not in it gets in as a stranger
 * (standing null), whom every call refuses alike.
 * @throws Refusal INVALID_REQUEST when the request names none
 */
export async function enterSpace(sql: Sql, actor: Actor, slug: string | undefined): Promise<Actor> {
  if (slug === undefined) throw new Refusal("INVALID_REQUEST", "Name the space: X-Me-Space: <slug>. `me space list` shows yours.");
  // What can't be a slug is asked for all the same: a stranger's answer takes the same time.
  return { ...actor, standing: await readStanding(sql, { slug: SLUG.test(slug) ? slug : "" }, actor) };
}
