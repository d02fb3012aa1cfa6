import { decodeJwt } from "jose";
import { ClientSecretBasic, ClientSecretPost, None } from "oauth4webapi";
import { afterAll, beforeAll, expect, test } from "vitest";
import { must } from "./changes.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { ACCESS_TOKEN, bearer, EXCHANGE, exchange, expectRefusal, introspect, postForm } from "./oauth.ts";
import { isGood, makeTokenWorld, mint, type TokenWorld } from "./token-world.ts";

// An agent that acts for a user (RFC 8693 §1.1, delegation): by a token that the user made for it, and its own key.

let server: TestServer;
let world: TokenWorld;
let space: string;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeTokenWorld(server);
  space = world.space.slug;
});
afterAll(() => server.close());

/** Posts an exchange. */
const post = (form: object, headers?: Record<string, string>) =>
  postForm(
    `${server.url}/api/v1/token`,
    { grant_type: EXCHANGE, subject_token_type: ACCESS_TOKEN, space, scope: "read:tasks", ...form },
    headers,
  );

/** The ways in which an agent proves itself beside the subject's token. */
const proofs: Record<string, (key: string) => [Record<string, string>, ReturnType<typeof None>]> = {
  client_secret_basic: (key) => [{}, ClientSecretBasic(key)],
  client_secret_post: (key) => [{}, ClientSecretPost(key)],
  "a Bearer token": (key) => [{}, bearer(key)],
  actor_token: (key) => [{ actor_token: key, actor_token_type: ACCESS_TOKEN }, None()],
};

/** A token by which Bob's helper acts for Ada. */
async function delegated(proof = "client_secret_basic") {
  const subject = await mint(world, world.pat.key, "admin:tasks", { mayAct: world.helper.id });
  const [form, by] = proofs[proof]?.(world.helper.key) ?? [{}, None()];
  const made = await exchange(server.url, subject.token, { space, scope: "write:tasks:support", ...form }, by);
  return { token: made.access_token, subject };
}

test.each(Object.keys(proofs))("an agent that proves itself by %s acts for the user, and everything says so", async (proof) => {
  const { token } = await delegated(proof);
  expect(decodeJwt(token)).toMatchObject({ sub: world.ada.id, act: { sub: world.helper.id } });
  expect(await must(server, token, "whoami")).toMatchObject({ id: world.ada.id, kind: "u", act: { id: world.helper.id } });
  expect(await introspect(server.url, token, bearer(world.pat.key))).toMatchObject({
    active: true,
    sub: world.ada.id,
    act: { sub: world.helper.id },
    scope: "write:tasks:support",
  });
  const further = await exchange(server.url, token, { space, scope: "read:tasks:support" });
  expect(await must(server, further.access_token, "whoami")).toMatchObject({ act: { id: world.helper.id } });
  const { entries } = await must(server, world.ada.session, "audit.list", { actor: world.ada.id, method: "token.create" }, space);
  expect(entries.slice(0, 3).map(({ act }: { act: string | null }) => act)).toEqual([world.helper.id, world.helper.id, null]);
});

test("an agent acts with the layers of both: neither widens the other", async () => {
  const subject = await mint(world, world.pat.key, "admin", { mayAct: world.helper.id });
  const asHelper = { authorization: `Bearer ${world.helper.key}` };
  const wide = await post({ subject_token: subject.token, scope: "write:tasks:support read:audit admin:tasks:support" }, asHelper);
  expect(wide.body).toMatchObject({ error: "invalid_scope", missing: ["read:audit", "admin:tasks:support"], layer: "actor" });
  const { token } = await delegated();
  const passedOn = await post({ subject_token: token, scope: "read:tasks", may_act: world.bot.id });
  expectRefusal(passedOn, "invalid_scope", [token]);
});

test("nobody acts but the agent that the token was made for, and only for who made it", async () => {
  const { token: subject } = await mint(world, world.pat.key, "admin:tasks", { mayAct: world.helper.id });
  const asking = { subject_token: subject, scope: "read:tasks:support" };
  const agentsToken = (await mint(world, world.helper.key, "read:tasks:support")).token;
  const wrong = [world.bot.key, world.bobs.key, world.ada.session, world.secret.key, agentsToken, "me_agent_x"];
  for (const actor of wrong)
    expectRefusal(await post({ ...asking, actor_token: actor, actor_token_type: ACCESS_TOKEN }), "invalid_request", [actor]);
  for (const alone of [{}, { actor_token: subject, actor_token_type: ACCESS_TOKEN }])
    expectRefusal(await post({ ...asking, ...alone }), "invalid_request", [subject]);
  const plain = (await mint(world, world.pat.key, "admin:tasks")).token;
  for (const token of [world.pat.key, world.ada.session, world.bot.key, plain]) {
    const asActor = { actor_token: world.helper.key, actor_token_type: ACCESS_TOKEN };
    expectRefusal(await post({ ...asking, subject_token: token, ...asActor }), "invalid_request", [token]);
  }
  for (const client of [world.bot.key, world.bobs.key, world.secret.key])
    expectRefusal(await post(asking, { authorization: `Bearer ${client}` }), "invalid_request", [subject]);
  expect(await isGood(server, subject)).toBe(false);
  expect((await server.call(world.bot.key, "token.create", { space, scope: ["read"], mayAct: world.helper.id })).error?.data.reason).toBe(
    "user-only",
  );
});

