import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { tools } from "@gatehouse/mcp";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { YAML } from "bun";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBearer } from "./bearer.ts";
import { startTestServer } from "./harness.ts";
import { registerFixtures } from "./mcp-fixtures.ts";
import { start } from "./run.ts";

/** What the suite says of one thing that it looked at. */
interface Check {
  id: string;
  status: "SUCCESS" | "FAILURE" | "WARNING" | "SKIPPED" | "INFO";
  errorMessage?: string;
}

/** What a revision asks of servers, as the suite froze it. */
interface Requirements {
  server: string[];
  not_scored: { scenario: string; leg: string }[];
}

const SUITE = fileURLToPath(import.meta.resolve("@modelcontextprotocol/conformance/dist/index.js"));
const REQUIREMENTS = join(SUITE, "..", "..", "requirements");
const RUN_MS = 120_000;
const AGAIN = 2;
/** What nothing excuses: how a connection begins and ends, who may speak, headers, errors. */
const NEVER = /^(server-(initialize|session-lifecycle|stateless)|ping|dns-rebinding|http-|sep-2164|tools-call-error)/;

const readYaml = async (path: string) => YAML.parse(await readFile(path, "utf8"));
const revisions = (await readdir(REQUIREMENTS)).map((file) => file.replace(".yaml", "")).sort();
const expected = (await readYaml(join(import.meta.dirname, "mcp-conformance.yml"))) as Record<string, string[]>;

const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

/** A server with a space. @returns its door for MCP, and a key to it */
async function open(...args: Parameters<typeof startTestServer>) {
  const server = await startTestServer(...args);
  closing.push(() => server.close());
  const ada = await server.user("ada");
  const { result: space } = await server.call(ada.session, "space.create", { name: "Conformance" });
  const { result: pat } = await server.call(ada.session, "apiKey.create", { name: "suite" });
  return { url: server.url, door: `/mcp?space=${space.slug}`, key: pat.key as string };
}

let address: string;
beforeAll(async () => {
  const { url, door, key } = await open({}, { also: registerFixtures });
  const proxy = await startBearer(url, key);
  closing.push(proxy.close);
  address = proxy.url + door;
});

/** Runs the suite. @param which of its scenarios @returns the checks of each */
async function conform(...which: string[]): Promise<Map<string, Check[]>> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-conformance-"));
  try {
    const args = ["--bun", SUITE, "server", "--url", address, "--output-dir", folder, ...which];
    const { stderr } = await start(process.execPath, args, { PATH: process.env.PATH ?? "" }).finished;
    const results = await Promise.all(
      (await readdir(folder)).map(async (name) => {
        const checks = JSON.parse(await readFile(join(folder, name, "checks.json"), "utf8")) as Check[];
        return [name.replace(/^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$/g, ""), checks] as const;
      }),
    );
    if (results.length === 0) throw new Error(`Nothing ran: ${stderr.slice(0, 1000)}`);
    return new Map(results);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What failed, as the expectations name it, and what was said of it. */
const failuresIn = (results: Map<string, Check[]>): [string, string][] =>
  [...results].flatMap(([scenario, checks]) =>
    checks.flatMap(({ id, status, errorMessage = status }): [string, string][] =>
      status === "FAILURE" || status === "WARNING" ? [[`${scenario}:${id}`, errorMessage.slice(0, 300)]] : [],
    ),
  );

describe("the official conformance suite", () => {
  test("every revision that it knows has its expectations, and none excuses what nothing excuses", () => {
    expect(Object.keys(expected).sort()).toEqual(revisions);
    expect(Object.values(expected).flatMap((excuses) => excuses.filter((each) => NEVER.test(each)))).toEqual([]);
  });

  test.each(revisions)(
    "%s: everything ran, and nothing fails but what is expected to, for a reason",
    async (revision) => {
      const { server, not_scored } = (await readYaml(join(REQUIREMENTS, `${revision}.yaml`))) as Requirements;
      const asked = [...server, ...not_scored.flatMap(({ scenario, leg }) => (leg === "server" ? [scenario] : []))];
      const excuses = expected[revision] ?? [];
      const excuseOf = (check: string) => excuses.find((each) => check === each || check.startsWith(`${each}:`));

      const results = await conform("--requirements", revision);
      const unexcused = () => failuresIn(results).filter(([check]) => !excuseOf(check));
      // The suite gives some answers half a second, which a busy machine may not have: what failed is looked at again, alone.
      for (let again = 0; again < AGAIN; again++)
        for (const scenario of new Set(unexcused().map(([check]) => check.replace(/:.*/, ""))))
          for (const [name, checks] of await conform("--scenario", scenario, "--spec-version", revision, "--force"))
            results.set(name, checks);

      expect([...results.keys()].sort()).toEqual(asked.sort());
      expect([...results].filter(([, checks]) => checks.length === 0)).toEqual([]);
      expect(Object.fromEntries(unexcused())).toEqual({});
      const used = new Set(failuresIn(results).map(([check]) => excuseOf(check)));
      expect(excuses.filter((each) => !used.has(each))).toEqual([]);
    },
    RUN_MS,
  );
});

test("without what the suite asks for, the server claims no more than Gatehouse does", async () => {
  const { url, door, key } = await open();
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode: "auto" } });
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url + door), { requestInit: { headers: { authorization: `Bearer ${key}` } } }),
  );
  expect(client.getServerCapabilities()).toEqual({ tools: { listChanged: false } });
  const names = (await client.listTools()).tools.map(({ name }) => name);
  expect(names.length).toBeGreaterThan(0);
  expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  await client.close();
});
