import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

let server: TestServer;
let world: SpaceWorld;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
  await world.asAda("principal.add", { principal: world.bob.id });
  await world.asAda("access.grant", { principal: world.bob.id, permission: "write:tasks:support" });
});
afterAll(() => server.close());

interface Asking {
  credential?: string | undefined;
  space?: string;
  headers?: Record<string, string>;
}

/** Asks as Ada, in her space, unless something else is said. */
async function ask(path: "evaluation" | "evaluations", body: unknown, asking: Asking = {}) {
  const credential = "credential" in asking ? asking.credential : world.ada.session;
  const answer = await fetch(`${server.url}/access/v1/${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-me-space": asking.space ?? world.slug,
      ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
      ...asking.headers,
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}

const bob = () => ({ type: "user", id: world.bob.id });
const action = (name: string) => ({ name });
const resource = (id: string, type = "tasks") => ({ type, id });
const mayWrite = () => ({ subject: bob(), action: action("write"), resource: resource("support/billing") });
const mayNotWrite = () => ({ ...mayWrite(), resource: resource("sales") });

test("the metadata names the addresses of both evaluations", async () => {
  const answer = await fetch(`${server.url}/.well-known/authzen-configuration`);
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, expect.stringMatching(/^application\/json/)]);
  expect(await answer.json()).toEqual({
    policy_decision_point: server.url,
    access_evaluation_endpoint: `${server.url}/access/v1/evaluation`,
    access_evaluations_endpoint: `${server.url}/access/v1/evaluations`,
  });
});

describe("one evaluation", () => {
  test("is a decision, with the reason for a no", async () => {
    expect(await ask("evaluation", mayWrite())).toMatchObject({ status: 200, body: { decision: true } });
    const { body } = await ask("evaluation", mayNotWrite());
    expect(body).toEqual({ decision: false, context: { reason: "grants lacks it" } });
  });

  test("takes properties and a context, by which nothing changes", async () => {
    const { subject, action, resource } = mayNotWrite();
    const properties = { admin: true };
    const extended = {
      subject: { ...subject, properties },
      action: { ...action, properties },
      resource: { ...resource, properties },
      context: { time: "2026-01-01T00:00:00Z" },
    };
    expect((await ask("evaluation", extended)).body.decision).toBe(false);
  });

  test("of a subject who is not in the space, or is nobody, is no, and the same no", async () => {
    const { id: carol } = await server.user("Carol");
    const { body: stranger } = await ask("evaluation", { ...mayWrite(), subject: { type: "user", id: carol } });
    expect(stranger).toMatchObject({ decision: false });
    for (const id of [await world.newId(), await world.newUser(), "alice@example.com", "", world.aside])
      expect((await ask("evaluation", { ...mayWrite(), subject: { type: "user", id } })).body, id).toEqual(stranger);
  });

  test("of a subject of another type than it is said to be is no", async () => {
    for (const type of ["agent", "group", "robot", ""])
      expect((await ask("evaluation", { ...mayWrite(), subject: { ...bob(), type } })).body, type).toMatchObject({ decision: false });
  });
});

describe("many evaluations", () => {
  test("each take what they leave out from the defaults", async () => {
    const { body } = await ask("evaluations", {
      subject: bob(),
      action: action("read"),
      resource: resource("support"),
      evaluations: [{}, { resource: resource("sales") }, { action: action("admin") }, { subject: { type: "user", id: world.ada.id } }],
    });
    expect(body.evaluations.map(({ decision }: { decision: boolean }) => decision)).toEqual([true, false, false, true]);
  });

  test("without any is one evaluation, of the defaults", async () => {
    expect((await ask("evaluations", mayWrite())).body).toEqual({ decision: true });
    expect((await ask("evaluations", { ...mayWrite(), evaluations: [] })).body).toEqual({ decision: true });
  });

  test.each([
    [undefined, [true, false, true, false]],
    ["execute_all", [true, false, true, false]],
    ["deny_on_first_deny", [true, false]],
    ["permit_on_first_permit", [true]],
  ])("by evaluations_semantic %s", async (semantic, decisions) => {
    const evaluations = [mayWrite(), mayNotWrite(), mayWrite(), mayNotWrite()];
    const options = semantic && { evaluations_semantic: semantic };
    const { body } = await ask("evaluations", { evaluations, options });
    expect(body.evaluations.map(({ decision }: { decision: boolean }) => decision)).toEqual(decisions);
  });

  test("that never come upon what would end them are all answered", async () => {
    const all = async (each: object, evaluations_semantic: string) =>
      (await ask("evaluations", { evaluations: [each, each], options: { evaluations_semantic } })).body.evaluations;
    expect(await all(mayWrite(), "deny_on_first_deny")).toHaveLength(2);
    expect(await all(mayNotWrite(), "permit_on_first_permit")).toHaveLength(2);
  });
});

describe("what is no question", () => {
  const broken = (): [what: string, path: "evaluation" | "evaluations", body: unknown, code: string][] => [
    ["no JSON", "evaluation", "{", "PARSE_ERROR"],
    ["no object", "evaluation", "[]", "INVALID_PARAMS"],
    ["nothing", "evaluation", {}, "INVALID_PARAMS"],
    ["no subject", "evaluation", { ...mayWrite(), subject: undefined }, "INVALID_PARAMS"],
    ["no id", "evaluation", { ...mayWrite(), subject: { type: "user" } }, "INVALID_PARAMS"],
    ["an unknown action", "evaluation", { ...mayWrite(), action: action("fly") }, "INVALID_PARAMS"],
    ["a type in no grammar", "evaluation", { ...mayWrite(), resource: resource("a", "No Type") }, "INVALID_PARAMS"],
    ["a path in no grammar", "evaluation", { ...mayWrite(), resource: resource("../etc") }, "INVALID_PARAMS"],
    ["an unknown semantic", "evaluations", { ...mayWrite(), options: { evaluations_semantic: "maybe" } }, "INVALID_PARAMS"],
    ["one of many without action", "evaluations", { subject: bob(), evaluations: [{ resource: resource("a") }] }, "INVALID_PARAMS"],
    ["too many", "evaluations", { evaluations: Array.from({ length: 101 }, mayWrite) }, "INVALID_PARAMS"],
  ];

  test("is refused with problem details, which name what is wrong", async () => {
    for (const [what, path, body, code] of broken()) {
      const answer = await ask(path, body);
      expect(answer.status, what).toBe(400);
      expect(answer.headers.get("content-type"), what).toMatch(/^application\/problem\+json/);
      const requestId = answer.headers.get("x-request-id");
      const { detail } = answer.body;
      const told = { type: "about:blank", title: code, status: 400, detail: expect.any(String), code, requestId };
      const issues = code === "INVALID_PARAMS" ? [{ path: "", message: detail }] : undefined;
      expect(answer.body, what).toEqual({ ...told, issues });
    }
  });

  test("is not even read for who brings no credential", async () => {
    for (const [what, path, body] of [...broken(), ["a question", "evaluation", mayWrite()] as const]) {
      for (const credential of [undefined, "nobody"]) {
        const answer = await ask(path, body, { credential });
        expect(answer, what).toMatchObject({ status: 401, body: { code: "UNAUTHENTICATED" } });
        expect(answer.headers.get("www-authenticate"), what).toMatch(/^Bearer resource_metadata="/);
      }
    }
  });
});

describe("who may ask", () => {
  test("about oneself: every member; about others: who may read grants", async () => {
    const asBob = { credential: world.bob.session };
    expect((await ask("evaluation", mayWrite(), asBob)).body).toEqual({ decision: true });
    const others = { ...mayWrite(), subject: { type: "user", id: world.ada.id } };
    const nobodys = { ...mayWrite(), subject: { type: "user", id: await world.newId() } };
    const refused = await ask("evaluation", others, asBob);
    expect(refused).toMatchObject({ status: 403, body: { code: "FORBIDDEN", reason: "permission", missing: ["read:grants"] } });
    const { requestId: _one, ...seen } = refused.body;
    const { requestId: _other, ...unseen } = (await ask("evaluation", nobodys, asBob)).body;
    expect(seen).toEqual(unseen);
  });

  test("a stranger is told that there is no such space", async () => {
    const { session } = await server.user("Mallory");
    const answer = await ask("evaluation", mayWrite(), { credential: session });
    expect(answer).toMatchObject({ status: 404, body: { code: "NOT_FOUND", reason: "stranger" } });
    expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
  });
});

test("a request id comes back as it was sent, whatever is answered; one too long to be an id does not", async () => {
  const sent = async (id: string, body: unknown = mayWrite(), headers: Record<string, string> = {}) =>
    (await ask("evaluation", body, { headers: { ...headers, "x-request-id": id } })).headers.get("x-request-id");
  for (const id of ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "two words", '"quoted"', "urn:req/1=+;,", "x".repeat(256)]) {
    expect(await sent(id)).toBe(id);
    expect(await sent(id, "{"), "no JSON").toBe(id);
    expect(await sent(id, "{}", { "content-type": "text/plain" }), "of another type").toBe(id);
    expect(await sent(id, "{}", { authorization: "Bearer nobody" }), "of nobody").toBe(id);
  }
  for (const id of ["x".repeat(257), "é"]) expect(await sent(id)).toMatch(/^[0-9a-f-]{36}$/);
});
