import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { createUserClient, GatehouseError } from "@gatehouse/client";
import { userApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { startProxy } from "./proxy.ts";

let server: TestServer;
let alice: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  alice = await server.user("Alice");
});
afterAll(() => server.close());

const clientOf = (credential: string, url = server.url) => createUserClient({ server: url, credential });
const throughProxy = async (options: Parameters<typeof startProxy>[1]) => {
  const proxy = await startProxy(server.url, options);
  onTestFinished(proxy.close);
  return { client: clientOf(alice.session, proxy.url), count: proxy.count };
};
const failure = (call: Promise<unknown>): Promise<GatehouseError> =>
  call.then(
    () => expect.fail("the call succeeded"),
    (error) => {
      expect(error).toBeInstanceOf(GatehouseError);
      return error;
    },
  );

/** Some other HTTP server, in the place of ours. @returns its address */
async function startOther(listener: RequestListener): Promise<string> {
  const other = createServer(listener);
  await once(other.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    other.closeAllConnections();
    other.close();
  });
  return `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
}

describe("methods", () => {
  type Methods = Record<string, (params?: object) => Promise<unknown>>;
  const find = (client: object, name: string) =>
    name.split(".").reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], client) as Methods[string];

  test("are those of the contract, which are those the server describes", async () => {
    const { methods } = await clientOf(alice.session).rpc.discover();
    expect(methods.map(({ name }) => name).sort()).toEqual(Object.keys(userApi).sort());
  });

  test.each(Object.keys(userApi))("%s is a function that calls it", async (name) => {
    const call = find(clientOf(alice.session), name);
    // Without params every method either answers, or says which of them it misses: both only after it was called.
    const answered = await call().then(
      (result) => ({ result }),
      (error: GatehouseError) => ({ error }),
    );
    const wanted = userApi[name as keyof typeof userApi].params.safeParse({});
    if (wanted.success) expect(answered).toHaveProperty("result");
    else expect(answered).toMatchObject({ error: { name: "GatehouseError", code: "INVALID_PARAMS" } });
  });
});

describe("a batch", () => {
  test("is one request, and each call in it succeeds or fails by itself", async () => {
    const { client, count } = await throughProxy({ drops: 0, when: "before" });
    const [who, made, refused] = await client.batch((batched) =>
      Promise.allSettled([batched.whoami(), batched.agent.create({ name: "batched" }), batched.agent.create({ name: "" })]),
    );
    expect(count.connections).toBe(1);
    expect(who).toMatchObject({ status: "fulfilled", value: { id: alice.id } });
    expect(made).toMatchObject({ status: "fulfilled", value: { name: "batched" } });
    expect(refused).toMatchObject({ status: "rejected", reason: { code: "INVALID_PARAMS" } });
  });

  test("may hold more calls than one request can", async () => {
    const client = clientOf(alice.session);
    const all = await client.batch((batched) => Promise.all(Array.from({ length: 250 }, () => batched.whoami())));
    expect(all).toHaveLength(250);
    expect(new Set(all.map(({ id }) => id))).toEqual(new Set([alice.id]));
  });

  test("that is refused whole rejects every call in it", async () => {
    const results = await clientOf("nobody").batch((batched) => Promise.allSettled([batched.whoami(), batched.agent.list()]));
    for (const result of results) expect(result).toMatchObject({ status: "rejected", reason: { code: "UNAUTHENTICATED" } });
  });
});

describe("a line that breaks", () => {
  const cases = [
    { when: "before", why: "before the request is through" },
    { when: "after", why: "while the answer comes" },
  ] as const;

  test.each(cases)("$why: a read is tried again", async ({ when }) => {
    const { client, count } = await throughProxy({ drops: 2, when });
    expect(await client.whoami()).toMatchObject({ id: alice.id });
    expect(count.connections).toBe(3);
  });

  test.each(cases)("$why: a write is not", async ({ when }) => {
    const { client, count } = await throughProxy({ drops: 1, when });
    expect((await failure(client.agent.create({ name: `once, ${when}` }))).code).toBe("UNREACHABLE");
    expect(count.connections).toBe(1);
    const { agents } = await clientOf(alice.session).agent.list();
    // A write whose answer got lost has happened: that is why it must not be sent twice.
    expect(agents.filter(({ name }) => name === `once, ${when}`)).toHaveLength(when === "after" ? 1 : 0);
  });

  test.each(cases)("$why: a batch with a write in it is not tried again, one of reads is", async ({ when }) => {
    const mixed = await throughProxy({ drops: 1, when });
    const results = await mixed.client.batch((batched) =>
      Promise.allSettled([batched.whoami(), batched.agent.create({ name: `batch, ${when}` })]),
    );
    for (const result of results) expect(result).toMatchObject({ status: "rejected", reason: { code: "UNREACHABLE" } });
    expect(mixed.count.connections).toBe(1);
    const reads = await throughProxy({ drops: 1, when });
    const [who] = await reads.client.batch((batched) => Promise.all([batched.whoami(), batched.space.list()]));
    expect(who.id).toBe(alice.id);
    expect(reads.count.connections).toBe(2);
  });

  test("for good: a read is given up", async () => {
    const { client, count } = await throughProxy({ drops: 99, when: "before" });
    expect((await failure(client.whoami())).code).toBe("UNREACHABLE");
    expect(count.connections).toBe(3);
  });
});

describe("errors", () => {
  test("carry the server's stable code, its data and the id of the request", async () => {
    const { result: agent } = await server.call(alice.session, "agent.create", { name: "refused" });
    const { result: key } = await server.call(alice.session, "apiKey.create", { name: "refused", agent: agent.id });
    const denied = await failure(clientOf(key.key).agent.list());
    expect(denied).toMatchObject({ code: "FORBIDDEN", data: { reason: "user-only" } });
    expect(denied.requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect((await failure(clientOf(alice.session).agent.create({ name: "refused" }))).code).toBe("CONFLICT");
    expect((await failure(clientOf(alice.session).agent.get({ id: alice.id }))).code).toBe("NOT_FOUND");
    expect((await failure(clientOf("nobody").whoami())).code).toBe("UNAUTHENTICATED");
  });

  test("UNREACHABLE where nobody listens, and where there is no address", async () => {
    const proxy = await startProxy(server.url, { drops: 0, when: "before" });
    await proxy.close();
    expect((await failure(clientOf(alice.session, proxy.url).whoami())).code).toBe("UNREACHABLE");
    expect((await failure(clientOf(alice.session, "not an address").whoami())).code).toBe("UNREACHABLE");
  });

  test("UNREACHABLE when the answer does not come in time", async () => {
    const url = await startOther(() => {});
    const client = createUserClient({ server: url, credential: alice.session, timeoutMs: 100 });
    expect((await failure(client.agent.create({ name: "late" }))).code).toBe("UNREACHABLE");
  });

  test.each([
    ["a web page", 200, "<!doctype html><title>Hello</title>"],
    ["a web page that knows no such address", 404, "<h1>Not found</h1>"],
    ["JSON of another kind", 200, '{"ok":true}'],
    ["null", 200, "null"],
    ["the error of another JSON-RPC server", 200, '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}'],
    ["an empty error", 200, '{"jsonrpc":"2.0","id":1,"error":null}'],
    ["no answer to the call", 200, "[]"],
    ["nothing", 204, undefined],
  ])("BAD_ANSWER: %s", async (_what, status, body) => {
    const url = await startOther((_request, response) => response.writeHead(status).end(body));
    expect((await failure(clientOf(alice.session, url).whoami())).code).toBe("BAD_ANSWER");
  });

  test.each([502, 503, 504])("UNREACHABLE where a proxy answers %i for it: a read is tried again, a write is not", async (status) => {
    let asked = 0;
    const url = await startOther((_request, response) => {
      asked++;
      response.writeHead(status, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
    });
    expect((await failure(clientOf(alice.session, url).whoami())).code).toBe("UNREACHABLE");
    expect(asked).toBe(3);
    expect((await failure(clientOf(alice.session, url).agent.create({ name: `behind ${status}` }))).code).toBe("UNREACHABLE");
    expect(asked).toBe(4);
  });

  test.each([301, 302, 303, 307, 308])("a server that redirects (%i) sends the credential nowhere", async (status) => {
    const reached: unknown[] = [];
    const elsewhere = await startOther((request, response) => {
      reached.push(request.headers);
      response.end("{}");
    });
    const url = await startOther((_request, response) => response.writeHead(status, { location: `${elsewhere}/api/v1/user/rpc` }).end());
    await failure(clientOf(alice.session, url).agent.create({ name: "redirected" }));
    await failure(clientOf(alice.session, url).whoami());
    expect(reached).toEqual([]);
  });
});

describe("a credential that a function gives", () => {
  test("is asked for again when it was refused, once, and what was called is sent with the other", async () => {
    const asked: (string | undefined)[] = [];
    const client = createUserClient({
      server: server.url,
      credential: async (refused) => {
        asked.push(refused);
        return refused === undefined ? "over" : alice.session;
      },
    });
    expect((await client.agent.create({ name: "second-try" })).name).toBe("second-try");
    expect(asked).toEqual([undefined, "over"]);
  });

  test.each([
    ["the same", ["over", "over"]],
    ["none", ["over", undefined]],
    ["another bad one", ["over", "over, too"]],
  ])("is refused for good when the other is %s", async (_what, given) => {
    let asked = 0;
    const client = createUserClient({ server: server.url, credential: () => given[asked++] });
    expect((await failure(client.whoami())).code).toBe("UNAUTHENTICATED");
    expect(asked).toBe(2);
  });

  test("fails each call of a batch, when it fails", async () => {
    const lost = new Error("no credential any more");
    const client = createUserClient({ server: server.url, credential: () => Promise.reject(lost) });
    const calls = await client.batch((batched) => Promise.allSettled([batched.whoami(), batched.agent.list()]));
    expect(calls).toEqual([
      { status: "rejected", reason: lost },
      { status: "rejected", reason: lost },
    ]);
  });
});
