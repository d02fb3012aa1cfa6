import fc from "fast-check";
import { decodeJwt } from "jose";
import { expect } from "vitest";
import { hashKey, makeKey } from "../packages/server/src/key.ts";
import { covered, isMember } from "./authority-model.ts";
import type { TestServer } from "./harness.ts";
import { ACCESS_TOKEN, EXCHANGE, postForm } from "./oauth.ts";
import { changes, isLive, layersNow, type Minted, minted, missing, type State } from "./token-model.ts";
import { anyWorld, named, newId, type Placed, type World } from "./worlds.ts";

/** With a user and an agent in it who may do something: in most worlds they may do nothing together. */
function withBoth(world: World, user: string, agent: string): World {
  const there = [user, agent, world.owners[agent] as string].filter((who) => !who.startsWith("g") && !isMember(world, who, false));
  const others = world.members.filter(({ who }) => !there.includes(who));
  const grants = [user, agent, world.owners[agent] as string].map((to) => ({ to, permission: "write:docs", tie: "person" as const }));
  return {
    ...world,
    members: [...others, ...[...new Set(there)].map((who) => ({ who, admin: false, tie: "person" as const }))],
    grants: [
      ...world.grants.filter(({ permission }) => permission !== "write:docs"),
      ...grants.filter(({ to }, i) => grants.findIndex((one) => one.to === to) === i),
    ],
  };
}

/** What is tried in a world: with which credential, for which scopes, and what happens then. */
export const anyTrial = fc
  .record({
    world: anyWorld,
    kind: fc.constantFrom("session", "key", "key", "agent", "agent", "agent", "service", "acting", "acting", "acting"),
    who: fc.nat(2),
    agent: fc.nat(2),
    /** Whether the credential has a ceiling. */
    limited: fc.boolean(),
    expires: fc.boolean(),
    asked: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    later: fc.array(fc.record({ change: fc.constantFrom(...Object.keys(changes), "revoke the parent"), pick: fc.nat() }), {
      minLength: 2,
      maxLength: 5,
    }),
  })
  .map((trial) => (trial.kind === "acting" ? { ...trial, world: withBoth(trial.world, `u${trial.who}`, `a${trial.agent}`) } : trial));
export type Trial = typeof anyTrial extends fc.Arbitrary<infer T> ? T : never;

/** A credential or a token, by the secret itself and as the model has it. */
export interface Held {
  secret: string;
  expiresAt: string | null;
  model: Minted;
}

/** A server, and what opens a session of a user by id. */
export interface Ground {
  server: TestServer;
  session(userId: string): Promise<string>;
}

/** How often what came of a trial. */
export const seen = { minted: 0, refused: 0, acting: 0, yes: 0, no: 0, dead: 0 };

/** Puts the service of the space beside everybody. */
export async function withService(ground: Ground, { world, id }: Placed): Promise<World> {
  const grants = ["admin:tasks", "write:docs:a"].map((permission) => ({ to: "s0", permission, tie: "person" as const }));
  id.s0 = newId();
  await ground.server.sql`insert into principals (id, kind, name, space_id) values (${id.s0}, 's', 'service', ${id.space as string})`;
  await ground.server.sql`insert into members (space_id, principal_id) values (${id.space as string}, ${id.s0})`;
  for (const { permission } of grants)
    await ground.server
      .sql`insert into grants (id, space_id, principal_id, permission) values (${newId()}, ${id.space as string}, ${id.s0}, ${permission})`;
  return { ...world, members: [...world.members, { who: "s0", admin: false, tie: "person" }], grants: [...world.grants, ...grants] };
}