test("a credential that may not read who is in the space learns by mayAct of no agent there", async () => {
  const { id: absent } = await must(server, world.ada.session, "agent.create", { name: "absent" });
  const keyOf = async (...ceiling: string[]) =>
    (await must(server, world.ada.session, "apiKey.create", { name: ceiling.join(" "), ceiling })).key as string;
  const ask = async (credential: string, mayAct: string) => {
    const { error } = await server.call(credential, "token.create", { space: world.space.slug, scope: ["read:docs"], mayAct });
    return error && { ...error, data: { ...error.data, requestId: "" } };
  };
  for (const credential of [await keyOf("read:docs"), (await mint(world, world.pat.key, "read:docs")).token]) {
    const refused = await ask(credential, absent);
    expect(refused?.data).toMatchObject({ code: "FORBIDDEN", missing: ["read:members"] });
    expect(await ask(credential, world.helper.id)).toEqual(refused);
  }
  const reader = await keyOf("read:docs", "read:members");
  expect([await ask(reader, world.helper.id), (await ask(reader, absent))?.data.code]).toEqual([undefined, "NOT_FOUND"]);
});

test("a subject's token serves again and again, until it is revoked or has expired", async () => {
  const { subject } = await delegated();
  const again = () => post({ subject_token: subject.token, scope: "read:tasks:support" }, { authorization: `Bearer ${world.helper.key}` });
  const made = [await again(), await again(), await again()];
  expect(made.map(({ status }) => status)).toEqual([200, 200, 200]);
  await must(server, world.pat.key, "token.revoke", { token: subject.token });
  expectRefusal(await again(), "invalid_request", [subject.token]);
  for (const { body } of made) expect(await isGood(server, body.access_token)).toBe(false);
  const old = await mint(world, world.pat.key, "admin:tasks", { mayAct: world.helper.id });
  await server.sql`update tokens set expires_at = now() where id = ${old.id}`;
  expectRefusal(await post({ subject_token: old.token }, { authorization: `Bearer ${world.helper.key}` }), "invalid_request", [old.token]);
});

const endings: Record<string, (world: TokenWorld) => Promise<unknown>> = {
  "the agent's key is revoked": ({ bob, helper }) => must(server, bob.session, "apiKey.delete", { id: helper.keyId }),
  "the agent's key is rotated": ({ bob, helper }) => must(server, bob.session, "apiKey.rotate", { id: helper.keyId, overlapHours: 0 }),
  "the agent is removed": ({ ada, helper, space }) => must(server, ada.session, "principal.remove", { principal: helper.id }, space.slug),
  "the agent is deleted": ({ bob, helper }) => must(server, bob.session, "agent.delete", { id: helper.id }),
  "the agent's owner is removed": ({ ada, bob, space }) => must(server, ada.session, "principal.remove", { principal: bob.id }, space.slug),
  "the user's key is revoked": ({ ada, pat }) => must(server, ada.session, "apiKey.delete", { id: pat.id }),
  "the space is deleted": ({ ada, space }) => must(server, ada.session, "space.delete", { slug: space.slug, confirm: space.slug }),
};

test.each(Object.keys(endings))("when %s, the agent acts for the user no more", async (ending) => {
  const fresh = await makeTokenWorld(server);
  const subject = await mint(fresh, fresh.pat.key, "admin:tasks", { mayAct: fresh.helper.id });
  const form = { space: fresh.space.slug, scope: "write:tasks:support" };
  const { access_token: token } = await exchange(server.url, subject.token, form, bearer(fresh.helper.key));
  const may = async () =>
    (await server.call(token, "access.check", { permission: "write:tasks:support" }, form.space)).result?.allowed === true;
  expect(await may()).toBe(true);
  await endings[ending]?.(fresh);
  expect(await may()).toBe(false);
  await expect(exchange(server.url, subject.token, form, bearer(fresh.helper.key))).rejects.toThrow();
});

test("what an agent does for a user ends with the first of what it hangs on, and its time says so", async () => {
  const soon = new Date(Date.now() + 120_000).toISOString();
  const { key } = await must(server, world.bob.session, "apiKey.create", { name: "soon over", agent: world.helper.id, expiresAt: soon });
  const { token: subject } = await mint(world, world.pat.key, "admin:tasks", { mayAct: world.helper.id });
  const made = await exchange(server.url, subject, { space, scope: "read:tasks:support", ttl: "3600" }, bearer(key));
  expect((decodeJwt(made.access_token).exp as number) * 1000).toBeLessThanOrEqual(Date.parse(soon));
});

test("a token is at most the eighth that is minted from another, by whichever way", async () => {
  let token = world.pat.key;
  for (let depth = 0; depth < 8; depth++) token = (await must(server, token, "token.create", { space, scope: ["read:tasks"] })).token;
  expect(await must(server, token, "whoami")).toMatchObject({ id: world.ada.id });
  const { error } = await server.call(token, "token.create", { space, scope: ["read:tasks"] });
  expect(error?.data).toMatchObject({ code: "LIMIT_REACHED" });
  expect(error?.message).toContain("Mint from the key");
  const answered = await post({ subject_token: token });
  expect([answered.status, answered.text]).toEqual([400, expect.stringContaining("Mint from the key")]);
});
