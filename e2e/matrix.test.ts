import { userPolicy } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ALLOWED_ORIGIN, type Credential, makeCredentials } from "./credentials.ts";
import { type Cell, callForCell, grid, legend, OK, refused } from "./grid.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { methods, targetsOf, validParams } from "./params.ts";

let server: TestServer;
let alice: TestUser;
let credentials: [name: string, credential: Credential][];
beforeAll(async () => {
  server = await startTestServer({ ALLOWED_ORIGINS: ALLOWED_ORIGIN });
  alice = await server.user("Alice");
  credentials = Object.entries(await makeCredentials(server, alice));
});
afterAll(() => server.close());

/** What the policy says that a call with valid params about the caller's own things answers. */
function predicted(method: (typeof methods)[number], { actor }: Credential): Cell {
  if (!actor) return refused(401, "UNAUTHENTICATED");
  const denial = userPolicy[method][0].refuses(actor);
  return denial ? refused(200, "FORBIDDEN", denial.reason) : OK;
}

test("each credential that proves somebody proves who it is said to be", async () => {
  for (const [name, { headers, actor }] of credentials) {
    if (!actor) continue;
    const { text } = await callForCell(server, headers, "whoami", {});
    const { kind, credential } = JSON.parse(text).result;
    expect({ kind, via: credential.via }, name).toEqual({ kind: actor.principal.kind, via: actor.credential.via });
  }
});

test("each method answers each credential as the policy says, and as it is written down", async () => {
  const targets = targetsOf(server, alice);
  const cells = new Map<string, Map<string, Cell>>();
  for (const method of methods) {
    const row = new Map<string, Cell>();
    cells.set(method, row);
    for (const [name, credential] of credentials) {
      const { cell } = await callForCell(server, credential.headers, method, await validParams(method, targets));
      expect(cell, `${method} with ${name}`).toEqual(predicted(method, credential));
      row.set(name, cell);
    }
  }
  const columns = (proving: boolean) => credentials.filter(([, { actor }]) => (actor !== undefined) === proving).map(([name]) => name);
  const text = `# What each method answers to each credential

Written by e2e/matrix.test.ts, from real calls with valid params about the caller's own things.

## Credentials that prove who is calling

${grid(cells, columns(true))}

## Credentials that prove nothing

${grid(cells, columns(false))}

## Legend

${legend(cells)}
`;
  await expect(text).toMatchFileSnapshot("./matrix.snapshot.md");
});
