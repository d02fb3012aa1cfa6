import { type Layer, type LayerName, type RpcResponse, spaceApi } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cell, callForCell, grid, legend, refused } from "./grid.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { idOf, type Position, userPositions } from "./positions.ts";
import { come, inSpace, isDead, type Means, means } from "./space-callers.ts";
import { type SpaceRow, spaceRows, validSpaceParams } from "./space-params.ts";
import { adminIn, neededFor, type Predicted, predict, seenBy } from "./space-policy.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

let server: TestServer;
/** Worlds in which rows are gone through side by side: while one waits for the database, another calls. */
let worlds: SpaceWorld[];
beforeAll(async () => {
  server = await startTestServer();
  worlds = await Promise.all([1, 2, 3].map(() => makeSpaceWorld(server)));
});
afterAll(() => server.close());

/** Params about fresh things, and what the row needs of them. */
async function prepare(world: SpaceWorld, { method, whom }: SpaceRow, position: Position) {
  const id = whom === "self" ? idOf(world, position.holder) : whom === "own agent" ? await world.newAgentOfBob() : undefined;
  const params = await validSpaceParams(method, world, {
    whom: id,
    intoGroup: whom === "into a group",
    caller: idOf(world, position.holder),
  });
  const group = typeof params.group === "string" ? params.group : await world.newGroup();
  return { params, about: { needed: await neededFor(method, params, world), group, session: await sessionIn(params) } };
}

/** The session that params name, by itself or by its run. */
async function sessionIn({ session, run }: Record<string, unknown>): Promise<string | undefined> {
  if (typeof run !== "string") return session as string | undefined;
  const [row] = await server.sql<{ id: string }[]>`select session_id as id from runs where id = ${run}`;
  return row?.id;
}

/** Asks whether, and why, in one request. @returns what was answered, or the data of the error */
async function explained(headers: Record<string, string>, question: object) {
  const calls = ["access.explain", "access.check"].map((method, id) => ({ jsonrpc: "2.0", id, method, params: question }));
  const { text } = await server.post(JSON.stringify(calls), headers);
  return (JSON.parse(text) as RpcResponse[]).map((answer) => ("result" in answer ? answer.result : answer.error.data));
}

/**
 * One real call; its answer must be what the policy says, and what the server itself says of it when it is asked.
 * @returns nothing where there is no such call: a service is in no group
 */
async function cellOf(world: SpaceWorld, row: SpaceRow, title: string, position: Position, by: Means): Promise<Cell | undefined> {
  if (row.whom === "self" && position.holder === "service" && "group" in spaceApi[row.method].params.shape) return undefined;
  const { params, about } = await prepare(world, row, position);
  // Whoever leaves a group is in it.
  const at: Position = row.whom === "self" && params.group && !position.group ? { ...position, group: "member" } : position;
  const { headers, actor } = await come(at, by, about, world);
  if (isDead(position, by)) {
    const { cell } = await callForCell(server, headers, row.method, params);
    expect(cell, title).toEqual(refused(401, "UNAUTHENTICATED"));
    return cell;
  }
  const wanted = await predict(row.method, params, actor, server);

  const question = { method: row.method, params };
  const toCaller = await explained(headers, question);
  // Of somebody else an admin learns what they may do by a credential without limits.
  const unlimited = by.via !== "pat" && by.ceiling === undefined && by.scope === undefined && !by.browser;
  const wantedOfAdmin = unlimited ? await predict(row.method, params, actor, server, adminIn(world)) : wanted;
  const aboutCaller = { principal: actor.principal.id, ...question };
  const toAdmin = unlimited ? await explained(inSpace(world, world.ada.session), aboutCaller) : [];
  const { cell } = await callForCell(server, headers, row.method, params);

  expect(cell, title).toEqual(wanted.cell);
  if (!actor.standing) {
    for (const said of toCaller) expect(said, title).toMatchObject({ code: "NOT_FOUND", reason: "stranger" });
    for (const said of toAdmin) expect(said, title).toMatchObject({ code: "NOT_FOUND" });
    return cell;
  }
  const answersWith = (wanted: Predicted, known: (layer: Pick<Layer, "name">) => boolean) => {
    const layers = wanted.explained.layers.map(({ by, ...said }) =>
      expect.objectContaining({ ...said, by: known({ name: said.layer as LayerName }) ? by : null }),
    );
    return [expect.objectContaining({ ...wanted.explained, layers }), { allowed: wanted.explained.allowed }];
  };
  if (by.browser) for (const said of toCaller) expect(said, title).toMatchObject({ code: "FORBIDDEN", reason: "browser" });
  else if (actor.standing.ownerPresent) expect(toCaller, title).toEqual(answersWith(wanted, seenBy(actor)));
  else for (const said of toCaller) expect(said, title).toMatchObject({ code: "FORBIDDEN", reason: "owner-left" });
  if (unlimited) expect(toAdmin, title).toEqual(answersWith(wantedOfAdmin, () => true));
  return cell;
}

test("each call of the space RPC is answered, and explained, as the policy says and as it is written down", async () => {
  const tables = new Map([...means.map(({ title }) => title), "nobody"].map((title) => [title, new Map<string, Map<string, Cell>>()]));
  const lines = new Map(spaceRows.map((row) => [row, new Map<string, Map<string, Cell>>()]));
  const queue = lines.entries();
  const work = async (world: SpaceWorld) => {
    for (const [row, answers] of queue) {
      for (const by of means) {
        const line = new Map<string, Cell>();
        answers.set(by.title, line);
        for (const [name, position] of Object.entries(by.positions)) {
          const cell = await cellOf(world, row, `${row.title}: ${by.title}, ${name}`, position, by);
          if (cell) line.set(name, cell);
        }
      }
      const { params } = await prepare(world, row, userPositions.member as Position);
      const { cell } = await callForCell(server, inSpace(world), row.method, params);
      expect(cell, `${row.title} without a credential`).toEqual(refused(401, "UNAUTHENTICATED"));
      answers.set("nobody", new Map([["nobody", cell]]));
    }
  };
  await Promise.all(worlds.map(work));
  for (const [row, answers] of lines) for (const [title, line] of answers) tables.get(title)?.set(row.title, line);

  const table = (title: string, columns: string[]) => grid(tables.get(title) ?? new Map(), columns);
  const everything = [...tables].flatMap(([title, rows]) => [...rows].map(([row, line]) => [`${title} ${row}`, line] as const));
  const text = `# What each method of the space RPC answers, by where the caller stands

Written by e2e/space-matrix.test.ts, from real calls with valid params about fresh things.
"Granted" is granted exactly what the row of the policy needs for those params; "aside", the same of another path.
"Self" and "own agent" are calls about the caller, or about an agent of the user's; "into a group", one that puts somebody into one.

${means.map(({ title, positions }) => `## ${title}\n\n${table(title, Object.keys(positions))}`).join("\n\n")}

## Without a credential

${table("nobody", ["nobody"])}

## Legend

${legend(new Map(everything))}
`;
  await expect(text).toMatchFileSnapshot("./space-matrix.snapshot.md");
});
