import { afterAll, beforeAll, expect, test } from "vitest";
import { makeDatabase, startTestServer, type TestServer } from "./harness.ts";
import { callTool } from "./program.ts";
import { join, revocations, type Taken, type Town } from "./revocations.ts";
import { until } from "./run.ts";
import { tapWire } from "./wire.ts";

/** Longest that another server may go on accepting what was taken away. */
const BOUND_MS = 1000;

const wires: Awaited<ReturnType<typeof tapWire>>[] = [];
const servers: TestServer[] = [];
let town: Town;
beforeAll(async () => {
  const database = await makeDatabase();
  for (let i = 0; i < 2; i++) {
    const wire = await tapWire(database);
    wires.push(wire);
    // One address to the outside, as behind a proxy: what one server signs is for the other too.
    const address = servers[0] && { PUBLIC_URL: servers[0].url };
    servers.push(await startTestServer({ DATABASE_URL: wire.url, ...address }));
  }
  town = townOf(servers[0] as TestServer);
});
afterAll(async () => {
  for (const server of servers) await server.close();
  for (const wire of wires) await wire.close();
});

const townOf = (server: TestServer): Town => ({
  user: () => server.user("Somebody"),
  ask: (path, init) => fetch(server.url + path, init),
  async call(credential, method, params = {}, space) {
    const { result, error } = await server.call(credential, method, params, space);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  },
});

const use = async (i: number, { credential, method, space, tool }: Taken) => {
  const server = servers[i] as TestServer;
  if (!tool) return server.call(credential, method, {}, space);
  const { result, code } = await callTool(townOf(server).ask, credential, method);
  return { result, error: code === undefined ? undefined : { data: { code } }, status: 0 };
};
const isWarm = async (i: number, taken: Taken) =>
  (await wires[i]?.during(async () => {
    const { result, error } = await use(i, taken);
    expect(result, JSON.stringify(error)).toBeDefined();
  })) === (taken.asks ?? 0);

test.each(Object.keys(revocations))("%s: the next call here is refused, and one on another server within the second", async (what) => {
  const taken = await (revocations[what] as (town: Town) => Promise<Taken>)(town);
  for (const i of servers.keys()) await until(`server ${i} does not ask the database who calls`, () => isWarm(i, taken));
  await taken.take();
  const taking = performance.now();
  expect((await use(0, taken)).error).toBeDefined();
  for (let sent = performance.now(); (await use(1, taken)).result; sent = performance.now()) expect(sent - taking).toBeLessThan(BOUND_MS);
  for (const i of servers.keys()) expect((await use(i, taken)).error, "and stays refused").toBeDefined();
});

test("a name that changes is the new one in the next call", async () => {
  const { session } = await town.user();
  const { id } = await town.call(session, "agent.create", { name: "before" });
  const { key: credential } = await town.call(session, "apiKey.create", { name: "k", agent: id });
  const taken: Taken = { credential, method: "whoami", take: () => town.call(session, "agent.rename", { id, name: "after" }) };
  for (const i of servers.keys()) await until("it is warm", () => isWarm(i, taken));
  await taken.take();
  expect((await use(0, taken)).result.name).toBe("after");
  await until("the other server knows the name", async () => (await use(1, taken)).result.name === "after", BOUND_MS);
});

test("what a key has made counts for nothing once the key has expired, however warm the call", async () => {
  const [ada, bob] = await Promise.all([town.user(), town.user()]);
  const { slug } = await town.call(ada.session, "space.create", { name: "Team" });
  await join(town, slug, ada, bob);
  const expiresAt = new Date(Date.now() + 2000).toISOString();
  const { key } = await town.call(ada.session, "apiKey.create", { name: "short", expiresAt });
  await town.call(key, "access.grant", { principal: bob.id, permission: "read:members" }, slug);
  const taken = { credential: bob.session, method: "principal.list", space: slug, asks: 1, take: async () => {} };
  await until("it is warm", () => isWarm(1, taken));
  await until("the key has expired", () => Date.now() > Date.parse(expiresAt));
  expect((await use(1, taken)).error?.data.code).toBe("FORBIDDEN");
});

test("a key that expires is refused from then on, however warm the call", async () => {
  const { session } = await town.user();
  const expiresAt = new Date(Date.now() + 1500).toISOString();
  const { key } = await town.call(session, "apiKey.create", { name: "short", expiresAt });
  const taken = { credential: key, method: "whoami", take: async () => {} };
  await until("it is warm", () => isWarm(1, taken));
  await until("the key has expired", () => Date.now() > Date.parse(expiresAt));
  expect((await use(1, taken)).status).toBe(401);
});

test("a cookie that is remembered is worth nothing from another origin", async () => {
  const { session } = await town.user();
  const server = servers[0] as TestServer;
  const whoami = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "whoami" });
  const cookie = `gatehouse.session_token=${session}`;
  const from = (origin: string) => server.post(whoami, { cookie, origin });
  await until("it is warm", async () => (await wires[0]?.during(async () => expect((await from(server.url)).status).toBe(200))) === 0);
  expect((await from("https://elsewhere.example")).status).toBe(401);
});

test("a stranger who becomes a member is one in the next call", async () => {
  const [ada, bob] = await Promise.all([town.user(), town.user()]);
  const { slug } = await town.call(ada.session, "space.create", { name: "Team" });
  const get = (i: number) => (servers[i] as TestServer).call(bob.session, "space.get", {}, slug);
  for (const i of servers.keys()) expect((await get(i)).error?.data.code).toBe("NOT_FOUND");
  await join(town, slug, ada, bob);
  for (const i of servers.keys()) expect((await get(i)).result).toBeDefined();
});