/** A key, as the server makes it. */
async function keyOf(ground: Ground, who: string, id: Placed["id"], ceiling: string[] | null, expiresAt: string | null): Promise<Held> {
  const secret = makeKey(who.startsWith("a") ? "agent_key" : who.startsWith("s") ? "secret_key" : "pat");
  const [key, texts] = [newId(), ceiling?.map((text) => named(text, id)) ?? null];
  await ground.server.sql`
    insert into api_keys (id, principal_id, name, hash, hint, ceiling, expires_at)
    values (${key}, ${id[who] as string}, ${key}, ${hashKey(secret)}, '', ${texts}, ${expiresAt})`;
  return { secret, expiresAt, model: { by: [{ who, ceiling, hangsOn: [] }], scopes: [], hangsOn: [`key ${who}`] } };
}

export async function credential(ground: Ground, { kind, who, world, limited, expires }: Trial, id: Placed["id"]): Promise<Held> {
  const name = kind === "service" ? "s0" : `${kind === "agent" ? "a" : "u"}${who}`;
  if (kind === "session")
    return {
      secret: await ground.session(id[name] as string),
      expiresAt: null,
      model: { by: [{ who: name, ceiling: null, hangsOn: [] }], scopes: [], hangsOn: [`session ${name}`] },
    };
  return keyOf(ground, name, id, limited ? world.ceiling : null, expires ? new Date(Date.now() + 1_800_000).toISOString() : null);
}

/** What could be asked for in a world: what somebody holds there, and what nobody may. */
const askable = ({ world: { grants, questions, ceiling } }: Trial): string[] => [
  ...new Set([
    ...grants.map(({ permission }) => permission),
    ...questions,
    ...(ceiling ?? []),
    "read:groups:@g0",
    "write:docs:a/b",
    "read:tasks",
  ]),
];

/** The scopes that are asked for: some at random, and last all that may be had. */
function scopesOf(trial: Trial, state: State, from: Held): string[][] {
  const all = askable(trial);
  const had = all.filter((text) => missing(state, from.model, [text])?.length === 0);
  const some = trial.asked.map((n, i) => [...new Set([all[n % all.length], had[(n >> 8) % (had.length || 1)] ?? all[i]])] as string[]);
  return had.length > 0 ? [...some, had] : some;
}

/** Asks for tokens, each of which is minted or refused as the model says. @returns the last that was */
export async function mintAll(ground: Ground, trial: Trial, { id, slug }: Placed, from: Held, state: State): Promise<Held | undefined> {
  const scopes = scopesOf(trial, state, from);
  const calls = scopes.map((scope, i) => ({
    jsonrpc: "2.0",
    id: i,
    method: "token.create",
    params: { space: slug, scope: scope.map((text) => named(text, id)) },
  }));
  const { text } = await ground.server.post(JSON.stringify(calls), { authorization: `Bearer ${from.secret}` });
  let last: Held | undefined;
  for (const { id: i, result, error } of JSON.parse(text)) {
    const scope = scopes[i] as string[];
    const lacking = missing(state, from.model, scope)?.map((text) => named(text, id));
    const told = result ? [] : error.data.code === "NOT_FOUND" ? undefined : (error.data.missing ?? error);
    expect(told, `the scope ${scope.join(" ")}`).toEqual(lacking);
    seen[result ? "minted" : "refused"]++;
    if (!result) continue;
    if (from.expiresAt) expect(Date.parse(result.expiresAt)).toBeLessThanOrEqual(Date.parse(from.expiresAt));
    last = { secret: result.token, expiresAt: result.expiresAt, model: minted(from.model, result.id, scope) };
  }
  return last;
}

/** True if a credential may name an agent to act: its limits, if it has any, include read:members. */
const mayName = ({ model: { by, scopes } }: Held): boolean =>
  [...by.map(({ ceiling }) => ceiling ?? ["admin"]), ...scopes].every((limit) => covered(limit, "read:members"));

