import { decodeJwt } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { bearer, exchange } from "./oauth.ts";

/** Tokens that hang on each membership, and on the session: their number must not matter. */
const MANY = 3000;

let server: TestServer;
let second: TestServer;
let ada: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  second = await startTestServer({ DATABASE_URL: server.databaseUrl });
  ada = await server.user("Ada");
});
afterAll(async () => {
  await second.close();
  await server.close();
});

/** A space of Ada's where Bob is, and an agent of his, with a token of each kind that hangs on something of the space, and many others like it. */
async function makePlace() {
  const { slug, id: space } = await must(server, ada.session, "space.create", { name: "Home" });
  const bob = await server.user("Bob");
  await server.join(slug, ada, bob);
  const { id: bot } = await must(server, bob.session, "agent.create", { name: "bot" });
  const { key } = await must(server, bob.session, "apiKey.create", { agent: bot, name: "key" });
  await must(server, ada.session, "principal.add", { principal: bot }, slug);
  for (const principal of [bob.id, bot]) await must(server, ada.session, "access.grant", { principal, permission: "admin:tasks" }, slug);
  const { key: pat } = await must(server, bob.session, "apiKey.create", { name: "pat" });
  const { key: adas } = await must(server, ada.session, "apiKey.create", { name: `for ${slug}` });
  const scope = ["admin:tasks"];
  const minted = async (credential: string, more = {}) =>
    (await must(server, credential, "token.create", { space: slug, scope, ...more })).token as string;
  const subject = await minted(adas, { mayAct: bot });
  const acting = await exchange(server.url, subject, { space: slug, scope: "admin:tasks" }, bearer(key));
  const { session, token: browsers } = await must(server, ada.session, "session.create", { task: "support" }, slug);
  await must(server, acting.access_token, "task.register", { task: "by-agent" }, slug);
  const tokens = { ofPerson: await minted(pat), ofAgent: await minted(key), acting: acting.access_token, browsers };
  const kinds = [...Object.values(tokens), subject].map((token) => decodeJwt(token).jti as string);
  await server.sql.unsafe(`
    insert into tokens (id, principal_id, space_id, scope, expires_at, key_id, key_hash, session_id, may_act_id, actor_id, actor_key_id, actor_key_hash, only_session_id)
    select new_id(), principal_id, space_id, scope, expires_at, key_id, key_hash, session_id, may_act_id, actor_id, actor_key_id, actor_key_hash, only_session_id
    from tokens, generate_series(1, ${MANY}) where id in ('${kinds.join("', '")}')`);
  return { slug, space, bob, bot, session: session.id as string, key, subject, tokens };
}
type Place = Awaited<ReturnType<typeof makePlace>>;
type Kind = keyof Place["tokens"];

/** Which of the tokens open something, at both servers. */
async function goodOf({ slug, session, tokens }: Place): Promise<string[]> {
  const good: string[] = [];
  for (const [kind, token] of Object.entries(tokens))
    for (const at of [server, second]) {
      const [method, params] = kind === "browsers" ? ["session.get", { session }] : ["session.list", {}];
      const { status, result } = await at.call(token, method as string, params, slug);
      if (status === 200 && result) good.push(kind);
      else expect([kind, status]).toEqual([kind, 401]);
    }
  return [...new Set(good)];
}

/** Rows of tokens that transactions of this database have deleted. */
async function deletedRows(space: string): Promise<number> {
  const [row] = await server.sql<{ n: number }[]>`select count(*)::integer as n from tokens where space_id = ${space}`;
  return 5 * (MANY + 1) - (row?.n ?? 0);
}

const everything: Kind[] = ["ofPerson", "ofAgent", "acting", "browsers"];
const ends: Record<string, { end: (place: Place) => Promise<unknown>; left: Kind[] }> = {
  "a member is removed": {
    end: ({ slug, bob }) => must(server, ada.session, "principal.remove", { principal: bob.id }, slug),
    left: ["browsers"],
  },
  "a member leaves": { end: ({ slug, bob }) => must(server, bob.session, "space.leave", {}, slug), left: ["browsers"] },
  "an agent is removed": {
    end: ({ slug, bot }) => must(server, ada.session, "principal.remove", { principal: bot }, slug),
    left: ["ofPerson", "browsers"],
  },
  "a session is deleted": {
    end: ({ slug, session }) => must(server, ada.session, "session.delete", { session }, slug),
    left: ["ofPerson", "ofAgent", "acting"],
  },
  "a space is deleted": { end: ({ slug }) => must(server, ada.session, "space.delete", { slug, confirm: slug }), left: [] },
};

test.each(Object.entries(ends))(
  "when %s, the tokens that hang on it are dead at once, everywhere, and none is written",
  async (_what, { end, left }) => {
    const place = await makePlace();
    expect(await goodOf(place)).toEqual(everything);
    await end(place);
    expect(await goodOf(place)).toEqual(left);
    expect(await deletedRows(place.space)).toBe(0);
  },
);

test("an agent that is deleted takes along what its own keys have minted, and kills the rest without writing it", async () => {
  const place = await makePlace();
  expect(await goodOf(place)).toEqual(everything);
  await must(server, place.bob.session, "agent.delete", { id: place.bot });
  expect(await goodOf(place)).toEqual(["ofPerson", "browsers"]);
  // By its key: its own, and those by which it acted.
  expect(await deletedRows(place.space)).toBe(2 * (MANY + 1));
});

test("who comes back finds their tokens dead, and those that others made for their agent", async () => {
  const place = await makePlace();
  const { slug, bob, bot, key, subject } = place;
  expect(await goodOf(place)).toEqual(everything);
  await must(server, ada.session, "principal.remove", { principal: bob.id }, slug);
  await server.join(slug, ada, bob);
  await must(server, ada.session, "principal.add", { principal: bot }, slug);
  for (const principal of [bob.id, bot]) await must(server, ada.session, "access.grant", { principal, permission: "admin:tasks" }, slug);
  expect(await goodOf(place)).toEqual(["browsers"]);
  await expect(exchange(server.url, subject, { space: slug, scope: "admin:tasks" }, bearer(key))).rejects.toThrow();
});

test("a task that an agent registered for somebody ends with the agent's membership", async () => {
  const place = await makePlace();
  const tasks = async () => (await must(server, ada.session, "task.list", {}, place.slug)).tasks.map(({ path }: { path: string }) => path);
  expect(await tasks()).toEqual(["by-agent"]);
  await must(server, ada.session, "principal.remove", { principal: place.bot }, place.slug);
  expect(await tasks()).toEqual([]);
});
