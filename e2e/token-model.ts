import { covered, isMember, layersOf, without } from "./authority-model.ts";
import type { World } from "./worlds.ts";

// What a token may do in a world, worked out in the plainest way: whose layers it has, and what it hangs on. It shares no
// code with the server.

/** A credential of somebody in a world. */
export interface Source {
  who: string;
  ceiling: string[] | null;
  /** What it is, by the names that a change ends: the key, the session. */
  hangsOn: string[];
}

/** A token: the credentials it came from, an agent's last if it acts for a user, and the scopes it went through. */
export interface Minted {
  by: Source[];
  scopes: string[][];
  hangsOn: string[];
}

/** What is so now: the world, and the names of all that has ended. */
export interface State {
  world: World;
  ended: ReadonlySet<string>;
}

const lives = ({ ended }: State, names: readonly string[]) => names.every((name) => !ended.has(name));

/** Whether a credential is good for anything at all. */
export const isLive = (state: State, { hangsOn }: { hangsOn: string[] }): boolean => lives(state, hangsOn);

/** The layers of a credential or token; null where it gets no further than the door of the space. */
export function layersNow(state: State, { by, scopes }: Pick<Minted, "by" | "scopes">): string[][] | null {
  if (state.ended.has("space")) return null;
  const each = by.map(({ who, ceiling }) => layersOf(state.world, who, ceiling));
  if (each[0] === null) return null;
  return [...each.flatMap((layers) => layers ?? [[]]), ...scopes];
}

/** What is missing of a scope that is asked for; undefined where there is no such space for who asks. */
export const missing = (state: State, from: Pick<Minted, "by" | "scopes">, scope: string[]): string[] | undefined => {
  const layers = layersNow(state, from);
  return layers === null ? undefined : scope.filter((asked) => !layers.every((layer) => covered(layer, asked)));
};

/** The token that is minted of a credential or a token, for one scope. */
export const minted = (from: Minted, id: string, scope: string[]): Minted => ({
  by: from.by,
  scopes: [...from.scopes, scope],
  hangsOn: [...from.hangsOn, ...from.by.map(({ who }) => `member ${who}`), "space", `token ${id}`],
});

/** What is so once a change is made, and how the database is told: a statement of SQL with names for ids. */
export type Change = (state: State, pick: number, source: Source) => { after: State; tell: Tell } | undefined;
type Tell = { sql: string; params: string[] };

const one = <T>(of: readonly T[], pick: number): T | undefined => of[pick % of.length];
const ending = ({ world, ended }: State, ...names: string[]): State => ({ world, ended: new Set([...ended, ...names]) });
const inWorld = ({ ended, world }: State, changed: Partial<World>): State => ({ ended, world: { ...world, ...changed } });
const everybody = ["u0", "u1", "u2", "a0", "a1", "a2"];
const groups = ["g0", "g1"];

