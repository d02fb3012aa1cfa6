import { randomBytes } from "node:crypto";
import { type Api, type SpaceApi, spaceApi, type UserApi, userApi } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { anyParams, callText } from "./junk.ts";
import { type Targets, targetsOf, uniqueName, validParams } from "./params.ts";
import { spaceMethods, validSpaceParams } from "./space-params.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";
import { timed, withinNoise } from "./stopwatch.ts";
import { visible } from "./visible.ts";
import { newId } from "./worlds.ts";

let server: TestServer;
let world: SpaceWorld;
/** In spaces, but not in that of the world. */
let mallory: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
  mallory = await server.user("Mallory");
  await server.call(mallory.session, "space.create", { name: "Elsewhere" });
});
afterAll(() => server.close());

const missingSlug = () => randomBytes(6).toString("hex");
const knock = (slug: string, body: string, credential: string | undefined = mallory.session) =>
  server.post(body, { "x-me-space": slug, authorization: `Bearer ${credential}` });

/** Values of X-Me-Space that are the slug of no space at all. */
const malformed = fc.oneof(
  fc.constantFrom("", "a", "AAAAAAAAAAAA", "aaaaaaaaaaa-", "aaaaaaaaaaaaa", "' or true --", "null", "00000000-0000-7000-8000-000000000000"),
  fc.string({ unit: "grapheme-ascii", maxLength: 40 }),
);

describe("a stranger can't tell a space that exists from one that does not", () => {
  test("by what any call of any method is answered: status, headers and body", async () => {
    const first = visible(await knock(missingSlug(), callText("space.get", undefined)));
    expect(JSON.parse(first.text).error).toMatchObject({ code: 404, data: { code: "NOT_FOUND", reason: "stranger" } });
    for (const method of spaceMethods) {
      const body = callText(method, JSON.stringify(await validSpaceParams(method, world)));
      for (const slug of [world.slug, missingSlug(), "malformed"]) expect(visible(await knock(slug, body)), method).toEqual(first);
    }
    const anyMethod = fc.oneof(fc.constantFrom(...spaceMethods, "whoami", "toString", "__proto__"), fc.string());
    const anySlug = fc.oneof(fc.constant(world.slug), fc.constantFrom(missingSlug(), missingSlug()), malformed);
    await fc.assert(
      fc.asyncProperty(anySlug, anyMethod, anyParams, async (slug, method, { text }) => {
        expect(visible(await knock(slug, callText(method, text)))).toEqual(first);
      }),
      { numRuns: 500 },
    );
  });

  test("by a batch, a notification, or a body that is no call", async () => {
    const call = callText("space.get", undefined);
    const bodies = [`[${call},${call}]`, '{"jsonrpc":"2.0","method":"space.leave"}', "[]", "{", '{"jsonrpc":"2.0","id":7}', "null"];
    for (const body of bodies) {
      const [there, ...others] = await Promise.all([world.slug, missingSlug(), "malformed"].map((slug) => knock(slug, body)));
      const seen = (answer = there) => answer && (answer.status === 204 ? { status: 204, text: answer.text } : visible(answer));
      for (const other of others) expect(seen(other), body).toEqual(seen());
    }
  });

  test("at the AuthZEN door", async () => {
    const body = JSON.stringify({
      subject: { type: "user", id: world.ada.id },
      action: { name: "read" },
      resource: { type: "tasks", id: "support" },
    });
    const answers = await Promise.all(
      ["evaluation", "evaluations"].flatMap((path) =>
        [world.slug, missingSlug(), "malformed"].map(async (slug) => {
          const headers = { "content-type": "application/json", "x-me-space": slug, authorization: `Bearer ${mallory.session}` };
          const answer = await fetch(`${server.url}/access/v1/${path}`, { method: "POST", headers, body });
          return visible({ status: answer.status, headers: answer.headers, text: await answer.text() });
        }),
      ),
    );
    expect(answers[0]).toMatchObject({ status: 404, text: expect.stringContaining("NOT_FOUND") });
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  });

  test("by the time it takes, measured over 2,000 pairs", async () => {
    const { key } = await world.must(mallory.session, "apiKey.create", { name: "stopwatch" });
    const spaces: string[] = [];
    for (let i = 0; i < 20; i++) spaces.push((await world.must(world.ada.session, "space.create", { name: uniqueName() })).slug);
    const ask = (slug: string) => knock(slug, callText("space.get", undefined), key);
    const kinds = {
      there: (i: number) => ask(spaces[i % spaces.length] as string),
      missing: () => ask(missingSlug()),
      malformed: () => ask(`${missingSlug()}!`),
    };
    expect(await timed(kinds), "existing or missing: how much better than by a coin one guesses by the clock").toSatisfy(withinNoise);
  });
});

