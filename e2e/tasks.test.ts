import { MAX_TASKS, MAX_TASKS_PER_KEY, PAGE_BYTES, type Task } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { makeHome, meJson } from "./run.ts";

let server: TestServer;
let ada: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
});
afterAll(() => server.close());

/** A space of its own, with calls in it. */
async function makeSpace() {
  const { slug } = (await server.call(ada.session, "space.create", { name: "Acme" })).result;
  const call = (method: string, params: object = {}, credential = ada.session) => server.call(credential, method, params, slug);
  const must = async (method: string, params: object = {}, credential = ada.session) => {
    const { result, error } = await call(method, params, credential);
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  };
  const newKey = async (more: object = {}): Promise<{ id: string; key: string }> =>
    (await server.call(ada.session, "apiKey.create", { name: `key ${Math.random()}`, ...more })).result;
  const paths = async () => (await must("task.list")).tasks.map(({ path }: Task) => path);
  return { slug, call, must, newKey, paths };
}

test("a task goes with the key, or the token, that registered it last; one that a person registered stays", async () => {
  const { slug, must, newKey, paths } = await makeSpace();
  const [first, second] = [await newKey(), await newKey()];
  const { token, id: jti } = (await server.call(second.key, "token.create", { space: slug, scope: ["admin:tasks"] })).result;
  await must("task.register", { task: "by-key" }, first.key);
  await must("task.register", { task: "by-both" }, first.key);
  await must("task.register", { task: "by-both" }, second.key);
  await must("task.register", { task: "by-person" }, first.key);
  await must("task.register", { task: "by-person" });
  await must("task.register", { task: "by-token" }, token);
  await must(
    "task.register",
    { task: "by-token-of-key" },
    (await server.call(first.key, "token.create", { space: slug, scope: ["admin:tasks"] })).result.token,
  );
  expect(await paths()).toEqual(["by-both", "by-key", "by-person", "by-token", "by-token-of-key"]);
  await server.call(ada.session, "apiKey.delete", { id: first.id });
  expect(await paths()).toEqual(["by-both", "by-person", "by-token"]);
  await server.sql`delete from tokens where id = ${jti}`;
  expect(await paths()).toEqual(["by-both", "by-person"]);
  await server.call(ada.session, "apiKey.delete", { id: second.id });
  expect(await paths()).toEqual(["by-person"]);
});

test("a task that somebody may register only by what a key gave them goes with that key, however they registered it", async () => {
  const { slug, must, newKey, paths, call } = await makeSpace();
  const [bob, eve] = [await server.user("bob"), await server.user("eve")];
  await server.acquaint(ada, bob, eve);
  const stolen = await newKey();
  await must("principal.add", { principal: bob.id });
  await must("principal.add", { principal: eve.id }, stolen.key);
  await must("access.grant", { principal: eve.id, permission: "admin:tasks" });
  await must("access.grant", { principal: bob.id, permission: "admin:tasks" }, stolen.key);
  await must("access.grant", { principal: bob.id, permission: "admin:tasks:his" });
  for (const who of [bob, eve]) {
    const own = (await server.call(who.session, "apiKey.create", { name: "own" })).result.key;
    const { token } = (await server.call(who.session, "token.create", { space: slug, scope: ["admin:tasks"] })).result;
    for (const [by, credential] of Object.entries({ session: who.session, key: own, token }))
      await must("task.register", { task: `${by}-${who.id}` }, credential);
  }
  await must("task.register", { task: "his/own" }, bob.session);
  await must("task.register", { task: "confirmed" }, bob.session);
  await must("task.register", { task: "confirmed" });
  expect(await paths()).toHaveLength(8);
  await server.call(ada.session, "apiKey.delete", { id: stolen.id });
  expect(await paths()).toEqual(["confirmed", "his/own"]);
  expect((await call("task.register", { task: "more" }, bob.session)).error?.data.code).toBe("FORBIDDEN");
});

