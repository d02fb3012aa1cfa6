import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { policyTable } from "@gatehouse/server/policy";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Home, makeHome, me, meJson, signedIn } from "./run.ts";

let server: TestServer;
let home: Home;
beforeAll(async () => {
  server = await startTestServer();
  ({ home } = await signedIn(server, "Ada"));
});
afterAll(() => server.close());

interface Report {
  ok: boolean;
  findings: { check: string; ok: boolean; says: string }[];
}
const examine = async (env: Record<string, string> = {}, at = home) => {
  const { code, stdout } = await me(at, ["doctor", "--json"], { env });
  const report = JSON.parse(stdout) as Report;
  return { code, ok: report.ok, says: Object.fromEntries(report.findings.map(({ check, says }) => [check, says])) };
};

test("all is well", async () => {
  const { code, ok, says } = await examine();
  expect({ code, ok }).toEqual({ code: 0, ok: true });
  expect(says).toMatchObject({ server: `${server.url} is ready`, credential: "Ada, by session", clock: "agrees with the server's" });
  expect(says.versions).toMatch(/^me \d+\.\d+\.\d+, (Bun|Node) \d+/);
  expect((await me(home, ["doctor"])).stdout.split("\n").filter((line) => line.startsWith("ok  "))).toHaveLength(5);
});

test("the server is down", async () => {
  const { code, ok, says } = await examine({ ME_SERVER: "http://127.0.0.1:1" });
  expect({ code, ok }).toEqual({ code: 7, ok: false });
  expect(says.server).toBe(
    "http://127.0.0.1:1 does not answer: nothing accepts connections there. Start the server, or check host and port.",
  );
});

test("the key is bad, and it is said which one that is", async () => {
  const { code, ok, says } = await examine({ ME_API_KEY: `me_pat_${"0".repeat(36)}` });
  expect({ code, ok }).toEqual({ code: 3, ok: false });
  expect(says.server).toContain("is ready");
  expect(says.credential).toContain("ME_API_KEY is set: is that the key you mean?");
});

test("nobody is signed in", async () => {
  const { code, says } = await examine({ ME_SERVER: server.url }, await makeHome());
  expect(code).toBe(3);
  expect(says.credential).toContain("Run: me login");
});

test("the clocks differ, or the server is not ready", async () => {
  const late = createServer((_request, response) => {
    response.writeHead(503, { date: new Date(Date.now() + 3_600_000).toUTCString() }).end();
  }).listen(0, "127.0.0.1");
  try {
    const { code, says } = await examine({ ME_SERVER: `http://127.0.0.1:${(late.address() as AddressInfo).port}` });
    expect(code).toBe(7);
    expect(says.clock).toMatch(/^differs from the server's by 3(599|600|601) s\./);
    expect(says.server).toContain("is not ready");
  } finally {
    late.close();
  }
});

test("me policy is the policy, and needs no server", async () => {
  const nowhere = await makeHome();
  expect(await meJson(nowhere, ["policy"])).toEqual({ methods: policyTable() });
  const rows = (await me(nowhere, ["policy"])).stdout.trim().split("\n");
  expect(rows.slice(1).map((row) => row.split(/ +/).slice(0, 2))).toEqual(policyTable().map(({ door, method }) => [door, method]));
  const forAgents = await meJson(nowhere, ["policy", "--as", "agent"]);
  expect(forAgents).toEqual({ methods: policyTable().filter(({ admits }) => admits.agent) });
  expect(forAgents.methods.length).toBeLessThan(rows.length - 1);
  expect((await me(nowhere, ["policy", "--as", "stranger"])).code).toBe(2);
});
