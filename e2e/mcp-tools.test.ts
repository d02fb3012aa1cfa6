import { echo } from "@gatehouse/agent/echo";
import { tools } from "@gatehouse/mcp";
import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import type { Client } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { table } from "./grid.ts";
import { connectHttp, connectMcp, homeWithKey, inputFor } from "./mcp.ts";
import type { Home } from "./run.ts";

let at: Workplace;
let home: Home;
let group: string;
beforeAll(async () => {
  at = await makeWorkplace();
  await at.serve([echo]);
  home = await homeWithKey(at);
  group = (await at.must("group.create", { name: "crew" })).id;
});
afterAll(() => at.close());

test("a name is one tool's, and fits every client; nothing that makes or shows a secret is a tool", () => {
  const names = tools.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[a-z_]{1,64}$/);
  const apis: Record<string, Api> = { user: userApi, space: spaceApi };
  for (const { door, method, effect } of tools) {
    const contract = apis[door]?.[method];
    expect(method).not.toMatch(/key|token/i);
    if (effect === "read") expect(contract?.effect, method).toBe("read");
  }
});

/** Calls every tool, in a chat of its own; what closes it comes last. @returns the names of those that a client is offered */
async function callEach(caller: string, client: Client): Promise<Set<string>> {
  const talk = await at.start("echo", "hello");
  await at.answered(talk);
  const names = new Set((await client.listTools()).tools.map(({ name }) => name));
  for (const { name } of [...tools].sort((a, b) => Number(a.effect === "write") - Number(b.effect === "write"))) {
    const { isError, content, _meta } = await client.callTool({ name, arguments: inputFor(name, { session: talk.session, group }) });
    const said = (_meta?.["gatehouse/error"] as { code?: string } | undefined)?.code;
    expect([caller, name, said === "FORBIDDEN", content]).toEqual([caller, name, !names.has(name), expect.anything()]);
    expect([caller, name, isError === true]).toEqual([caller, name, said !== undefined]);
  }
  const { status } = await at.must("session.get", { session: talk.session });
  expect([caller, status]).toEqual([caller, names.has("close_agent_chat") ? "closed" : "open"]);
  await client.close();
  return names;
}

test("every tool for every credential and scope, at both doors: what is listed can be called, and what is not is refused", async () => {
  const { must } = at;
  const keyOf = async (name: string) => {
    const person = await at.server.user(name);
    await at.server.join(at.slug, at.ada, person);
    return { ...person, key: (await at.server.call(person.session, "apiKey.create", { name: "ide" })).result.key as string };
  };
  const [bob, carol] = [await keyOf("bob"), await keyOf("carol")];
  await must("access.grant", { principal: bob.id, permission: "write:tasks:echo" });
  const key = home.env.ME_API_KEY as string;
  const limited = (await homeWithKey(at, ["read:tasks", "read:audit"])).env.ME_API_KEY as string;
  const tokenOf = async (...scope: string[]) =>
    (await must("token.create", { space: at.slug, scope, ttlSeconds: 600 }, null)).token as string;
  /** What each comes with: `me mcp` with a key and arguments, and HTTP with a credential that may as much. */
  const callers: Record<string, { key: string; args?: string[]; http?: string }> = {
    "admin's key": { key },
    "admin's key, --read-only": { key, args: ["--read-only"], http: await tokenOf("read") },
    "admin's key, --scope write:tasks:echo": { key, args: ["--scope", "write:tasks:echo"], http: await tokenOf("write:tasks:echo") },
    "admin's key, --scope read:members": { key, args: ["--scope", "read:members"], http: await tokenOf("read:members") },
    "admin's key, ceiling read:tasks read:audit": { key: limited },
    "member's key, granted write:tasks:echo": { key: bob.key },
    "member's key, granted nothing": { key: carol.key },
    "agent's key, granted admin:tasks": { key: at.env.ME_API_KEY },
  };
  const address = new URL(`/mcp?space=${at.slug}`, at.server.url);
  const cells = new Map<string, string>();
  for (const [caller, { key, args, http = key }] of Object.entries(callers)) {
    const stdio = await connectMcp({ ...home.env, ME_API_KEY: key }, args);
    const doors = {
      "me mcp": await callEach(`${caller}, me mcp`, stdio.client),
      "/mcp": await callEach(`${caller}, /mcp`, await connectHttp(address, http)),
    };
    for (const { name } of tools) {
      const offered = Object.entries(doors).flatMap(([door, names]) => (names.has(name) ? [door] : []));
      cells.set(`${name} ${caller}`, offered.length === Object.keys(doors).length ? "yes" : offered.join(", "));
    }
  }
  const rows = tools.map(({ name }) => [`\`${name}\``, ...Object.keys(callers).map((caller) => cells.get(`${name} ${caller}`) as string)]);
  const text = `# MCP tools, by credential and scope

Which tools a client is offered, by \`me mcp\`, and at \`/mcp\` with a credential that may as much. Each was called, too, at both:
those that are offered work, and all others are refused.

${table(["tool", ...Object.keys(callers)], rows)}
`;
  await expect(text).toMatchFileSnapshot("mcp-matrix.snapshot.md");
});