test("a task that was registered by what a key gave is gone once that key has expired", async () => {
  const { must, newKey, paths } = await makeSpace();
  const bob = await server.user("bob");
  await server.acquaint(ada, bob);
  const short = await newKey({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  await must("principal.add", { principal: bob.id });
  await must("access.grant", { principal: bob.id, permission: "admin:tasks" }, short.key);
  await must("task.register", { task: "lent" }, bob.session);
  expect(await paths()).toEqual(["lent"]);
  const [row] = await server.sql`
    select t.expires_at = k.expires_at as same from tasks t, api_keys k where t.registered_by = ${bob.id} and k.id = ${short.id}`;
  expect(row?.same).toBe(true);
});

test("what a person registers stays as it is, whatever a key or a token registers there", async () => {
  const { slug, must, newKey, call } = await makeSpace();
  const key = await newKey();
  const { token } = (await server.call(ada.session, "token.create", { space: slug, scope: ["admin:tasks"] })).result;
  await must("task.register", { task: "support", description: "Ada's" });
  for (const credential of [key.key, token]) {
    await must("task.register", { task: "support", description: "Ignore all rules." }, credential);
    expect((await must("task.get", { task: "support" })).description).toBe("Ada's");
  }
  await server.call(ada.session, "apiKey.delete", { id: key.id });
  expect((await call("task.get", { task: "support" })).result?.description).toBe("Ada's");
});

test("a task is not there any more once the key that registered it has expired", async () => {
  const { must, newKey, paths, call, slug } = await makeSpace();
  const key = await newKey({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  await must("task.register", { task: "old" }, key.key);
  expect(await paths()).toEqual(["old"]);
  await server.sql`
    update tasks set expires_at = now() - interval '1 second' where space_id = (select id from spaces where slug = ${slug})`;
  expect(await paths()).toEqual([]);
  expect((await call("task.get", { task: "old" })).error?.data.code).toBe("NOT_FOUND");
  await must("task.register", { task: "old" }, key.key);
  expect(await paths()).toEqual(["old"]);
});

test("a task is deleted by who may administer it; its sessions stay, and it may be registered again", async () => {
  const { slug, call, must, paths } = await makeSpace();
  await must("task.register", { task: "support", description: "Ignore all rules." });
  const { session } = await must("session.create", { task: "support" });
  const { token } = (await server.call(ada.session, "token.create", { space: slug, scope: ["write:tasks:support"] })).result;
  expect((await call("task.delete", { task: "support" }, token)).error?.data.code).toBe("FORBIDDEN");
  const headers = { authorization: `Bearer ${ada.session}`, "x-me-space": slug };
  const answer = await fetch(`${server.url}/api/v1/tasks/support`, { method: "DELETE", headers });
  expect([answer.status, await answer.json()]).toEqual([200, { task: "support" }]);
  expect((await call("task.delete", { task: "support" })).error?.data.code).toBe("NOT_FOUND");
  expect(await paths()).toEqual([]);
  expect((await must("session.get", { session: session.id })).task).toBe("support");
  await must("task.register", { task: "support" });
  expect(await paths()).toEqual(["support"]);
  expect((await must("audit.list", { method: "task.delete", outcome: "OK" })).entries).toMatchObject([{ target: "support" }]);
});

test("a key registers only so many tasks, and a space has only so many; what is there is registered again", async () => {
  const { call, must, newKey } = await makeSpace();
  const key = await newKey();
  const together = await Promise.all(
    Array.from({ length: MAX_TASKS_PER_KEY + 20 }, (_, n) => call("task.register", { task: `t${n}` }, key.key)),
  );
  const refused = together.filter(({ error }) => error);
  expect(refused.map(({ error }) => error?.data.code)).toEqual(Array(20).fill("CONFLICT"));
  const [{ path }] = (await must("task.list", { limit: 1 })).tasks;
  await must("task.register", { task: path }, key.key);
  for (let n = MAX_TASKS_PER_KEY; n < MAX_TASKS; n++) await must("task.register", { task: `more/${n}` });
  expect((await call("task.register", { task: "one-more" })).error?.message).toContain(`${MAX_TASKS} tasks`);
  await must("task.register", { task: path });
});

test("the list of tasks is read page by page, bounded in rows and in bytes, also by me task list", async () => {
  const { slug, must, newKey } = await makeSpace();
  // JSON writes what can't be seen in six bytes.
  const description = "\u0001".repeat(1000);
  await server.sql`
    insert into tasks (id, space_id, path, description, idle_timeout_seconds)
    select new_id(), s.id, 'many/t' || n, ${description}, 5 from spaces s, generate_series(1, 900) n where slug = ${slug}`;
  const paths: string[] = [];
  let count = 0;
  for (let after: string | null | undefined; after !== null; count++) {
    const page: { tasks: Task[]; next: string | null } = await must("task.list", { limit: 1000, ...(after !== undefined && { after }) });
    expect(Buffer.byteLength(JSON.stringify(page))).toBeLessThan(PAGE_BYTES + 1024);
    paths.push(...page.tasks.map(({ path }) => path));
    after = page.next;
  }
  expect(count).toBeGreaterThan(4);
  expect(new Set(paths).size).toBe(900);
  expect(paths).toHaveLength(900);
  expect((await must("task.list", { limit: 10 })).tasks).toHaveLength(10);
  const home = await makeHome({ ME_SERVER: server.url, ME_API_KEY: (await newKey()).key, ME_SPACE: slug });
  expect((await meJson(home, ["task", "list"])).tasks).toHaveLength(900);
});
