import { afterAll, beforeAll, expect, test } from "vitest";
import { defaultLimits } from "../packages/server/src/limits.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { codeOf, countBy } from "./rivals.ts";

// Nobody fills the server: how many of each one account, one owner or one space may have is counted by the database.

const MOST = 5;
let server: TestServer;
let ada: TestUser;
let bob: TestUser;
beforeAll(async () => {
  server = await startTestServer({
    LIMITS: Object.keys(defaultLimits)
      .map((name) => `${name}=${MOST}`)
      .join(","),
  });
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  await server.acquaint(ada, bob);
});
afterAll(() => server.close());

async function must(credential: string, method: string, params: object, slug?: string) {
  const { result, error } = await server.call(credential, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const unique = () => crypto.randomUUID().slice(0, 12);
/** A space of somebody new, in the way of nobody's limit. */
async function newSpace(): Promise<{ host: TestUser; slug: string; id: string }> {
  const host = await server.user("Host");
  return { host, ...(await must(host.session, "space.create", { name: "Team" })) };
}
type Add = () => ReturnType<TestServer["call"]>;

/** For each limit, how one more is added, and how many there are from the first. */
interface Adding {
  add: Add;
  there?: number;
  end?: () => Promise<unknown>;
}
const adding = {
  async spaces() {
    const user = await server.user("User");
    const made: string[] = [];
    return {
      add: async () => {
        const answer = await server.call(user.session, "space.create", { name: "s" });
        if (answer.result) made.push(answer.result.slug);
        return answer;
      },
      end: () => must(user.session, "space.delete", { slug: made[0], confirm: made[0] }),
    };
  },
  async agents() {
    const user = await server.user("User");
    return { add: () => server.call(user.session, "agent.create", { name: unique() }) };
  },
  async "agents, by gift"() {
    const [user, giver] = [await server.user("User"), await server.user("Giver")];
    await server.acquaint(giver, user);
    return {
      add: async () => {
        const { id } = await must(giver.session, "agent.create", { name: unique() });
        await must(giver.session, "agent.transfer", { id, to: user.id });
        const answer = await server.call(user.session, "agent.accept", { id });
        if (answer.error) await must(giver.session, "agent.delete", { id });
        return answer;
      },
    };
  },
  async keys() {
    const user = await server.user("User");
    return { add: () => server.call(user.session, "apiKey.create", { name: unique() }) };
  },
  async "keys, of a service"() {
    const { host, slug } = await newSpace();
    return { add: () => server.call(host.session, "secretKey.create", { name: unique() }, slug) };
  },
  async tokens() {
    const { host, slug } = await newSpace();
    const made: string[] = [];
    return {
      add: async () => {
        const answer = await server.call(host.session, "token.create", { space: slug, scope: [] });
        if (answer.result) made.push(answer.result.token);
        return answer;
      },
      end: () => must(host.session, "token.revoke", { token: made[0] }),
    };
  },
  async "tokens, of sessions"() {
    const { host, slug } = await newSpace();
    const made: string[] = [];
    return {
      add: async () => {
        const answer = await server.call(host.session, "session.create", { task: "echo" }, slug);
        if (answer.result) made.push(answer.result.session.id);
        return answer;
      },
      end: () => server.sql`update tokens set expires_at = now() where only_session_id = ${made[0] as string}`,
    };
  },
  async groups() {
    const { host, slug } = await newSpace();
    return { add: () => server.call(host.session, "group.create", { name: unique() }, slug) };
  },
  async members() {
    const { host, slug } = await newSpace();
    return {
      there: 1,
      add: async () => {
        const { id, token } = await must(host.session, "invite.create", {}, slug);
        const answer = await server.call((await server.user("Guest")).session, "invite.accept", { token });
        if (answer.error) await must(host.session, "invite.revoke", { id }, slug);
        return answer;
      },
    };
  },
  async "members, of a group"() {
    const { host, slug, id } = await newSpace();
    const { id: group } = await must(host.session, "group.create", { name: "group" }, slug);
    return {
      add: async () => {
        const member = await server.user("Guest");
        await server.sql`insert into members (space_id, principal_id) values (${id}, ${member.id})`.catch(() => undefined);
        await server.acquaint(member, host).catch(() => undefined);
        return server.call(host.session, "group.addMember", { group, member: member.id }, slug);
      },
    };
  },
  async grants() {
    const { host, slug } = await newSpace();
    return { add: () => server.call(host.session, "access.grant", { principal: host.id, permission: `read:docs:${unique()}` }, slug) };
  },
  async invitations() {
    const { host, slug } = await newSpace();
    return { add: () => server.call(host.session, "invite.create", {}, slug) };
  },
} satisfies Record<keyof typeof defaultLimits, () => Promise<Adding>> & Record<string, () => Promise<Adding>>;

test.each(Object.entries(adding))("a limit is kept, and says what to do: %s", async (_name, prepare) => {
  const { add, there = 0, end }: Adding = await prepare();
  for (let i = there; i < MOST; i++) expect((await add()).error, `${i + 1} of ${MOST}`).toBeUndefined();
  const { error } = await add();
  expect(error).toMatchObject({ code: 409, data: { code: "LIMIT_REACHED" }, message: expect.stringMatching(/^.+ limit.+\. .+\.$/) });
  if (!end) return;
  await end();
  expect((await add()).error).toBeUndefined();
  expect((await add()).error?.data.code).toBe("LIMIT_REACHED");
});

test.each(["agents", "groups", "keys", "invitations", "grants", "spaces"] as const)(
  "a crowd that adds at once stops at the limit: %s",
  async (name) => {
    const { add, there = 0 }: Adding = await adding[name]();
    const codes = (await Promise.all(Array.from({ length: 3 * MOST }, add))).map(codeOf);
    expect(countBy(codes)).toEqual({ ok: MOST - there, LIMIT_REACHED: 2 * MOST + there });
  },
);

test("who has more than a limit keeps it, and may rename and use it", async () => {
  const user = await server.user("User");
  await server.sql`update limits set most = null where name = 'agents'`;
  const made: string[] = [];
  for (let i = 0; i < MOST + 2; i++) made.push((await must(user.session, "agent.create", { name: unique() })).id);
  await server.sql`update limits set most = ${MOST} where name = 'agents'`;
  expect((await must(user.session, "agent.list", {})).agents).toHaveLength(MOST + 2);
  await must(user.session, "agent.rename", { id: made[0], name: unique() });
  expect((await server.call(user.session, "agent.create", { name: unique() })).error?.data.code).toBe("LIMIT_REACHED");
});

test("nobody's limit is used up by others: a space that one is made admin of counts for its maker", async () => {
  const user = await server.user("User");
  for (let i = 0; i < MOST; i++) {
    const { host, slug } = await newSpace();
    await server.join(slug, host, user);
    await must(host.session, "principal.setAdmin", { principal: user.id, admin: true }, slug);
  }
  await must(user.session, "space.create", { name: "own" });
});