/** Whatever may happen after a token was minted. What is not possible in a state is undefined. */
export const changes: Record<string, Change> = {
  grant(state, pick) {
    const to = one([...everybody, ...groups], pick) as string;
    const permission = one(["admin", "read", "write:docs:a", "admin:tasks"], pick >> 3) as string;
    if (state.ended.has(`principal ${to}`) || state.world.grants.some((grant) => grant.to === to && grant.permission === permission))
      return undefined;
    const sql = "insert into grants (id, space_id, principal_id, permission) values ($3, $1, $2, $4)";
    const grants = [...state.world.grants, { to, permission, tie: "person" as const }];
    return { after: inWorld(state, { grants }), tell: { sql, params: ["space", to, "new", `=${permission}`] } };
  },
  revoke(state, pick) {
    const gone = one(state.world.grants, pick);
    if (!gone) return undefined;
    const sql = "delete from grants where space_id = $1 and principal_id = $2 and permission = $3";
    const grants = state.world.grants.filter((grant) => grant !== gone);
    return { after: inWorld(state, { grants }), tell: { sql, params: ["space", gone.to, `=${gone.permission}`] } };
  },
  remove: (state, pick) => leaving(state, one(state.world.members, pick)?.who),
  "remove the source": (state, _pick, { who }) => leaving(state, state.world.members.find((member) => member.who === who)?.who),
  "remove the owner"(state, _pick, { who }) {
    const owner = state.world.owners[who];
    return leaving(state, state.world.members.find((member) => member.who === owner)?.who);
  },
  join(state, pick) {
    const who = one(
      everybody.filter((who) => !state.ended.has(`principal ${who}`) && !state.world.members.some((member) => member.who === who)),
      pick,
    );
    if (who === undefined) return undefined;
    const members = [...state.world.members, { who, admin: false, tie: "person" as const }];
    const sql = "insert into members (space_id, principal_id) values ($1, $2)";
    return { after: inWorld(state, { members }), tell: { sql, params: ["space", who] } };
  },
  "leave a group"(state, pick) {
    const gone = one(state.world.inGroups, pick);
    if (!gone) return undefined;
    const inGroups = state.world.inGroups.filter((row) => row !== gone);
    const sql = "delete from group_members where group_id = $1 and principal_id = $2";
    return { after: inWorld(state, { inGroups }), tell: { sql, params: [gone.group, gone.who] } };
  },
  "join a group"(state, pick) {
    const [group, who] = [one(groups, pick) as string, one(everybody, pick >> 1) as string];
    if (state.ended.has(`principal ${who}`) || state.ended.has(`principal ${group}`)) return undefined;
    if (state.world.inGroups.some((row) => row.group === group && row.who === who)) return undefined;
    const inGroups = [...state.world.inGroups, { group, who, admin: false, tie: "person" as const }];
    const sql = "insert into group_members (group_id, principal_id) values ($1, $2)";
    return { after: inWorld(state, { inGroups }), tell: { sql, params: [group, who] } };
  },
  "delete a group"(state, pick) {
    const owners = Object.values(state.world.owners);
    const group = one(
      groups.filter((group) => !owners.includes(group) && !state.ended.has(`principal ${group}`)),
      pick,
    );
    return group === undefined ? undefined : gone(state, group);
  },
  "delete the agent": (state, _pick, { who }) =>
    who.startsWith("a") && !state.ended.has(`principal ${who}`) ? gone(state, who) : undefined,
  "transfer the agent"(state, pick, { who }) {
    if (!who.startsWith("a") || state.ended.has(`principal ${who}`)) return undefined;
    const owner = one(["u0", "u1", "u2"], pick) as string;
    const sql = "with moved as (update principals set owner_id = $2 where id = $1) delete from api_keys where principal_id = $1";
    const stays = owner === state.world.owners[who] || isMember(state.world, owner, false);
    const { ended } = ending(state, `key ${who}`, ...(stays ? [] : [`member ${who}`]));
    const after = inWorld(
      { ended, world: stays ? state.world : without(state.world, who) },
      { owners: { ...state.world.owners, [who]: owner } },
    );
    return { after, tell: { sql, params: [who, owner] } };
  },
  "revoke the key": (state, _pick, { who }) => ({
    after: ending(state, `key ${who}`),
    tell: { sql: "delete from api_keys where principal_id = $1", params: [who] },
  }),
  "rotate the key": (state, _pick, { who }) => ({
    after: ending(state, `key ${who}`),
    tell: {
      sql: "update api_keys set hash = sha256(hash), previous_hash = null, previous_expires_at = null where principal_id = $1",
      params: [who],
    },
  }),
  "sign out": (state, _pick, { who }) => ({
    after: ending(state, `session ${who}`),
    tell: { sql: `delete from auth.session where "userId" = $1`, params: [who] },
  }),
  // A group that owns agents keeps its space.
  "delete the space"(state) {
    if (Object.values(state.world.owners).some((owner) => owner.startsWith("g"))) return undefined;
    return { after: ending(state, "space"), tell: { sql: "delete from spaces where id = $1", params: ["space"] } };
  },
};

function leaving(state: State, who: string | undefined) {
  if (who === undefined) return undefined;
  const { members, owners } = state.world;
  const goers = members.filter((member) => member.who === who || owners[member.who] === who).map((member) => `member ${member.who}`);
  const after = { ended: ending(state, ...goers).ended, world: without(state.world, who) };
  return { after, tell: { sql: "delete from members where space_id = $1 and principal_id = $2", params: ["space", who] } };
}

function gone(state: State, who: string) {
  const world = without(state.world, who);
  const inGroups = world.inGroups.filter(({ group }) => group !== who);
  const after = inWorld({ world, ended: ending(state, `principal ${who}`, `key ${who}`, `member ${who}`).ended }, { inGroups });
  return { after, tell: { sql: "delete from principals where id = $1", params: [who] } };
}
