import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { ACCESS_TOKEN, bearer, EXCHANGE, exchange, postForm } from "./oauth.ts";
import { breaches, codeOf, countBy, whileLocked } from "./rivals.ts";
import { isGood, makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

// A token is minted at the moment in which what it comes from ends. Afterwards none lives whose source is dead.

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

/** What ends a source, and the token by which the crowd mints. */
interface Race {
  world: TokenWorld;
  credential: string;
  end(): Promise<{ error?: { data: { code: string } } } | Response>;
}

const inSpace = ({ ada, space }: TokenWorld, method: string, params: object) => server.call(ada.session, method, params, space.slug);

/** Every source, by what ends it. */
const races: Record<string, (world: TokenWorld) => Promise<Race>> = {
  "the key is revoked": async (world) => ({
    world,
    credential: world.helper.key,
    end: () => server.call(world.bob.session, "apiKey.delete", { id: world.helper.keyId }),
  }),
  "the key is rotated": async (world) => ({
    world,
    credential: world.helper.key,
    end: () => server.call(world.bob.session, "apiKey.rotate", { id: world.helper.keyId, overlapHours: 0 }),
  }),
  "the member is removed": async (world) => ({
    world,
    credential: world.bobs.key,
    end: () => inSpace(world, "principal.remove", { principal: world.bob.id }),
  }),
  "the agent is removed": async (world) => ({
    world,
    credential: world.helper.key,
    end: () => inSpace(world, "principal.remove", { principal: world.helper.id }),
  }),
  "the agent is deleted": async (world) => ({
    world,
    credential: world.helper.key,
    end: () => server.call(world.bob.session, "agent.delete", { id: world.helper.id }),
  }),
  "the user signs out": async (world) => ({
    world,
    credential: world.bob.session,
    end: () =>
      fetch(`${server.url}/api/auth/sign-out`, {
        method: "POST",
        headers: { authorization: `Bearer ${world.bob.session}`, origin: server.url, "content-type": "application/json" },
        body: "{}",
      }),
  }),
  "the parent is revoked": async (world) => {
    const { token } = await mint(world, world.bobs.key, "admin:tasks");
    return { world, credential: token, end: () => server.call(world.bobs.key, "token.revoke", { token }) };
  },
  "the member is removed, and the token has a parent": async (world) => {
    const { token } = await mint(world, world.bobs.key, "admin:tasks");
    return { world, credential: token, end: () => inSpace(world, "principal.remove", { principal: world.bob.id }) };
  },
  "the secret key is revoked": async (world) => ({
    world,
    credential: world.secret.key,
    end: () => inSpace(world, "secretKey.revoke", { id: world.secret.id }),
  }),
  "the space is deleted": async (world) => ({
    world,
    credential: world.bobs.key,
    end: () => server.call(world.ada.session, "space.delete", { slug: world.space.slug, confirm: world.space.slug }),
  }),
};

test.each(Object.keys(races))("while %s, a crowd mints: none of its tokens is good afterwards", async (name) => {
  const { world, credential, end } = await (races[name] as (typeof races)[string])(await makeTokenWorld(server));
  const asked = { space: world.space.slug, scope: ["read:tasks:support"] };
  const crowd = Array.from({ length: 40 }, (_, i) => (i === 20 ? end() : server.call(credential, "token.create", asked)));
  const answers = await Promise.all(crowd);
  const ended = answers[20] as Awaited<ReturnType<typeof end>>;
  expect(ended instanceof Response ? ended.status : codeOf(ended)).toBe(ended instanceof Response ? 200 : "ok");
  const mints = answers.filter((_, i) => i !== 20) as Awaited<ReturnType<TestServer["call"]>>[];
  // Refused is refused: of what failed by the race, nothing is the server's failure.
  expect(
    Object.keys(countBy(mints.map(codeOf))).filter((code) => !["ok", "UNAUTHENTICATED", "NOT_FOUND", "CONFLICT"].includes(code)),
  ).toEqual([]);
  for (const { result } of mints) if (result) expect(await isGood(server, result.token)).toBe(false);
  expect(await orphans(server), name).toEqual([]);
  expect(await breaches(server.sql)).toEqual([]);
});

/** Tokens that live by their row, and whose source does not. */
async function orphans({ sql }: TestServer): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select t.id from live_tokens t
    left join api_keys k on k.id = t.key_id
    left join auth.session e on e.id = t.session_id
    left join tokens p on p.id = t.parent_id
    left join members m on m.space_id = t.space_id and m.principal_id = t.principal_id
    left join members am on am.space_id = t.space_id and am.principal_id = t.actor_id
    left join api_keys ak on ak.id = t.actor_key_id
    where m.principal_id is null or (t.key_id is not null and k.id is null) or (t.session_id is not null and e.id is null)
      or (t.parent_id is not null and p.id is null) or (t.actor_id is not null and (am.principal_id is null or ak.id is null))`;
  return rows.map(({ id }) => id);
}

test.each([
  { first: "mint", answers: ["ok", "ok"] },
  { first: "end", answers: ["UNAUTHENTICATED", "ok"] },
])("a mint and the end of its key, each seen by the other, in order: $first is first", async ({ first, answers }) => {
  const world = await makeTokenWorld(server);
  const started: Record<string, ReturnType<TestServer["call"]>> = {};
  const calls = {
    mint: () => server.call(world.helper.key, "token.create", { space: world.space.slug, scope: ["read:tasks:support"] }),
    end: () => server.call(world.bob.session, "apiKey.delete", { id: world.helper.keyId }),
  };
  expect(await isGood(server, world.helper.key)).toBe(true); // its use is noted now, and not within the race
  const order = first === "mint" ? (["mint", "end"] as const) : (["end", "mint"] as const);
  // Both have been let in before either of them does anything.
  await whileLocked(server.sql, "select from api_keys where id = $1 for update", world.helper.keyId, async (waiting) => {
    for (const [i, name] of order.entries()) {
      started[name] = calls[name]();
      await waiting(i + 1);
    }
  });
  const [minted, ended] = await Promise.all([started.mint, started.end]);
  expect([codeOf(minted as object), codeOf(ended as object)]).toEqual(answers);
  if (minted?.result) expect(await isGood(server, minted.result.token)).toBe(false);
  expect(await orphans(server)).toEqual([]);
});

test.each(["the subject's token is revoked", "the agent's key is revoked", "the agent is removed", "the user is removed"])(
  "while %s, a crowd of exchanges gets nothing that lasts",
  async (name) => {
    const world = await makeTokenWorld(server);
    const subject = await mint(world, world.bobs.key, "admin:tasks", { mayAct: world.helper.id });
    const ends: Record<string, () => ReturnType<TestServer["call"]>> = {
      "the subject's token is revoked": () => server.call(world.bobs.key, "token.revoke", { token: subject.token }),
      "the agent's key is revoked": () => server.call(world.bob.session, "apiKey.delete", { id: world.helper.keyId }),
      "the agent is removed": () => inSpace(world, "principal.remove", { principal: world.helper.id }),
      "the user is removed": () => inSpace(world, "principal.remove", { principal: world.bob.id }),
    };
    const form = {
      grant_type: EXCHANGE,
      subject_token: subject.token,
      subject_token_type: ACCESS_TOKEN,
      space: world.space.slug,
      scope: "read:tasks:support",
    };
    const once = () => postForm(`${server.url}/api/v1/token`, form, { authorization: `Bearer ${world.helper.key}` });
    const before = await exchange(
      server.url,
      subject.token,
      { space: world.space.slug, scope: "read:tasks:support" },
      bearer(world.helper.key),
    );
    const crowd = [...Array.from({ length: 15 }, once), ends[name]?.(), ...Array.from({ length: 15 }, once)];
    const answers = (await Promise.all(crowd)) as Awaited<ReturnType<typeof once>>[];
    const made = answers.flatMap(({ body }) => body?.access_token ?? []);
    for (const token of [before.access_token, ...made]) expect(await isGood(server, token)).toBe(false);
    for (const { status } of answers) expect(status ?? 200).toBeLessThan(500);
    expect(await orphans(server)).toEqual([]);
  },
);

test("what the calls of a batch mint, of which one ends their token, is not good afterwards", async () => {
  const world = await makeTokenWorld(server);
  const { token } = await mint(world, world.pat.key, "admin");
  const call = (id: number, method: string, params: object) => ({ jsonrpc: "2.0", id, method, params });
  const create = (id: number) => call(id, "token.create", { space: world.space.slug, scope: ["read"] });
  const calls = Array.from({ length: 40 }, (_, i) => (i === 10 ? call(i, "token.revoke", { token }) : create(i)));
  const { text } = await server.post(JSON.stringify(calls), { authorization: `Bearer ${token}` });
  const answers = JSON.parse(text) as { result?: { token?: string }; error?: { data: { code: string } } }[];
  expect(codeOf(answers[10] as object)).toBe("ok");
  for (const { result } of answers) if (result?.token) expect(await isGood(server, result.token)).toBe(false);
  expect(await orphans(server)).toEqual([]);
});

test("a crowd that revokes and inspects holds nobody up: of what one call needs of the database, none waits for another", async () => {
  const world = await makeTokenWorld(server);
  const minted = await Promise.all(Array.from({ length: 40 }, () => mint(world, world.pat.key, "read")));
  const answers = await Promise.all(
    minted.flatMap(({ token }) => [
      server.call(world.pat.key, "token.revoke", { token }),
      server.call(world.pat.key, "token.inspect", { token }),
      server.call(world.bobs.key, "token.revoke", { token: "me_pat_rubbish" }),
    ]),
  );
  expect(countBy(answers.map(codeOf))).toEqual({ ok: 120 });
  for (const { token } of minted) expect(await isGood(server, token)).toBe(false);
});
