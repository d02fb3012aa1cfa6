import type { AuditEntry } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, must, unique, type World } from "./changes.ts";
import { startTestServer, type TestServer } from "./harness.ts";

let world: World;
let second: TestServer;
beforeAll(async () => {
  world = await makeWorld(await startTestServer());
  second = await startTestServer({ DATABASE_URL: world.server.databaseUrl });
});
afterAll(async () => {
  await second.close();
  await world.server.close();
});

/** All that is newer than an entry, oldest first. */
async function newer(since: string | undefined): Promise<AuditEntry[]> {
  const { server, ada, space } = world;
  const entries: AuditEntry[] = [];
  for (let after: string | null | undefined; after !== null; ) {
    const page: { entries: AuditEntry[]; next: string | null } = await must(
      server,
      ada.session,
      "audit.list",
      { limit: 5, ...(since !== undefined && { since }), ...(after !== undefined && { after }) },
      space.slug,
    );
    entries.push(...page.entries);
    after = page.next;
  }
  return entries.toReversed();
}

const onRecord = async () => {
  await Promise.all([world.server, second].map((server) => server.recorded()));
  const rows = await world.server.sql<{ id: string }[]>`
    select id from (select id, place, space_id from audit union all select id, place, space_id from audit_denials) t
    where space_id = ${world.space.id} order by place`;
  return rows.map(({ id }) => id);
};

type Transaction = Parameters<Parameters<TestServer["sql"]["begin"]>[0]>[0];

/** Adds an entry as a server does, in a transaction of the test's own. @returns its id, made before */
async function enter(tx: Transaction, space: string): Promise<string> {
  const [row] = await tx<{ id: string }[]>`
    insert into audit (id, space_id, actor_id, actor_kind, actor_name, credential_id, via, method, outcome, request_id)
    values (new_id(), ${space}, ${world.ada.id}, 'u', 'Ada', ${world.ada.id}, 'session', 'test.late', 'OK', 'test') returning id`;
  return (row as { id: string }).id;
}

/** Resolves when somebody waits for what another holds: a place in a record, or a row. */
async function someoneWaits(type: "advisory" | "transactionid"): Promise<void> {
  for (;;) {
    const [row] = await world.server.sql`
      select from pg_locks l join pg_stat_activity a using (pid)
      where l.locktype = ${type} and not l.granted and a.datname = current_database()`;
    if (row) return;
  }
}

test("an entry that is committed late is before what came after it: nobody is past it who follows", async () => {
  const { server, ada, space } = world;
  const carol = await server.user("carol");
  const other = await must(server, carol.session, "space.create", { name: unique() });
  const [last] = (await newer(undefined)).toReversed();
  const change = ({ session }: { session: string }, slug: string) => must(server, session, "group.create", { name: unique() }, slug);
  let later: Promise<{ id: string }> | undefined;
  const late = await server.sql.begin(async (tx) => {
    const id = await enter(tx, space.id);
    later = change(ada, space.slug);
    await someoneWaits("advisory");
    // Meanwhile the record can be read, and another space is not held up.
    expect(await newer(last?.id)).toEqual([]);
    await change(carol, other.slug);
    return id;
  });
  const { id: target } = (await later) as { id: string };
  expect(await newer(last?.id)).toMatchObject([{ id: late }, { method: "group.create", target }]);
});

test("a denial takes its place in the same line", async () => {
  const { server, bob, space } = world;
  const [last] = (await newer(undefined)).toReversed();
  let denied: ReturnType<TestServer["call"]> | undefined;
  const late = await server.sql.begin(async (tx) => {
    const id = await enter(tx, space.id);
    denied = server.call(bob.session, "access.list", {}, space.slug);
    await someoneWaits("advisory");
    return id;
  });
  expect((await denied)?.error?.data.code).toBe("FORBIDDEN");
  expect(await newer(last?.id)).toMatchObject([{ id: late }, { method: "access.list", outcome: "FORBIDDEN" }]);
});

test("a change that is checked at its end enters after that: it holds up nobody whom it waits for", async () => {
  const { server, ada, bob, space } = world;
  const setAdmin = (admin: boolean) => server.call(ada.session, "principal.setAdmin", { principal: bob.id, admin }, space.slug);
  await setAdmin(true);
  let demoted: ReturnType<typeof setAdmin> | undefined;
  await server.sql.begin(async (tx) => {
    await tx`update spaces set name = 'Another' where id = ${space.id}`;
    demoted = setAdmin(false); // to be admin is kept by one: looked at while nobody else touches the space
    await someoneWaits("transactionid");
    await enter(tx, space.id);
  });
  expect((await demoted)?.result).toMatchObject({ id: bob.id, admin: false });
});

test("who follows while many write at once, on two servers, sees every entry once and in order", async () => {
  const { server, ada, bob, bot, space } = world;
  const known = await onRecord();
  const writing = [
    ...[server, second].flatMap((at) =>
      [ada.session, bot.key, ada.session].map(async (credential) => {
        for (let i = 0; i < 25; i++) await must(at, credential, "group.create", { name: unique() }, space.slug);
      }),
    ),
    (async () => {
      for (const method of ["invite.list", "principal.list", "access.grant", "group.create"])
        await second.call(bob.session, method, { principal: bob.id, permission: "admin", name: unique() }, space.slug);
    })(),
    // Transactions that go on for long after they have entered.
    ...[1, 2, 3].map(async () => {
      for (let i = 0; i < 15; i++)
        await server.sql.begin(async (tx) => {
          await enter(tx, space.id);
          for (let busy = 0; busy < 10; busy++) await tx`select`;
        });
    }),
  ];
  let over = false;
  const written = Promise.all(writing).finally(() => {
    over = true;
  });
  const seen: string[] = [];
  for (let more = true; more; ) {
    more = !over; // once more after the last was written
    const entries = await newer(seen.at(-1) ?? known.at(-1));
    seen.push(...entries.map(({ id }) => id));
  }
  await written;
  const all = (await onRecord()).slice(known.length);
  expect(all.length).toBeGreaterThan(6 * 25 + 3 * 15);
  expect(seen).toEqual(all);
});
