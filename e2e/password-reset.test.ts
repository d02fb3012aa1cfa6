import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { fill, findings, follow, openWindow, said, shown } from "./browser.ts";
import { openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { giveAuthenticator, type NamedServer, signInto, startNamedServer } from "./pages-world.ts";
import { inputOf, routes, sendTo, valuesFor } from "./people-routes.ts";
import { until } from "./run.ts";

const NEW = "a new password, quite long";
let box: Awaited<ReturnType<typeof openMailbox>>;
let server: NamedServer;
beforeAll(async () => {
  box = await openMailbox();
  server = await startNamedServer({ SIGN_UP: "open", ...box.settings });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await box.close();
});

const later = routes.filter(({ later }) => later);
test("every route that sends mail does so after its answer", () => {
  expect(routes.filter(({ limit }) => limit === "mail")).toEqual(later);
  expect(later.length).toBeGreaterThan(2);
});

test.each(later)("$path is answered before anybody looks whether there is such an account, and done then", async (route) => {
  const ada = await server.user("Ada");
  await server.sql`update auth."user" set "emailVerified" = false where id = ${ada.id}`;
  const fresh = `new-${ada.id}@example.com`;
  const answers = await server.sql.begin(async (tx) => {
    await tx`lock table auth."user" in access exclusive mode`;
    const send = (email: string) => sendTo(server.url, route, inputOf(route, valuesFor(email), {}));
    return Promise.all([send(ada.email), send(fresh), send(ada.email)]);
  });
  for (const answer of answers) expect(answer).toEqual({ status: 200, code: undefined, text: '{"status":true}' });
  const mailed = route.path === "/sign-up/email" ? fresh : ada.email;
  await until(`there is mail to ${mailed}`, () => box.mails.some(({ to }) => to === mailed));
});

test("what was asked for is done before the server stops", async () => {
  const own = await startNamedServer({ ...box.settings });
  const eve = await own.user("Eve");
  expect((await openJar(own.url).post("/api/auth/request-password-reset", { email: eve.email }, { origin: own.origin })).status).toBe(200);
  await own.close();
  expect(box.mails.filter(({ to }) => to === eve.email)).toHaveLength(1);
});

test("after a reset, a person is told which passkeys, connected accounts and keys still work, and revokes them all on their page", async () => {
  const ada = await server.user("Ada");
  const { page, complaints } = await openWindow();
  await giveAuthenticator(page);
  await signInto(page, server.origin, ada);
  await page.goto(`${server.origin}/account`);
  await fill(page, "#passkey-name", "The thief's laptop");
  await follow(page, "form#add button");
  const { id: agent } = (await server.call(ada.session, "agent.create", { name: "bot" })).result;
  const { key } = (await server.call(ada.session, "apiKey.create", { name: "The thief's key" })).result;
  const { key: agents } = (await server.call(ada.session, "apiKey.create", { name: "for the bot", agent })).result;
  const expired = (await server.call(ada.session, "apiKey.create", { name: "old" })).result;
  await server.sql`update api_keys set expires_at = now() where id = ${expired.id}`;
  await server.sql`
    insert into auth.account (id, "userId", "accountId", "providerId") values (${ada.id}, ${ada.id}, 'https://corp.example 666', 'corp')`;

  const jar = openJar(server.url);
  const post = (path: string, body: object) => jar.post(`/api/auth${path}`, body, { origin: server.origin });
  await post("/request-password-reset", { email: ada.email });
  const token = await box.token(ada.email);
  await page.goto(`${server.origin}/reset-password#token=${token}`);
  await fill(page, "#new", NEW);
  await follow(page, "form#change button");
  expect(await said(page)).toContain("Passkeys, connected accounts and API keys still work");
  const notice = await until("they are told by mail", () => box.mails.find(({ to }) => to === ada.email));
  expect(notice.text.replace(/\s+/g, " ")).toContain(
    "Still good: 1 of your passkeys, 1 connected accounts at other providers, 2 API keys of yours and your agents'.",
  );
  expect(notice.text).toContain("Secret keys of your spaces");
  expect(notice.text).toContain(`${server.origin}/account`);
  expect(notice.text).not.toContain("thief"); // names are whatever somebody has written
  expect((await server.call(ada.session, "whoami")).status).toBe(401);
  expect((await server.call(key, "whoami")).result.id).toBe(ada.id);

  await fill(page, "#email", ada.email);
  await fill(page, "#secret", NEW);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  const account = await shown(page);
  for (const part of ["The thief's laptop", "Disconnect corp", "The thief's key", "for the bot", "of “bot”"])
    expect(account).toContain(part);
  expect(account).not.toContain("“old”");
  expect(await findings(page)).toEqual([]);
  const elsewhere = openJar(server.url);
  await elsewhere.post("/api/auth/sign-in/email", { email: ada.email, password: NEW }, { origin: server.origin });
  expect(await elsewhere.whoami()).toBe(ada.email);
  await follow(page, "form#revoke-all button");
  expect(await shown(page)).toContain("All passkeys, connected accounts and API keys are revoked.");
  expect(await elsewhere.whoami(), "who came in by one of them is out").toBeUndefined();
  for (const credential of [key, agents]) expect((await server.call(credential, "whoami")).status).toBe(401);
  expect(await server.sql`select from auth.passkey where "userId" = ${ada.id}`).toHaveLength(0);
  expect(await server.sql`select "providerId" from auth.account where "userId" = ${ada.id}`).toEqual([{ providerId: "credential" }]);
  expect(await shown(page)).toContain("No API key works for you or your agents.");
  expect(complaints).toEqual([]);
});

test("to revoke all ends also what came after the page was loaded, and is not stopped by what is gone already", async () => {
  const ada = await server.user("Ada");
  const { page } = await openWindow();
  await signInto(page, server.origin, ada);
  const bait = (await server.call(ada.session, "apiKey.create", { name: "bait" })).result;
  const kept = (await server.call(ada.session, "apiKey.create", { name: "kept" })).result;
  await page.goto(`${server.origin}/account`);
  const thief = openJar(server.url);
  await thief.post("/api/auth/sign-in/email", { email: ada.email, password: ada.password }, { origin: server.origin });
  const late = (await server.call(ada.session, "apiKey.create", { name: "late" })).result;
  await server.call(ada.session, "apiKey.delete", { id: bait.id });
  await follow(page, "form#revoke-all button");
  expect(await shown(page)).toContain("All passkeys, connected accounts and API keys are revoked.");
  expect(await shown(page)).toContain("No API key works for you or your agents.");
  for (const key of [kept.key, late.key]) expect((await server.call(key, "whoami")).status).toBe(401);
  expect(await thief.whoami()).toBeUndefined();
  const entries = await server.sql`select from audit where actor_id = ${ada.id} and method = 'apiKey.delete'`;
  expect(entries).toHaveLength(3);
});

test("whose only way in is an account at a provider keeps it, and is told when all else is revoked", async () => {
  const eve = await server.user("Eve");
  const { key } = (await server.call(eve.session, "apiKey.create", { name: "key" })).result;
  await server.sql`delete from auth.account where "userId" = ${eve.id}`;
  await server.sql`
    insert into auth.account (id, "userId", "accountId", "providerId") values (new_id(), ${eve.id}, 'https://corp.example 7', 'corp')`;
  const jar = openJar(server.url);
  const { status, body } = await jar.post("/api/auth/revoke-all", { all: true }, { authorization: `Bearer ${eve.session}` });
  expect([status, body.code]).toEqual([409, "CONFLICT"]);
  expect(body.detail).toContain("choose one by mail first");
  expect((await server.call(key, "whoami")).status).toBe(401);
  expect(await server.sql`select from auth.account where "userId" = ${eve.id}`).toHaveLength(1);
});

test("keys of agents whose group one administers are told of after a reset, listed, and revoked with all", async () => {
  const ada = await server.user("Ada");
  const must = async (method: string, params: object, space?: string) => {
    const { result, error } = await server.call(ada.session, method, params, space);
    if (error) throw new Error(JSON.stringify(error));
    return result;
  };
  const { slug } = await must("space.create", { name: "Home" });
  const { id: group } = await must("group.create", { name: "crew" }, slug);
  await must("group.addMember", { group, member: ada.id }, slug);
  await must("group.setMemberAdmin", { group, member: ada.id, admin: true }, slug);
  const { id: agent } = await must("agent.create", { name: "worker" });
  await must("agent.transfer", { id: agent, to: group });
  const { key } = await must("apiKey.create", { name: "the thief's", agent });
  const jar = openJar(server.url);
  const post = (path: string, body: object) => jar.post(`/api/auth${path}`, body, { origin: server.origin });
  await post("/request-password-reset", { email: ada.email });
  expect((await post("/reset-password", { newPassword: NEW, token: await box.token(ada.email) })).status).toBe(200);
  const notice = await until("they are told by mail", () =>
    box.mails.find(({ to, text }) => to === ada.email && text.includes("Still good")),
  );
  expect(notice.text.replace(/\s+/g, " ")).toContain("1 API keys of yours and your agents'.");
  expect(notice.text).toContain("open invitations");
  const session = (await post("/sign-in/email", { email: ada.email, password: NEW })).headers.get("set-auth-token") as string;
  const { page } = await openWindow();
  await signInto(page, server.origin, { ...ada, session });
  await page.goto(`${server.origin}/account`);
  expect(await shown(page)).toContain("of “worker” of the group “crew”");
  await follow(page, "form#revoke-all button");
  expect((await server.call(key, "whoami")).status).toBe(401);
});

test("a new password ends every link to choose one that was mailed before, and no one else's", async () => {
  const [eve, ben] = [await server.user("Eve"), await server.user("Ben")];
  const post = (path: string, body: object) => openJar(server.url).post(`/api/auth${path}`, body, { origin: server.origin });
  const link = async ({ email }: { email: string }) => {
    await post("/request-password-reset", { email });
    return box.token(email);
  };
  const [first, second, bens] = [await link(eve), await link(eve), await link(ben)];
  expect((await post("/reset-password", { newPassword: NEW, token: second })).body).toEqual({ status: true });
  const again = await post("/reset-password", { newPassword: "a password of the thief's", token: first });
  expect([again.status, again.body.code]).toEqual([400, "INVALID_PARAMS"]);
  expect((await post("/sign-in/email", { email: eve.email, password: "a password of the thief's" })).status).toBe(401);
  expect((await post("/sign-in/email", { email: eve.email, password: NEW })).status).toBe(200);
  expect((await post("/reset-password", { newPassword: NEW, token: bens })).status).toBe(200);
});

test("a new password ends the offers of agents that were made before, and no one else's", async () => {
  const [ada, bob, mallory] = [await server.user("Ada"), await server.user("Bob"), await server.user("Mallory")];
  await server.acquaint(ada, bob, mallory);
  const agents = await Promise.all(
    [ada, bob].map(async ({ session }) => {
      const { id } = (await server.call(session, "agent.create", { name: "bot" })).result;
      expect((await server.call(session, "agent.transfer", { id, to: mallory.id })).result.accepted).toBe(false);
      return id;
    }),
  );
  const jar = openJar(server.url);
  const post = (path: string, body: object) => jar.post(`/api/auth${path}`, body, { origin: server.origin });
  await post("/request-password-reset", { email: ada.email });
  expect((await post("/reset-password", { newPassword: NEW, token: await box.token(ada.email) })).status).toBe(200);
  const { offers } = (await server.call(mallory.session, "agent.offers")).result;
  expect(offers.map(({ agent }: { agent: { id: string } }) => agent.id)).toEqual([agents[1]]);
  expect((await server.call(mallory.session, "agent.accept", { id: agents[0] })).error?.data.code).toBe("NOT_FOUND");
});

test("one key is revoked by its own button, and no other", async () => {
  const ben = await server.user("Ben");
  const made = async (name: string) => (await server.call(ben.session, "apiKey.create", { name })).result;
  const [one, other] = [await made("one"), await made("other")];
  const { page } = await openWindow();
  await signInto(page, server.origin, ben);
  await page.goto(`${server.origin}/account`);
  await page.$eval(`form[data-revoke="${one.id}"]`, (form) => form.closest("details")?.setAttribute("open", ""));
  await follow(page, `form[data-revoke="${one.id}"] button`);
  expect(await shown(page)).toContain("The API key is revoked.");
  expect((await server.call(one.key, "whoami")).status).toBe(401);
  expect((await server.call(other.key, "whoami")).result.id).toBe(ben.id);
});