/** Every param of every method that takes an id, found by what its schema takes: any id can be that of a principal. */
const naming = Object.entries({ user: userApi, space: spaceApi } as Record<string, Api>).flatMap(([door, api]) =>
  Object.entries(api).flatMap(([method, { params }]) =>
    Object.entries(params.shape).flatMap(([param, schema]) => {
      const takes = (value: unknown) => schema.safeParse(value).success;
      if (takes("any text")) return [];
      const wrap = [(id: string) => id, (id: string) => [id]].find((value) => takes(value(newId())));
      return wrap ? [{ door, method, param, wrap }] : [];
    }),
  ),
);

describe("a name can't be told from an id", () => {
  /** Who is in no space with Ada, each with an id of nobody that is as old. */
  const strangers: { who: string; id: string; missing: string }[] = [];
  /** What nobody may be told of them. */
  const secrets: string[] = [];
  const askers: Record<string, string> = {};
  let targets: Targets;
  beforeAll(async () => {
    const { ada, bob, asAda, must } = world;
    targets = targetsOf(server, ada);
    const { id: aide } = await must(ada.session, "agent.create", { name: "aide" });
    await asAda("principal.add", { principal: aide });
    await asAda("access.grant", { principal: aide, permission: "admin" });
    Object.assign(askers, { admin: ada.session, member: bob.session });
    const key = async (name: string, rest: object = {}) => (await must(ada.session, "apiKey.create", { name, ...rest })).key;
    askers["admin's token"] = await key("token");
    askers["admin's limited token"] = await key("limited", { ceiling: ["write:members", "admin:docs"] });
    askers["admin's agent"] = await key("aide", { agent: aide });

    const [user, left] = [await server.user(uniqueName()), await server.user(uniqueName())];
    const lobby = await server.acquaint(ada, left);
    await must(left.session, "space.leave", {}, lobby);
    const named = async (method: string, space?: string) => {
      const made = await must(user.session, method, { name: uniqueName() }, space);
      secrets.push(made.name);
      return made;
    };
    const [agent, elsewhere] = [await named("agent.create"), await named("space.create")];
    const group = await named("group.create", elsewhere.slug);
    const secret = await must(user.session, "secretKey.create", { name: uniqueName() }, elsewhere.slug);
    const service = await must(secret.key, "whoami", {});
    secrets.push(...[user, left].flatMap(({ email }) => [email, email.slice(0, email.lastIndexOf("-"))]));
    for (const [who, { id }] of Object.entries({ user, agent, group, service, "somebody who has left": left }))
      strangers.push({ who, id, missing: id.slice(0, 14) + newId().slice(14) });
  });

  /** All that may be seen of what is asked with an id, and of whether one may ask it; only the ids may differ. */
  const answers = async ({ door, method, param, wrap }: (typeof naming)[number], credential: string, id: string) => {
    const inSpace = door === "space";
    const valid = await (inSpace ? validSpaceParams(method as keyof SpaceApi, world) : validParams(method as keyof UserApi, targets));
    const params = { ...valid, [param]: wrap(id) };
    const why = ["access.explain", "access.check"].flatMap((question) =>
      inSpace ? [callText(question, JSON.stringify({ method, params }))] : [],
    );
    const headers = { authorization: `Bearer ${credential}`, ...(inSpace && { "x-me-space": world.slug }) };
    const seen: object[] = [];
    for (const body of [...why, callText(method, JSON.stringify(params))]) {
      const { status, text } = await server.post(body, headers);
      for (const secret of secrets) expect(text).not.toContain(secret);
      // A token, an id, a name that was made up for the call, and the place of a lease among all there were.
      const same = text
        .replaceAll(id, "THE ID")
        .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, "TOKEN")
        .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "ID")
        .replace(/\bn-[0-9a-f]{12}\b/g, "NAME")
        .replace(/"epoch":\d+/g, '"epoch":0');
      seen.push({ status, text: same.replace(/"\d{4}-\d\d-\d\dT[^"]*"/g, '"TIME"') });
    }
    return seen;
  };

  test.each(naming)("$door $method answers about strangers as about nobody: $param", async (asked) => {
    await world.clear();
    await world.asAda("principal.add", { principal: world.bob.id });
    for (const [asker, credential] of Object.entries(askers))
      for (const { who, id, missing } of strangers)
        expect(await answers(asked, credential, id), `${who}, to ${asker}`).toEqual(await answers(asked, credential, missing));
  });

  test.each(naming)("$door $method tells nobody who may bring people in for whom others prepared: $param", async (asked) => {
    await world.clear();
    const { ada, bob, bot, asAda, must } = world;
    const [prepared, unprepared] = [await server.user(uniqueName()), await server.user(uniqueName())];
    const lobby = await server.acquaint(ada, prepared);
    const { id: agent } = await must(prepared.session, "agent.create", { name: uniqueName() });
    await must(prepared.session, "principal.add", { principal: agent }, lobby);
    for (const principal of [bob.id, bot]) await asAda("principal.add", { principal });
    for (const permission of ["write:members", "admin:groups", "admin:docs"])
      for (const principal of [bob.id, bot]) await asAda("access.grant", { principal, permission });
    for (const principal of [prepared.id, agent]) await asAda("access.grant", { principal, permission: "admin:secrets" });
    const key = async (rest: object) => (await must(bob.session, "apiKey.create", { name: uniqueName(), ...rest })).key;
    const by = {
      "a key": await key({}),
      "a limited key": await key({ ceiling: ["write:members"] }),
      "an agent": await key({ agent: bot }),
    };
    for (const [asker, credential] of Object.entries(by)) {
      const nobody = await answers(asked, credential, await world.newId());
      for (const [who, id] of Object.entries({ prepared: prepared.id, agent, unprepared: unprepared.id }))
        expect(await answers(asked, credential, id), `${who}, to ${asker}`).toEqual(nobody);
    }
  });

  test("no list, of the space or of one's own, names a stranger", async () => {
    for (const [api, space] of [[userApi] as const, [spaceApi, world.slug] as const])
      for (const [method, { effect, params }] of Object.entries(api as Api))
        if (effect === "read" && params.safeParse({}).success) {
          const listed = JSON.stringify((await server.call(world.ada.session, method, {}, space)).result);
          for (const secret of secrets) expect(listed, method).not.toContain(secret);
        }
  });

  test("by the time it takes to be refused them, measured over 2,000 pairs", async () => {
    for (const { session } of [mallory, world.ada])
      for (let i = 0; i < 20; i++) await world.must(session, "space.create", { name: uniqueName() });
    const add = (principal: string) => server.call(askers["admin's token"], "principal.add", { principal }, world.slug);
    expect((await add(mallory.id)).error?.data.code).toBe("NOT_FOUND");
    expect(await timed({ there: () => add(mallory.id), missing: () => add(newId()) })).toSatisfy(withinNoise);
  });

  test("principal.resolve finds nobody who is not in the space", async () => {
    for (const credential of [world.ada.session, world.bob.session]) {
      await world.clear();
      await world.asAda("principal.add", { principal: world.bob.id });
      const find = (name: string) => server.call(credential, "principal.resolve", { name }, world.slug);
      expect((await find("ada")).result.principals).toHaveLength(1);
      expect((await find("Mallory")).result).toEqual((await find("Nobody at all")).result);
    }
  });

  test("nothing is granted to the service of another space, and no agent is offered to a service", async () => {
    const elsewhere = (await server.call(mallory.session, "space.list")).result.spaces[0].slug;
    const { result: made } = await server.call(mallory.session, "secretKey.create", { name: uniqueName() }, elsewhere);
    const service = (await server.call(made.key, "whoami")).result.id;
    const { result: agent } = await server.call(mallory.session, "agent.create", { name: uniqueName() });
    const missing = await world.newId();
    const grant = (principal: string) => server.call(world.ada.session, "access.grant", { principal, permission: "read:docs" }, world.slug);
    const offer = (to: string) => server.call(mallory.session, "agent.transfer", { id: agent.id, to });
    for (const ask of [grant, offer]) {
      const [about, nobody] = [await ask(service), await ask(missing)];
      expect(nobody.error?.data.code).toBe("NOT_FOUND");
      expect(about.error?.message).toBe(nobody.error?.message);
    }
  });

  test("an agent is offered to no group of a space that its owner is not in", async () => {
    const { result: agent } = await server.call(mallory.session, "agent.create", { name: uniqueName() });
    const offer = (to: string) => server.call(mallory.session, "agent.transfer", { id: agent.id, to });
    const [group, missing] = [await offer(world.aside), await offer(await world.newId())];
    expect(missing.error?.data.code).toBe("NOT_FOUND");
    expect(group.error?.message).toBe(missing.error?.message);
  });
});
