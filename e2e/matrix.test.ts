import { formatPermission, judge, MAX_BATCH } from "@gatehouse/protocol";
import { Refusal, userPolicy } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Judging, Rule } from "../packages/server/src/rules.ts";
import { type Credential, makeCredentials, ORIGINS } from "./credentials.ts";
import { type Cell, callForCell, grid, legend, OK, refused, table } from "./grid.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { methods, type Targets, targetsOf, validParams } from "./params.ts";

let server: TestServer;
let alice: TestUser;
let targets: Targets;
let credentials: [name: string, credential: Credential][];
let proving: [name: string, credential: Required<Credential>][];
beforeAll(async () => {
  server = await startTestServer(ORIGINS);
  alice = await server.user("Alice");
  const made = await makeCredentials(server, alice);
  // A token is minted for the space that all of them are in.
  targets = { ...targetsOf(server, alice), home: async () => made.space };
  credentials = Object.entries(made.credentials);
  proving = credentials.filter((each): each is [string, Required<Credential>] => each[1].actor !== undefined);
});
afterAll(() => server.close());

type Method = (typeof methods)[number];

/** What a method's row of the policy says to a call with these params. */
async function predicted(method: Method, params: object, { actor }: Credential): Promise<Cell> {
  if (!actor) return refused(401, "UNAUTHENTICATED");
  const [who, need] = userPolicy[method] as unknown as Rule<object>;
  const denial = who.refuses(actor);
  if (denial) return refused(200, "FORBIDDEN", denial.reason);
  const at = { actor, sql: server.sql } as Judging;
  const refusal = await need?.check(params, at).then(() => undefined, toRefusal);
  return refusal ? refused(200, refusal.code, refusal.details.reason, refusal.details.layer) : OK;
}

function toRefusal(thrown: unknown): Refusal {
  if (thrown instanceof Refusal) return thrown;
  throw thrown;
}

const call = async (headers: Record<string, string>, method: Method, params: object) =>
  JSON.parse((await callForCell(server, headers, method, params)).text).result;

test("each credential that proves somebody proves who it is said to be, by what, and within which limits", async () => {
  for (const [name, { headers, actor }] of proving) {
    const { principal, credential, act = null } = actor;
    const said = await call(headers, "whoami", {});
    const scope = (credential.scope ?? credential.ceiling)?.map(formatPermission) ?? null;
    const { onlySession } = credential;
    const who = onlySession === undefined ? { id: principal.id, kind: principal.kind } : { id: onlySession, kind: "b", email: null };
    expect(said, name).toMatchObject({ ...who, credential: { via: credential.via, scope } });
    expect([said.owner?.id, said.act?.id, said.credential.space], name).toEqual([
      onlySession === undefined ? actor.owner?.id : undefined,
      act?.principal.id,
      credential.space ?? null,
    ]);
  }
});

test("each method answers each credential as the policy says, and as it is written down", async () => {
  const cells = new Map<string, Map<string, Cell>>();
  const nothing = new Map<string, Map<string, Cell>>();
  for (const method of methods) {
    const row = new Map<string, Cell>();
    cells.set(method, row);
    // Where nobody is let in, nothing is changed: the same params do for all.
    const untouched = await validParams(method, targets);
    for (const [name, credential] of credentials) {
      const params = credential.actor ? await validParams(method, targets) : untouched;
      const wanted = await predicted(method, params, credential);
      const { cell } = await callForCell(server, credential.headers, method, params);
      expect(cell, `${method} with ${name}`).toEqual(wanted);
      if (credential.actor) row.set(name, cell);
      else nothing.set(name, (nothing.get(name) ?? new Map<string, Cell>()).set(method, cell));
    }
  }
  /** What all methods answered, if it was the same. */
  const always = (row: Map<string, Cell>) => [...new Set([...row.values()].map(({ short }) => short))].join(", ");
  const text = `# What each method answers to each credential

Written by e2e/matrix.test.ts, from real calls with valid params about the caller's own things.

## Credentials that prove who is calling

${grid(
  cells,
  proving.map(([name]) => name),
)}

## Credentials that prove nothing

${table(
  ["credential", "every method"],
  [...nothing].map(([name, row]) => [name, always(row)]),
)}

## Legend

${legend(new Map([...cells, ...nothing]))}
`;
  await expect(text).toMatchFileSnapshot("./matrix.snapshot.md");
});

