import { decodeJwt } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Sql } from "../packages/server/src/db.ts";
import { must } from "./changes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { bearer, exchange } from "./oauth.ts";
import { until } from "./run.ts";

/** Tokens of each kind: their number must not matter. */
const MANY = 3000;
/** Most of them that go in the transaction that ends what they hang on. */
const AT_ONCE = 1000;

let server: TestServer;
let second: TestServer;
let ada: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  second = await startTestServer({ DATABASE_URL: server.databaseUrl, PUBLIC_URL: server.url });
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
  const { key: pat, id: patId } = await must(server, bob.session, "apiKey.create", { name: "pat" });
  const { key: adas } = await must(server, ada.session, "apiKey.create", { name: `for ${slug}` });
  const scope = ["admin:tasks"];
  const minted = async (credential: string, more = {}) =>
    (await must(server, credential, "token.create", { space: slug, scope, ...more })).token as string;
  const subject = await minted(adas, { mayAct: bot });
  const acting = await exchange(server.url, subject, { space: slug, scope: "admin:tasks" }, bearer(key));
  const { session, token: browsers } = await must(server, ada.session, "session.create", { task: "support" }, slug);
  await must(server, acting.access_token, "task.register", { task: "by-agent" }, slug);
  const tokens = {
    ofPerson: await minted(pat),
    ofAgent: await minted(key),
    acting: acting.access_token,
    browsers,
    signedIn: await minted(bob.session),
  };
  const kinds = [...Object.values(tokens), subject].map((token) => decodeJwt(token).jti as string);
  await server.sql.unsafe(`
    insert into tokens (id, principal_id, space_id, scope, expires_at, key_id, key_hash, session_id, may_act_id, actor_id, actor_key_id, actor_key_hash, only_session_id)
    select new_id(), principal_id, space_id, scope, expires_at, key_id, key_hash, session_id, may_act_id, actor_id, actor_key_id, actor_key_hash, only_session_id
    from tokens, generate_series(1, ${MANY}) where id in ('${kinds.join("', '")}')`);
  return { slug, space, bob, bot, session: session.id as string, key, pat: patId as string, subject, tokens };
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

/** Rows of tokens of a space. */
async function rowsOf(sql: Sql, space: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`select count(*)::integer as n from tokens where space_id = ${space}`;
  return row?.n ?? 0;
}

const everything: Kind[] = ["ofPerson", "ofAgent", "acting", "browsers", "signedIn"];
interface End {
  end: (place: Place) => Promise<unknown>;
  /** The same, past the server. */
  sql: (place: Place) => string;
  left: Kind[];
}
const ends: Record<string, End> = {
  "a member is removed": {
    end: ({ slug, bob }) => must(server, ada.session, "principal.remove", { principal: bob.id }, slug),
    sql: ({ space, bob }) => `delete from members where space_id = '${space}' and principal_id = '${bob.id}'`,
    left: ["browsers"],
  },
  "a member leaves": {
    end: ({ slug, bob }) => must(server, bob.session, "space.leave", {}, slug),
    sql: ({ space, bob }) => `delete from members where space_id = '${space}' and principal_id = '${bob.id}'`,
    left: ["browsers"],
  },
  "an agent is removed": {
    end: ({ slug, bot }) => must(server, ada.session, "principal.remove", { principal: bot }, slug),
    sql: ({ space, bot }) => `delete from members where space_id = '${space}' and principal_id = '${bot}'`,
    left: ["ofPerson", "browsers", "signedIn"],
  },
  "an agent is deleted": {
    end: ({ bob, bot }) => must(server, bob.session, "agent.delete", { id: bot }),
    sql: ({ bot }) => `delete from principals where id = '${bot}'`,
    left: ["ofPerson", "browsers", "signedIn"],
  },
  "a key is revoked": {
    end: ({ bob, pat }) => must(server, bob.session, "apiKey.delete", { id: pat }),
    sql: ({ pat }) => `delete from api_keys where id = '${pat}'`,
    left: ["ofAgent", "acting", "browsers", "signedIn"],
  },
  "a person signs out": {
    end: ({ bob }) => must(server, bob.session, "token.revoke", { token: bob.session }),
    sql: ({ bob }) => `delete from auth.session where "userId" = '${bob.id}'`,
    left: ["ofPerson", "ofAgent", "acting", "browsers"],
  },
  "a session is deleted": {
    end: ({ slug, session }) => must(server, ada.session, "session.delete", { session }, slug),
    sql: ({ session }) => `delete from sessions where id = '${session}'`,
    left: ["ofPerson", "ofAgent", "acting", "signedIn"],
  },
  "a space is deleted": {
    end: ({ slug }) => must(server, ada.session, "space.delete", { slug, confirm: slug }),
    sql: ({ space }) => `delete from spaces where id = '${space}'`,
    left: [],
  },
};

