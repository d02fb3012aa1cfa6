import { userApi } from "@gatehouse/protocol";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { breaches, codeOf, countBy, whileLocked } from "./rivals.ts";
import { until } from "./run.ts";
import { newId } from "./worlds.ts";

const ROUNDS = 12;
const rounds = Array.from({ length: ROUNDS }, (_, i) => i);

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let space: { id: string; slug: string };
beforeAll(async () => {
  server = await startTestServer();
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  await server.acquaint(ada, bob);
});
afterAll(() => server.close());
beforeEach(async () => {
  space = await must(ada.session, "space.create", { name: "Team" });
});
afterEach(async () => expect(await breaches(server.sql)).toEqual([]));

async function must(credential: string, method: string, params: object, slug?: string) {
  const { result, error } = await server.call(credential, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}
const asAda = (method: string, params: object) => must(ada.session, method, params, space.slug);
const inSpace = (credential: string, method: string, params: object) => server.call(credential, method, params, space.slug);
const newGroup = async (name: string): Promise<string> => (await asAda("group.create", { name })).id;
const rows = (query: Promise<readonly unknown[]>) => query.then(({ length }) => length);

/** Runs calls at once. @returns their codes; a failure of the server's own is never one of them */
async function atOnce(...calls: ReturnType<TestServer["call"]>[]): Promise<string[]> {
  const codes = (await Promise.all(calls)).map(codeOf);
  expect(codes).not.toContain("INTERNAL_ERROR");
  return codes;
}

const given = {
  "access.grant": () => ({ principal: bob.id, permission: "read:docs" }),
  "group.addMember": async () => ({ group: await newGroup("group"), member: bob.id }),
};

test.each(Object.entries(given))(
  "%s while its member is being removed is taken with them, or comes after them",
  async (method, makeParams) => {
    const params = await makeParams();
    const calls = {
      give: () => inSpace(ada.session, method, params),
      remove: () => inSpace(ada.session, "principal.remove", { principal: bob.id }),
    };
    for (const order of [
      ["give", "remove"],
      ["remove", "give"],
    ] as const) {
      await asAda("principal.add", { principal: bob.id });
      const started: Promise<unknown>[] = [];
      await whileLocked(server.sql, "select from principals where id = $1 for update", bob.id, async (waiting) => {
        for (const [i, name] of order.entries()) {
          started.push(calls[name]());
          await waiting(i + 1);
        }
      });
      expect((await Promise.all(started)).map((answer) => codeOf(answer as object))).toEqual(["ok", "ok"]);
      expect((await inSpace(bob.session, "space.get", {})).error?.data.reason).toBe("stranger");
      const left = await rows(server.sql`
      select principal_id from grants where principal_id = ${bob.id} and space_id = ${space.id}
      union all select principal_id from group_members where principal_id = ${bob.id} and group_id in (select id from principals where space_id = ${space.id})`);
      expect(left, order.join(", then ")).toBe(order[0] === "give" ? 0 : 1);
    }
  },
);

/** Rows of the space that name somebody, or an agent of theirs. */
const theirs = (id: string) =>
  rows(server.sql`
    with who as (select id from principals where id = ${id} or owner_id = ${id})
    select 1 from members where space_id = ${space.id} and principal_id in (select id from who)
    union all select 1 from grants where space_id = ${space.id} and principal_id in (select id from who)
    union all select 1 from live_tokens where space_id = ${space.id} and may_act_id in (select id from who)
    union all select 1 from group_members gm join principals g on g.id = gm.group_id
      where g.space_id = ${space.id} and gm.principal_id in (select id from who)
    union all select 1 from agent_offers where to_id in (select id from who)`);

interface Gift {
  method: string;
  params: object;
  /** The principal whom the first of the changes holds. */
  needs: string;
  /** The table of the row that it changes, for a gift that holds nobody. */
  row?: string;
}

const held = (table: string) => `select from ${table} where principal_id = $1 for update`;
const gifts: Record<string, (cyd: string, bot: string, group: string, ownBot: string) => Gift> = {
  "a grant": (cyd) => ({ method: "access.grant", params: { principal: cyd, permission: "write:docs" }, needs: cyd }),
  "a grant to their agent": (_, bot) => ({ method: "access.grant", params: { principal: bot, permission: "write:docs" }, needs: bot }),
  "a place on the roster": (cyd) => ({ method: "principal.add", params: { principal: cyd }, needs: cyd }),
  "a place on the roster for their agent": (_, bot) => ({ method: "principal.add", params: { principal: bot }, needs: bot }),
  "a place in a group": (cyd, _, group) => ({ method: "group.addMember", params: { group, member: cyd }, needs: cyd }),
  "a place in a group for their agent": (_, bot, group) => ({ method: "group.addMember", params: { group, member: bot }, needs: bot }),
  "a group to administer": (cyd, _, group) => ({
    ...{ method: "group.setMemberAdmin", params: { group, member: cyd, admin: true }, needs: cyd },
    row: "group_members",
  }),
  "an offer of an agent": (cyd, _, __, ownBot) => ({ method: "agent.transfer", params: { id: ownBot, to: cyd }, needs: cyd }),
  "a token for their agent to act by": (_, bot) => ({
    ...{ method: "token.create", params: { space: space.slug, scope: ["read:docs"], mayAct: bot }, needs: bot },
  }),
};
const departures: Record<string, (cyd: TestUser) => ReturnType<TestServer["call"]>> = {
  "space.leave": (cyd) => inSpace(cyd.session, "space.leave", {}),
  "principal.remove": (cyd) => inSpace(ada.session, "principal.remove", { principal: cyd.id }),
};
const meetings = Object.keys(gifts).flatMap((gift) => Object.keys(departures).map((departure) => [gift, departure] as const));

test.each(meetings)("%s that meets a %s of somebody known by nothing else goes with them, or is refused", async (gift, departure) => {
  for (const order of [
    ["give", "go"],
    ["go", "give"],
  ] as const) {
    const cyd = await server.user("Cyd");
    await server.join(space.slug, ada, cyd);
    const { id: bot } = await must(cyd.session, "agent.create", { name: "bot" });
    await must(cyd.session, "principal.add", { principal: bot }, space.slug);
    const { id: ownBot } = await must(bob.session, "agent.create", { name: `for ${cyd.id.slice(-12)}` });
    const group = await newGroup(`group of ${cyd.id.slice(-12)}`);
    const { method, params, needs, row } = (gifts[gift] as (typeof gifts)[string])(cyd.id, bot, group, ownBot);
    if (row) await asAda("group.addMember", { group, member: cyd.id });
    const calls = {
      // By another, for whom the removal does not stand in line.
      give: () => server.call(bob.session, method, params, method in userApi ? undefined : space.slug),
      go: () => (departures[departure] as (typeof departures)[string])(cyd),
    };
    await asAda("principal.add", { principal: bob.id });
    await asAda("access.grant", { principal: bob.id, permission: "admin" });
    // The first to go holds them by then, and waits for their place on the roster.
    const first = order[0] === "go" ? held("members") : "select from principals where id = $1 for update";
    const started: ReturnType<TestServer["call"]>[] = [];
    await whileLocked(server.sql, row ? held(row) : first, needs, async (waiting) => {
      for (const [i, name] of order.entries()) {
        started.push(calls[name]());
        await waiting(i + 1);
      }
    });
    const codes = await atOnce(...started);
    // Of two that wait, the later may be let in first: what came to stand in line as the first is refused then.
    if (order[0] === "give") expect(["ok,ok", "NOT_FOUND,ok"]).toContain(codes.join());
    else expect(codes).toEqual(["ok", "NOT_FOUND"]);
    expect(await theirs(cyd.id), order.join(", then ")).toBe(0);
  }
});

test("a crowd that gives to a member, removes them and adds them again leaves nothing broken", async () => {
  const groups = await Promise.all(["a", "b", "c"].map(newGroup));
  for (const round of rounds) {
    const others = [
      ...groups.map((group) => inSpace(ada.session, "group.addMember", { group, member: bob.id })),
      ...["a", "b", "c"].map((path) => inSpace(ada.session, "access.grant", { principal: bob.id, permission: `read:docs:${path}` })),
      inSpace(ada.session, "principal.remove", { principal: bob.id }),
      inSpace(ada.session, "principal.add", { principal: bob.id }),
      inSpace(bob.session, "space.leave", {}),
    ];
    const codes = await atOnce(...(round % 2 ? others : others.reverse()));
    expect(new Set(codes).difference(new Set(["ok", "NOT_FOUND"]))).toEqual(new Set());
  }
});

test("an invitation is accepted or taken back, and never both", async () => {
  for (const _ of rounds) {
    const { id, token } = await asAda("invite.create", {});
    const accept = () => server.call(bob.session, "invite.accept", { token });
    const codes = await atOnce(accept(), inSpace(ada.session, "invite.revoke", { id }), accept());
    expect(countBy(codes)).toEqual({ ok: 1, NOT_FOUND: 2 });
    const member = await rows(
      server.sql`delete from members where space_id = ${space.id} and principal_id = ${bob.id} returning principal_id`,
    );
    expect(member).toBe(codes[1] === "ok" ? 0 : 1);
  }
});

test("when all 50 admins leave at once one stays, and when each removes the next one does too", async () => {
  const makeAdmins = async () => {
    const admins: { id: string; session: string }[] = [];
    for (let i = 0; i < 49; i++) {
      const id = newId();
      await server.sql`insert into auth."user" (id, name, email) values (${id}, 'admin', ${`${id}@example.com`})`;
      await server.sql`insert into members (space_id, principal_id, admin) values (${space.id}, ${id}, true)`;
      admins.push({ id, session: await server.signIn(id) });
    }
    return [...admins, ada];
  };
  const all = await makeAdmins();
  const left = await atOnce(...all.map(({ session }) => inSpace(session, "space.leave", {})));
  expect(countBy(left)).toEqual({ ok: 49, LAST_ADMIN: 1 });

  space = await must(ada.session, "space.create", { name: "Ring" });
  const ring = await makeAdmins();
  const removed = await atOnce(
    ...ring.map(({ session }, i) => inSpace(session, "principal.remove", { principal: ring[(i + 1) % ring.length]?.id as string })),
  );
  expect(new Set(removed).difference(new Set(["ok", "NOT_FOUND", "LAST_ADMIN", "FORBIDDEN"]))).toEqual(new Set());
});

test("whatever a key makes at the moment it is revoked goes with it, and so does what is made of its invitations", async () => {
  const group = await newGroup("group");
  for (const round of rounds) {
    const { id, key } = await must(ada.session, "apiKey.create", { name: `raced in ${round} of ${space.slug}` });
    const { token } = await must(key, "invite.create", { groups: [group] }, space.slug);
    const grant = (path: string) => inSpace(key, "access.grant", { principal: bob.id, permission: `read:docs:${path}` });
    const codes = await atOnce(
      ...[grant("a"), grant("b"), inSpace(key, "invite.create", {}), inSpace(key, "group.addMember", { group, member: bob.id })],
      server.call(bob.session, "invite.accept", { token }),
      ...[server.call(ada.session, "apiKey.delete", { id }), inSpace(key, "principal.add", { principal: bob.id }), grant("c")],
    );
    expect(codes[5]).toBe("ok");
    expect(new Set(codes).difference(new Set(["ok", "UNAUTHENTICATED", "NOT_FOUND", "CONFLICT", "FORBIDDEN"]))).toEqual(new Set());
    const alive = await rows(server.sql`
      select key_id from live_members where space_id = ${space.id} and principal_id = ${bob.id} union all select key_id from live_grants where key_id = ${id}
      union all select key_id from live_group_members where group_id = ${group}`);
    expect(alive).toBe(0);
    await until("its rows are gone, too", async () => {
      const tied = await rows(server.sql`
        select key_id from members where space_id = ${space.id} and principal_id = ${bob.id} union all select key_id from grants where key_id = ${id}
        union all select key_id from group_members where group_id = ${group} union all select key_id from invites where space_id = ${space.id}`);
      return tied === 0;
    });
  }
});

test("whoever leaves in the middle of a batch does nothing more in it", async () => {
  await asAda("principal.add", { principal: bob.id });
  await asAda("access.grant", { principal: bob.id, permission: "admin:docs" });
  // As many at once as the server runs: what comes behind them begins when one of them is done.
  const leave = Array.from({ length: 8 }, (_, id) => ({ jsonrpc: "2.0", id, method: "space.leave", params: {} }));
  const grants = [8, 9, 10].map((id) => ({
    ...{ jsonrpc: "2.0", id, method: "access.grant" },
    params: { principal: ada.id, permission: `read:docs:${id}` },
  }));
  const { text } = await server.post(JSON.stringify([...leave, ...grants]), {
    authorization: `Bearer ${bob.session}`,
    "x-me-space": space.slug,
  });
  const answers = JSON.parse(text).slice(8);
  expect(answers.map((answer: { error?: { data: { reason?: string } } }) => answer.error?.data.reason)).toEqual(Array(3).fill("stranger"));
});