/** An agent gets a token to act for the user whose credential it is. */
export async function acting(ground: Ground, trial: Trial, { id, slug }: Placed, user: Held, state: State): Promise<Held | undefined> {
  const who = `a${trial.agent}`;
  const scope = scopesOf(trial, state, user).at(-1) as string[];
  const asked = { space: slug, scope: scope.map((text) => named(text, id)), mayAct: id[who] as string };
  const { result, error } = await ground.server.call(user.secret, "token.create", asked);
  const may = missing(state, user.model, scope)?.length === 0 && isMember(state.world, who, false) && mayName(user);
  expect(error === undefined, `${scope.join(" ")} for ${who}`).toBe(may);
  if (!result) return undefined;
  const soon = new Date(Date.now() + 900_000).toISOString();
  const agent = await keyOf(ground, who, id, trial.limited ? null : trial.world.ceiling, trial.expires ? null : soon);
  const subject = minted(user.model, result.id, scope);
  const both: Minted = {
    by: [...user.model.by, ...agent.model.by],
    scopes: subject.scopes,
    hangsOn: [...subject.hangsOn, ...agent.model.hangsOn],
  };
  let last: Held | undefined;
  for (const wanted of scopesOf(trial, state, { ...user, model: both })) {
    const form = { grant_type: EXCHANGE, subject_token: result.token, subject_token_type: ACCESS_TOKEN, space: slug };
    const scopeText = wanted.map((text) => named(text, id)).join(" ");
    const { body } = await postForm(
      `${ground.server.url}/api/v1/token`,
      { ...form, scope: scopeText },
      { authorization: `Bearer ${agent.secret}` },
    );
    const lacking = missing(state, both, wanted)?.map((text) => named(text, id));
    expect(body.access_token ? [] : body.missing, scopeText).toEqual(lacking);
    if (!body.access_token) continue;
    seen.acting++;
    const claims = decodeJwt(body.access_token) as { exp: number; jti: string };
    const ends = [user.expiresAt, agent.expiresAt, result.expiresAt].flatMap((end) => (end === null ? [] : Date.parse(end) / 1000));
    expect(claims.exp).toBeLessThanOrEqual(Math.min(...ends));
    last = { secret: body.access_token, expiresAt: new Date(claims.exp * 1000).toISOString(), model: minted(both, claims.jti, wanted) };
  }
  return last;
}

/** What a credential may do now, of what is asked; "dead" when it is good for nothing. */
async function ask(ground: Ground, secret: string, slug: string, asked: string[]): Promise<boolean[] | "dead"> {
  const calls = asked.map((permission, i) => ({ jsonrpc: "2.0", id: i, method: "access.check", params: { permission } }));
  const { status, text } = await ground.server.post(JSON.stringify(calls), { authorization: `Bearer ${secret}`, "x-me-space": slug });
  if (status === 401) return "dead";
  const allowed = new Array<boolean>(asked.length).fill(false);
  for (const { id, result } of JSON.parse(text)) allowed[id] = result?.allowed === true;
  return allowed;
}

/** A token may do what the model says, and nothing that its source may not. */
export async function agrees(
  ground: Ground,
  token: Held,
  source: Held,
  state: State,
  { id, slug, world }: Placed,
  when: string,
): Promise<void> {
  const asked = [...new Set([...world.questions, ...token.model.scopes.flat()])];
  const texts = asked.map((text) => named(text, id));
  const [mine, its] = [await ask(ground, token.secret, slug, texts), await ask(ground, source.secret, slug, texts)];
  const layers = layersNow(state, token.model);
  const expected = isLive(state, token.model) ? asked.map((text) => layers?.every((layer) => covered(layer, text)) ?? false) : "dead";
  expect(mine, `${when}: ${asked.join(" ")}`).toEqual(expected);
  if (mine === "dead") seen.dead++;
  else
    for (const [i, allowed] of mine.entries()) {
      if (allowed) expect(its !== "dead" && its[i], `${when} a token may ${asked[i]}, and its source may not`).toBe(true);
      seen[allowed ? "yes" : "no"]++;
    }
}
