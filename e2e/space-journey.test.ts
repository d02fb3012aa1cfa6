import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let space: string;
beforeAll(async () => {
  server = await startTestServer();
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  space = (await server.call(ada.session, "space.create", { name: "Team" })).result.slug;
});
afterAll(() => server.close());

test("a team shares a space with an agent, which gets exactly what it needs", async () => {
  const asAda = (method: string, params?: object) => server.call(ada.session, method, params, space);
  const asBob = (method: string, params?: object) => server.call(bob.session, method, params, space);

  // A stranger and a missing space look the same.
  const stranger = await asBob("space.get");
  const missing = await server.call(bob.session, "space.get", {}, "aaaaaaaaaaaa");
  expect(stranger.error).toMatchObject({ data: { code: "NOT_FOUND", reason: "stranger" } });
  expect(stranger.error?.message).toBe(missing.error?.message);

  // Bob is invited, and accepts.
  const { result: invite } = await asAda("invite.create", { email: bob.email });
  expect((await server.call(bob.session, "invite.pending")).result.invites).toMatchObject([
    { id: invite.id, space: { slug: space }, invitedBy: "Ada" },
  ]);
  expect((await server.call(bob.session, "invite.accept", { id: invite.id })).result).toEqual({ space: { slug: space, name: "Team" } });
  expect((await asBob("space.members")).result.members.map(({ name }: { name: string }) => name)).toEqual(["Ada", "Bob"]);

  // Bob's agent may do no more than Bob.
  const { result: bot } = await server.call(bob.session, "agent.create", { name: "bot" });
  const { result: key } = await server.call(bob.session, "apiKey.create", { name: "k", agent: bot.id });
  const asBot = (method: string, params?: object) => server.call(key.key, method, params, space);
  expect((await asBot("space.get")).error?.data.code).toBe("NOT_FOUND");
  expect((await asBob("principal.add", { principal: bot.id })).result).toMatchObject({ id: bot.id, kind: "a", admin: false });
  expect((await asBot("space.get")).result).toMatchObject({ slug: space, admin: false });
  await asAda("access.grant", { principal: bot.id, permission: "write:tasks:support" });
  const { result: no } = await asBot("access.explain", { permission: "write:tasks:support" });
  expect(no).toMatchObject({
    allowed: false,
    layers: [
      { layer: "grants", of: "bot", allows: true, by: "write:tasks:support" },
      { layer: "owner", of: "Bob", allows: false, by: null },
    ],
    grantors: ["Ada"],
  });
  await asAda("access.grant", { principal: bob.id, permission: "admin:tasks" });
  expect((await asBot("access.check", { permission: "read:tasks:support/billing" })).result).toEqual({ allowed: true });
  expect((await asBot("access.check", { permission: "write:tasks:sales" })).result).toEqual({ allowed: false });
  expect((await asBot("access.effective")).result.permissions).toEqual(["write:tasks:support"]);

  // A holder of admin over something gives of it, and of nothing else.
  expect((await asBob("access.grant", { principal: bot.id, permission: "read:tasks" })).result).toMatchObject({ permission: "read:tasks" });
  expect((await asBob("access.grant", { principal: bot.id, permission: "read:audit" })).error?.data).toMatchObject({
    code: "FORBIDDEN",
    reason: "permission",
    missing: ["admin:audit"],
    layer: "grants",
    grantors: ["Ada"],
  });

  // The record has it all.
  const { result: record } = await asAda("audit.list", { limit: 50 });
  expect(record.entries.map(({ method, outcome }: { method: string; outcome: string }) => `${method} ${outcome}`)).toEqual(
    expect.arrayContaining([
      "space.create OK",
      "invite.create OK",
      "invite.accept OK",
      "principal.add OK",
      "access.grant OK",
      "access.grant FORBIDDEN",
    ]),
  );

  // Who leaves takes nothing with them; their agents leave with them, at once.
  await asBob("space.leave");
  expect((await asBot("space.get")).error?.data).toMatchObject({ code: "NOT_FOUND", reason: "stranger" });
  expect((await asAda("access.list", { principal: bob.id })).result.grants).toEqual([]);
  expect((await asAda("principal.add", { principal: bob.id })).error).toMatchObject({
    data: { code: "NOT_FOUND" },
    message: expect.stringContaining("me invite create"),
  });
  expect((await asAda("space.leave")).error?.data.code).toBe("LAST_ADMIN");
});