test.each(Object.entries(ends))(
  "when %s, the tokens that hang on it are dead at once, everywhere, and removed soon after",
  async (_what, { end, sql, left }) => {
    const place = await makePlace();
    expect(await goodOf(place)).toEqual(everything);
    const before = await rowsOf(server.sql, place.space);
    class RolledBack extends Error {}
    const ending = server.sql.begin(async (tx) => {
      await tx.unsafe(sql(place));
      expect(await rowsOf(tx, place.space)).toBeGreaterThanOrEqual(before - AT_ONCE);
      throw new RolledBack();
    });
    await ending.catch((thrown) => {
      if (!(thrown instanceof RolledBack)) throw thrown;
    });
    await end(place);
    expect(await goodOf(place)).toEqual(left);
    await until("all dead tokens are gone", async () => {
      const [row] = await server.sql<{ n: number }[]>`select count(*)::integer as n from live_tokens where space_id = ${place.space}`;
      return row?.n === (await rowsOf(server.sql, place.space)) && (await server.sql`select from remains`).length === 0;
    });
  },
);

test("a token is good no longer than a secret that it came from, however warm the call", async () => {
  const { slug, bob } = await makePlace();
  const { id, key } = await must(server, bob.session, "apiKey.create", { name: "rotated" });
  const { token } = await must(server, key, "token.create", { space: slug, scope: ["admin:tasks"] });
  await must(server, bob.session, "apiKey.rotate", { id, overlapHours: 1 });
  await server.sql`update api_keys set previous_expires_at = now() + interval '2 seconds' where id = ${id}`;
  expect((await server.call(token, "task.list", {}, slug)).status).toBe(200);
  const { expiresAt } = await must(server, token, "token.inspect", { token });
  expect(Date.parse(expiresAt)).toBeLessThan(Date.now() + 2100);
  await until("the overlap is over", async () => Date.now() > Date.parse(expiresAt));
  expect((await server.call(token, "task.list", {}, slug)).status).toBe(401);
});

test("a token of somebody whom a key let in is good no longer than that key", async () => {
  const { slug } = await makePlace();
  const eve = await server.user("Eve");
  await server.acquaint(ada, eve);
  const { id, key } = await must(server, ada.session, "apiKey.create", {
    name: "lets Eve in",
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  });
  await must(server, key, "principal.add", { principal: eve.id }, slug);
  await must(server, ada.session, "access.grant", { principal: eve.id, permission: "admin:tasks" }, slug);
  const { token } = await must(server, eve.session, "token.create", { space: slug, scope: ["admin:tasks"] });
  await server.sql`update api_keys set expires_at = now() + interval '2 seconds' where id = ${id}`;
  const { expiresAt } = await must(server, token, "token.inspect", { token });
  expect((await server.call(token, "task.list", {}, slug)).status).toBe(200);
  await until("the key has expired", async () => Date.now() > Date.parse(expiresAt));
  expect((await server.call(token, "task.list", {}, slug)).status).toBe(401);
  expect(await must(server, eve.session, "token.inspect", { token })).toEqual({ active: false });
});

test("tokens that are dead count against nobody's limit", async () => {
  const strict = await startTestServer({ LIMITS: "tokens=5" });
  const person = await strict.user("Ada");
  const { slug } = await must(strict, person.session, "space.create", { name: "Home" });
  for (let i = 0; i < 12; i++) {
    const { session } = await must(strict, person.session, "session.create", { task: "support" }, slug);
    await must(strict, person.session, "session.delete", { session: session.id }, slug);
  }
  await strict.close();
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
