import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import { policyTable } from "@gatehouse/server/policy";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { validSpaceParams } from "./space-params.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

/** What a browser's token may do: in its own session, and nothing besides. */
const OPEN = ["whoami", "session.get", "session.send", "session.stop", "session.events"];

let server: TestServer;
let world: SpaceWorld;
let maker: TestUser;
/** Keys of the kinds that start sessions, by name. */
let makers: Record<string, string>;
/** Whatever tells of somebody, or of what the session's maker knows it by. */
let secrets: string[];

beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
  maker = await server.user("Zebedee");
  await server.join(world.slug, world.ada, maker);
  const { id: agent } = await world.must(maker.session, "agent.create", { name: "Hidden Helper" });
  await world.asAda("principal.add", { principal: agent });
  for (const principal of [maker.id, agent]) await world.asAda("access.grant", { principal, permission: "write:tasks" });
  const pat = await world.must(maker.session, "apiKey.create", { name: "web" });
  const agentKey = await world.must(maker.session, "apiKey.create", { name: "web agent", agent });
  const secret = await world.asAda("secretKey.create", { name: "web service" });
  const { token } = await world.must(pat.key, "token.create", { space: world.slug, scope: ["write:tasks"] });
  makers = { session: maker.session, pat: pat.key, agent: agentKey.key, service: secret.key, token };
  const ids = [maker.id, agent, world.ada.id, world.service, pat.id, agentKey.id, secret.id];
  secrets = ["zebedee", "Hidden Helper", world.ada.email, "of-nobody", "order-", "vip", ...ids];
});
afterAll(() => server.close());

let made = 0;
async function start(key: string): Promise<{ id: string; token: string; externalId: string }> {
  const externalId = `order-${made++}`;
  const params = { task: "support", externalId, metadata: { plan: "of-nobody" }, tags: ["vip"], message: "hello" };
  const { session, token } = await world.must(key, "session.create", params, world.slug);
  return { id: session.id, token, externalId };
}

/** Fails where a text tells of anybody. */
const mustTellNobody = (text: string, title: string) => {
  for (const secret of secrets) expect(text.toLowerCase(), title).not.toContain(secret.toLowerCase());
};

test("the policy names what a browser may do, and refuses it all else", () => {
  const open = policyTable().flatMap(({ method, admits }) => (admits.browser ? [method] : []));
  expect(open.sort()).toEqual([...OPEN].sort());
});

test("by a browser's token, whoever made it, all that answers tells of nobody, and all but reading, sending and stopping is refused", async () => {
  for (const [kind, key] of Object.entries(makers)) {
    const { id, token } = await start(key);
    const call = async (api: Api, method: string, params: object) => {
      const headers = { authorization: `Bearer ${token}`, ...(api === spaceApi && { "x-me-space": world.slug }) };
      const { text } = await server.post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }), headers);
      return text;
    };
    for (const method of Object.keys(userApi)) {
      const text = await call(userApi, method, {});
      if (!OPEN.includes(method)) expect(JSON.parse(text).error?.data, `${kind}: ${method}`).toMatchObject({ reason: "browser" });
      mustTellNobody(text, `${kind}: ${method}`);
    }
    for (const method of Object.keys(spaceApi) as (keyof typeof spaceApi)[]) {
      const params = { ...(await validSpaceParams(method, world)), ...("session" in spaceApi[method].params.shape && { session: id }) };
      const text = await call(spaceApi, method, params);
      const { result, error } = JSON.parse(text);
      if (OPEN.includes(method)) expect(result, `${kind}: ${method}: ${text}`).toBeDefined();
      else expect(error?.data, `${kind}: ${method}`).toMatchObject({ code: "FORBIDDEN", reason: "browser" });
      mustTellNobody(text.replaceAll(JSON.stringify(params).slice(1, -1), ""), `${kind}: ${method}`);
    }
    expect(JSON.parse(await call(userApi, "whoami", {})).result, kind).toMatchObject({
      id,
      kind: "b",
      email: null,
      owner: null,
      act: null,
      credential: { via: "browser_token", space: world.slug },
    });
    expect(JSON.parse(await call(spaceApi, "session.get", { session: id })).result, kind).toMatchObject({
      id,
      task: "support",
      externalId: null,
      metadata: {},
      tags: [],
      createdBy: null,
    });
  }
});

test("a browser names its session by the id alone: a right guess at another name of it is answered as a wrong one", async () => {
  const { id, token, externalId } = await start(makers.pat as string);
  const params = { "session.get": {}, "session.events": {}, "session.send": { message: "x" }, "session.stop": {} };
  for (const [method, more] of Object.entries(params)) {
    const call = async (session: string) => {
      const { result, error } = await server.call(token, method, { session, ...more }, world.slug);
      return result ? "ok" : [error?.data.code, error?.message];
    };
    expect(await call(externalId), method).toEqual(await call("order-of-nobody"));
    expect(await call(externalId), method).toContain("NOT_FOUND");
    for (const name of [id, id.toUpperCase()]) expect(await call(name), method).toBe("ok");
  }
  for (const path of [`/sessions/${externalId}`, `/sessions/${externalId}/out`]) {
    const answer = await fetch(`${server.url}/api/v1${path}`, { headers: { authorization: `Bearer ${token}`, "x-me-space": world.slug } });
    expect([path, answer.status]).toEqual([path, 404]);
    await answer.body?.cancel();
  }
});