test("groups carry grants to members, and own agents", async () => {
  const asAda = (method: string, params?: object) => server.call(ada.session, method, params, space);
  const asBob = (method: string, params?: object) => server.call(bob.session, method, params, space);
  await server.acquaint(ada, bob);
  const { result: group } = await asAda("group.create", { name: "Support" });
  await asAda("group.addMember", { group: group.id, member: bob.id });
  await asAda("access.grant", { principal: group.id, permission: "write:docs" });
  expect((await asBob("space.get")).error?.data.code).toBe("NOT_FOUND");
  await asAda("principal.add", { principal: bob.id });
  expect((await asBob("access.check", { permission: "write:docs" })).result).toEqual({ allowed: true });
  expect((await asBob("group.rename", { group: group.id, name: "Help" })).error?.data.code).toBe("FORBIDDEN");
  await asAda("group.setMemberAdmin", { group: group.id, member: bob.id, admin: true });
  expect((await asBob("group.rename", { group: group.id, name: "Help" })).result).toEqual({ id: group.id, name: "Help" });

  const { result: bot } = await server.call(ada.session, "agent.create", { name: "shared" });
  expect((await server.call(ada.session, "agent.transfer", { id: bot.id, to: group.id })).result).toMatchObject({ accepted: false });
  expect((await server.call(bob.session, "agent.offers")).result.offers).toMatchObject([
    { agent: { name: "shared" }, to: { name: "Help" } },
  ]);
  await server.call(bob.session, "agent.accept", { id: bot.id });
  expect((await server.call(bob.session, "agent.list")).result.agents).toMatchObject([
    { name: "bot" },
    { name: "shared", owner: { kind: "g" } },
  ]);
  expect((await server.call(ada.session, "agent.get", { id: bot.id })).error?.data.code).toBe("NOT_FOUND");
  await asBob("principal.add", { principal: bot.id });
  const { result: key } = await server.call(bob.session, "apiKey.create", { name: "k", agent: bot.id });
  await asAda("access.grant", { principal: bot.id, permission: "admin" });
  expect((await server.call(key.key, "access.effective", {}, space)).result.permissions).toEqual([`read:groups:${group.id}`, "write:docs"]);
  expect((await asAda("group.delete", { group: group.id })).error?.data.code).toBe("CONFLICT");
});

test("what a key makes goes when the key goes", async () => {
  const carol = await server.user("Carol");
  await server.acquaint(ada, carol);
  const { result: key } = await server.call(ada.session, "apiKey.create", { name: "stolen" });
  await server.call(key.key, "principal.add", { principal: carol.id }, space);
  await server.call(key.key, "access.grant", { principal: carol.id, permission: "read:docs" }, space);
  expect((await server.call(carol.session, "access.check", { permission: "read:docs" }, space)).result).toEqual({ allowed: true });
  await server.call(ada.session, "apiKey.delete", { id: key.id });
  expect((await server.call(carol.session, "space.get", {}, space)).error?.data.code).toBe("NOT_FOUND");
});

