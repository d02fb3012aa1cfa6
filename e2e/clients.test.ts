import jayson from "jayson/promise/index.js";
import { JSONRPCClient, type JSONRPCResponse } from "json-rpc-2.0";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

// Two clients from npm that know nothing of Gatehouse, nor of each other.

let server: TestServer;
let alice: TestUser;
let pat: string;
beforeAll(async () => {
  server = await startTestServer();
  alice = await server.user("Alice");
  pat = (await server.call(alice.session, "apiKey.create", { name: "published clients" })).result.key;
});
afterAll(() => server.close());

describe("jayson", () => {
  /** What jayson takes for "no id", so that a call is a notification; its types do not know of it. */
  const NOTIFICATION = null as unknown as undefined;
  const client = (credential: string) => {
    const { hostname, port, pathname } = new URL(server.rpcUrl);
    return jayson.Client.http({ hostname, port, path: pathname, headers: { authorization: `Bearer ${credential}` } });
  };

  test("makes a call, with params by name and by position", async () => {
    expect((await client(pat).request("whoami", {})).result).toMatchObject({ id: alice.id, credential: { via: "pat" } });
    const { result: named } = await client(pat).request("agent.create", { name: "by name" });
    const { result: placed } = await client(pat).request("agent.create", ["by position"]);
    const { result: list } = await client(pat).request("agent.list", []);
    expect(list.agents.map(({ id }: { id: string }) => id)).toEqual([named.id, placed.id]);
  });

  test("gets errors as answers", async () => {
    const { error } = await client(pat).request("agent.create", { name: "" });
    expect(error).toMatchObject({ code: -32602, data: { code: "INVALID_PARAMS", issues: [{ path: "name" }] } });
    await expect(client("me_pat_nothing").request("whoami", {})).rejects.toMatchObject({ code: 401 });
  });

  test("sends a batch, and a notification, which is left unanswered", async () => {
    const one = client(pat);
    const batch = [
      one.request("whoami", {}, undefined, false),
      one.request("space.create", { name: "by notification" }, NOTIFICATION, false),
      one.request("no.such", {}, undefined, false),
    ];
    const answers = await one.request(batch);
    expect(answers).toHaveLength(2);
    expect(answers[0]).toMatchObject({ id: batch[0]?.id, result: { id: alice.id } });
    expect(answers[1]).toMatchObject({ id: batch[2]?.id, error: { code: -32601 } });
    const { result } = await one.request("space.list", {});
    expect(result.spaces).toMatchObject([{ name: "by notification" }]);
    expect(await one.request("whoami", {}, NOTIFICATION)).toBeUndefined();
  });
});

describe("json-rpc-2.0", () => {
  const client = (credential: string) => {
    const made: JSONRPCClient = new JSONRPCClient(async (payload) => {
      const { status, text } = await server.post(JSON.stringify(payload), { authorization: `Bearer ${credential}` });
      if (status === 200) made.receive(JSON.parse(text) as JSONRPCResponse | JSONRPCResponse[]);
      else if (status !== 204) throw new Error(`status ${status}`);
    });
    return made;
  };

  test("makes a call, with params by name and by position", async () => {
    expect(await client(alice.session).request("whoami", {})).toMatchObject({ id: alice.id, credential: { via: "session" } });
    const made = await client(alice.session).request("space.create", ["by position"]);
    expect(await client(alice.session).request("space.delete", { slug: made.slug, confirm: made.slug })).toEqual({ slug: made.slug });
  });

  test("gets errors as rejections", async () => {
    await expect(client(pat).request("apiKey.create", { name: "second" })).rejects.toMatchObject({
      code: 403,
      data: { code: "FORBIDDEN", reason: "interactive-only" },
    });
    await expect(client("nobody").request("whoami", {})).rejects.toThrow("status 401");
  });

  test("sends a batch", async () => {
    const answers = await client(pat).requestAdvanced([
      { jsonrpc: "2.0", id: "b", method: "whoami" },
      { jsonrpc: "2.0", id: "a", method: "no.such" },
      { jsonrpc: "2.0", id: 7, method: "rpc.discover", params: {} },
    ]);
    expect(answers.map(({ id, error }) => [id, error?.code])).toEqual([
      ["b", undefined],
      ["a", -32601],
      [7, undefined],
    ]);
  });
});