test("a browser's token itself tells of nobody, and neither do plain HTTP, OAuth, AuthZEN and MCP", async () => {
  for (const [kind, key] of Object.entries(makers)) {
    const { id, token } = await start(key);
    mustTellNobody(JSON.stringify(decodeJwt(token)), kind);
    expect(decodeJwt(token)).toMatchObject({ sub: id, scope: `read:sessions:${id} write:sessions:${id}` });
    const headers = { authorization: `Bearer ${token}`, "x-me-space": world.slug, "content-type": "application/json" };
    const asked = async (path: string, status: number, init: RequestInit) => {
      const answer = await fetch(server.url + path, { ...init, headers: { ...headers, ...init.headers } });
      const text = await answer.text();
      expect(answer.status, `${kind}: ${path}: ${text}`).toBe(status);
      mustTellNobody(text, `${kind}: ${path}`);
    };
    const form = (fields: Record<string, string>) => ({
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(fields).toString(),
    });
    await asked(`/api/v1/sessions/${id}`, 200, {});
    await asked(`/api/v1/sessions/${id}`, 403, { method: "PATCH", body: '{"tags":["mine"],"metadata":{"plan":"pro"}}' });
    await asked(`/api/v1/sessions/${id}/close`, 403, { method: "POST", body: "{}" });
    await asked("/api/v1/sessions", 403, {});
    await asked("/api/v1/tasks", 403, {});
    const wanted = { space: world.slug, scope: `write:sessions:${id}`, subject_token: token };
    const exchange = { grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", ...wanted };
    await asked("/api/v1/token", 400, form({ ...exchange, subject_token_type: "urn:ietf:params:oauth:token-type:access_token" }));
    await asked("/api/v1/introspect", 400, form({ token }));
    await asked("/api/v1/revoke", 400, form({ token }));
    const subject = { type: "user", id: maker.id };
    const question = { subject, action: { name: "read" }, resource: { type: "tasks", id: "support" } };
    await asked("/access/v1/evaluation", 403, { method: "POST", body: JSON.stringify(question) });
    await asked("/mcp", 401, { method: "POST", body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' });
    const stream = await fetch(`${server.url}/api/v1/sessions/${id}/out`, { headers });
    expect(stream.status, kind).toBe(200);
    await stream.body?.cancel();
  }
});

test("a browser's token opens no other session, and is told nothing of why it is refused", async () => {
  const [mine, other] = [await start(makers.agent as string), await start(makers.agent as string)];
  for (const method of OPEN.filter((name) => name !== "whoami"))
    for (const session of [other.id, other.externalId, "nobody"]) {
      const params = { session, ...(method === "session.send" && { message: "hi" }) };
      const { error } = await server.call(mine.token, method, params, world.slug);
      expect(error?.data, method).toMatchObject({ code: "NOT_FOUND" });
      mustTellNobody(JSON.stringify(error).replaceAll(session, ""), method);
    }
  const { id: agent } = (await server.call(makers.agent, "whoami")).result;
  await world.asAda("access.revoke", { principal: agent, permission: "write:tasks" });
  const { error } = await server.call(mine.token, "session.send", { session: mine.id, message: "hi" }, world.slug);
  expect(error?.data).toMatchObject({ code: "FORBIDDEN", reason: "browser" });
  expect(error?.data).not.toHaveProperty("layer");
  expect(error?.data).not.toHaveProperty("grantors");
  mustTellNobody(JSON.stringify(error), "a refusal for want of a grant");
  await world.must(maker.session, "space.leave", {}, world.slug);
  // The agent has left with its owner, and its tokens with it.
  const left = await server.call(mine.token, "session.send", { session: mine.id, message: "hi" }, world.slug);
  expect(left.error?.data).toMatchObject({ code: "UNAUTHENTICATED" });
  mustTellNobody(JSON.stringify(left.error), "a refusal because the owner left");
});

test("those who may inspect a browser's token are told its session, and not that its maker brings it", async () => {
  const { id, token } = await start(makers.service as string);
  expect(await world.must(makers.service as string, "token.inspect", { token })).toEqual({
    active: true,
    id: decodeJwt(token).jti,
    kind: "browser token",
    session: id,
    space: world.slug,
    scope: [`read:sessions:${id}`, `write:sessions:${id}`],
    expiresAt: expect.any(String),
  });
  const headers = { authorization: `Bearer ${makers.service}`, "content-type": "application/x-www-form-urlencoded" };
  const answer = await fetch(`${server.url}/api/v1/introspect`, { method: "POST", headers, body: new URLSearchParams({ token }) });
  const claims = (await answer.json()) as Record<string, unknown>;
  expect(claims).toMatchObject({ active: true, sub: id });
  expect(claims).not.toHaveProperty("username");
  await world.must(makers.service as string, "token.revoke", { token });
  expect((await server.call(token, "session.get", { session: id }, world.slug)).status).toBe(401);
});