test("a user alone, by themselves and within their layers, lets an agent act for them, whom their credential may know", async () => {
  const mayAct = await agentOnRoster();
  /** The limits of a credential that does not include read:members. */
  const limitOf = ({ scope, ceiling }: Required<Credential>["actor"]["credential"]) => {
    const permissions = scope ?? ceiling;
    const name = scope ? "token" : "ceiling";
    if (!permissions || judge([{ name, permissions }], [{ action: "read", type: "members" }]).allowed) return undefined;
    return name;
  };
  for (const [name, credential] of proving) {
    const { principal, act } = credential.actor;
    for (const scope of [["read:tasks"], ["read:tasks", "admin:tasks"]]) {
      const params = { ...(await validParams("token.create", targets)), scope, mayAct };
      const { cell } = await callForCell(server, credential.headers, "token.create", params);
      const within = await predicted("token.create", params, credential);
      const limit = limitOf(credential.actor.credential);
      const known = limit ? refused(200, "FORBIDDEN", "scope", limit) : OK;
      const wanted = principal.kind === "u" && !act ? known : refused(200, "FORBIDDEN", "user-only");
      expect(cell, `${name}: ${scope}`).toEqual(within.short === OK.short ? wanted : within);
    }
  }
});

async function agentOnRoster(): Promise<string> {
  const id = await targets.agent();
  const { error } = await server.call(alice.session, "principal.add", { principal: id }, await targets.home());
  expect(error).toBeUndefined();
  return id;
}

test("each credential is told of those that concern it, and of no other", async () => {
  /** Whom a credential speaks for, without the limits it comes with. */
  const unlimited = ({ credential }: Required<Credential>["actor"]) => credential.ceiling === null && credential.scope === undefined;
  const concerns = (by: Required<Credential>["actor"], about: Required<Credential>["actor"]) =>
    by.credential.onlySession === undefined && concernsPrincipal(by, about);
  const concernsPrincipal = (by: Required<Credential>["actor"], about: Required<Credential>["actor"]) =>
    [about.principal.id, about.act?.principal.id].includes(by.principal.id) ||
    (by.principal.kind === "s" && /^(jwt|browser_token)$/.test(about.credential.via)) ||
    (by.principal.kind === "u" && unlimited(by) && about.owner?.id === by.principal.id);
  const presented = credentials.flatMap(([name, { headers, actor }]) => {
    const [, token] = /^Bearer (\S+)$/.exec(headers.authorization ?? "") ?? [];
    return token === undefined || headers.cookie ? [] : [{ name, actor, token }];
  });
  // What is for an agent to act by is its maker's to know of, though it proves nothing by itself.
  const asked = presented.filter(({ name }) => name !== "token for an agent, by itself");
  const inspect = async (headers: Record<string, string>, tokens: string[]) => {
    const batch = tokens.map((token, id) => ({ jsonrpc: "2.0", id, method: "token.inspect", params: { token } }));
    const answers = JSON.parse((await server.post(JSON.stringify(batch), headers)).text) as { result?: { active: boolean } }[];
    // A browser may not ask.
    return answers.map(({ result }) => result?.active ?? false);
  };
  for (const [name, { headers, actor }] of proving)
    for (let from = 0; from < asked.length; from += MAX_BATCH) {
      const some = asked.slice(from, from + MAX_BATCH);
      const active = await inspect(
        headers,
        some.map(({ token }) => token),
      );
      const wanted = some.map((about) => about.actor !== undefined && concerns(actor, about.actor));
      for (const [i, about] of some.entries()) expect(active[i], `${name} about ${about.name}`).toBe(wanted[i]);
    }
});