test("a limited credential is told what is within its limits, and nothing of its person's other grants and groups", async () => {
  const carol = await server.user("Carol");
  await server.join(space, ada, carol);
  const { id: group } = (await server.call(ada.session, "group.create", { name: "Committee" }, space)).result;
  await server.call(ada.session, "group.addMember", { group, member: carol.id }, space);
  for (const permission of ["write:payroll", "write:docs"])
    await server.call(ada.session, "access.grant", { principal: carol.id, permission }, space);
  const keyOf = async (...ceiling: string[]) =>
    (await server.call(carol.session, "apiKey.create", { name: ceiling.join(" "), ceiling })).result.key as string;
  const tokenOf = async (...scope: string[]) => (await server.call(carol.session, "token.create", { space, scope })).result.token as string;

  for (const [credential, layer] of [
    [await keyOf("read:docs"), "ceiling"],
    [await tokenOf("read:docs"), "token"],
  ] as const) {
    const ask = (method: string, params: object = {}) => server.call(credential, method, params, space);
    expect((await ask("access.effective")).result).toMatchObject({
      permissions: ["read:docs"],
      layers: [{ layer, permissions: ["read:docs"] }],
    });
    const explained = async (permission: string) => (await ask("access.explain", { permission })).result;
    expect(await explained("read:docs")).toMatchObject({
      allowed: true,
      layers: [
        { allows: true, by: null },
        { layer, by: "read:docs" },
      ],
    });
    // The answer is the same for what its person holds and for what they do not hold.
    const held = await explained("write:payroll");
    expect(held).toMatchObject({ allowed: false, layers: [{ layer, allows: false }] });
    expect(await explained("write:mail")).toEqual({ ...held, needed: ["write:mail"] });
    const minted = async (permission: string) =>
      (await server.call(credential, "token.create", { space, scope: [permission] })).error?.data.layer;
    expect([await minted("write:payroll"), await minted("write:mail")]).toEqual([layer, layer]);
    for (const params of [{}, { member: carol.id }])
      expect((await ask("group.listForMember", params)).error?.data).toMatchObject({ code: "FORBIDDEN", missing: ["read:groups"] });
  }
  const wide = await keyOf("read:docs", "read:grants", "read:groups");
  const told = (await server.call(wide, "access.effective", {}, space)).result;
  expect(told.layers[0]).toMatchObject({ layer: "grants", permissions: expect.arrayContaining(["write:payroll"]) });
  expect((await server.call(wide, "group.listForMember", {}, space)).result.groups).toMatchObject([{ name: "Committee" }]);
});

test("an agent is told of its owner's grants by yes and no alone, until it may read grants; its owner is told all", async () => {
  const carol = await server.user("Carol");
  await server.join(space, ada, carol);
  const grant = (principal: string, permission: string) => server.call(ada.session, "access.grant", { principal, permission }, space);
  const { id } = (await server.call(carol.session, "agent.create", { name: "helper" })).result;
  await server.call(carol.session, "principal.add", { principal: id }, space);
  const { key } = (await server.call(carol.session, "apiKey.create", { name: "k", agent: id })).result;
  await grant(carol.id, "write:payroll");
  await grant(carol.id, "write:docs");
  await grant(id, "read:docs");
  const layersOf = async (credential: string, principal?: string) =>
    (await server.call(credential, "access.effective", { principal }, space)).result.layers.map(({ layer }: { layer: string }) => layer);
  expect(await layersOf(key)).toEqual(["grants"]);
  const { layers } = (await server.call(key, "access.explain", { permission: "read:docs" }, space)).result;
  expect(layers).toMatchObject([
    { layer: "grants", by: "read:docs" },
    { layer: "owner", allows: true, by: null },
  ]);
  expect(await layersOf(carol.session, id)).toEqual(["grants", "owner"]);
  for (const principal of [carol.id, id]) await grant(principal, "read:grants");
  expect(await layersOf(key)).toEqual(["grants", "owner"]);
});

test("a refusal names the admins to those alone who may read who is here", async () => {
  const { result: agent } = await server.call(ada.session, "agent.create", { name: "narrow" });
  await server.call(ada.session, "principal.add", { principal: agent.id }, space);
  const told = async (...ceiling: string[]) => {
    const { result: key } = await server.call(ada.session, "apiKey.create", { name: `k${ceiling.length}`, agent: agent.id, ceiling });
    const { error } = await server.call(key.key, "session.create", { task: "support" }, space);
    expect(error?.data).toMatchObject({ code: "FORBIDDEN", layer: "grants" });
    return error;
  };
  expect((await told("write:tasks", "read:members"))?.data.grantors).toEqual(["Ada"]);
  // Nor is it told by asking about somebody else.
  const about = async (...ceiling: string[]) => {
    const { result: key } = await server.call(ada.session, "apiKey.create", { name: `about ${ceiling.length}`, ceiling });
    return (await server.call(key.key, "access.explain", { principal: agent.id, permission: "write:docs" }, space)).result;
  };
  expect(await about("read:grants", "read:members")).toMatchObject({ allowed: false, grantors: ["Ada"] });
  expect(await about("read:grants")).toMatchObject({ allowed: false, grantors: [] });
  const narrow = await told("write:tasks");
  expect(narrow?.data.grantors).toEqual([]);
  expect(JSON.stringify(narrow)).not.toContain("Ada");
});
