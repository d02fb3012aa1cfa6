import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { isGood, makeTokenWorld, mint } from "./token-world.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

type World = Awaited<ReturnType<typeof makeTokenWorld>>;

/** A credential, and how somebody else ends it. */
const ends: Record<string, (world: World) => Promise<{ credential: string; end(): Promise<unknown> }>> = {
  "a key": async ({ helper, bob }) => ({
    credential: helper.key,
    end: () => server.call(bob.session, "apiKey.delete", { id: helper.keyId }),
  }),
  "a parent token": async (world) => {
    const { token } = await mint(world, world.bobs.key, "admin:tasks");
    return { credential: token, end: () => server.call(world.bobs.key, "token.revoke", { token }) };
  },
  "a membership": async ({ bobs, bob, ada, space }) => ({
    credential: bobs.key,
    end: () => server.call(ada.session, "principal.remove", { principal: bob.id }, space.slug),
  }),
  "a session": async ({ bob }) => ({
    credential: bob.session,
    end: () =>
      fetch(`${server.url}/api/auth/sign-out`, {
        method: "POST",
        headers: { authorization: `Bearer ${bob.session}`, "content-type": "application/json" },
        body: "{}",
      }),
  }),
};

test.each(Object.keys(ends))("%s ends while a thief writes with it without a pause", async (what) => {
  const world = await makeTokenWorld(server);
  const { credential, end } = await (ends[what] as (typeof ends)[string])(world);
  expect(await isGood(server, credential)).toBe(true);
  const params = { space: world.space.slug, scope: ["read:tasks:support"] };
  const calls = Array.from({ length: 100 }, (_, id) => ({ jsonrpc: "2.0", id, method: "token.create", params }));
  const body = JSON.stringify(calls);
  let ended = false;
  let started = () => {};
  const underWay = new Promise<void>((resolve) => {
    started = resolve;
  });
  /** Stops only when the credential has ended: if it never does, nor does the test. */
  const thief = async () => {
    while (!ended) {
      await server.post(body, { authorization: `Bearer ${credential}` });
      started();
    }
  };
  const thieves = [thief(), thief(), thief()];
  await underWay;
  await end();
  ended = true;
  await Promise.all(thieves);
  const { error, result } = await server.call(credential, "token.create", params);
  expect(result, "nothing is minted with it any more").toBeUndefined();
  expect(["UNAUTHENTICATED", "NOT_FOUND"]).toContain(error?.data.code);
});
