import { effective, formatPermission, type ResultOf, type SpaceApi } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { anyParams, callText, Junk, worstParams } from "./junk.ts";
import { callerAt, come, isDead, means } from "./space-callers.ts";
import { spaceMethods, validSpaceParams } from "./space-params.ts";
import { neededFor, predictBefore, seenBy } from "./space-policy.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";
import { stored, visible } from "./visible.ts";

let server: TestServer;
let world: SpaceWorld;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
});
afterAll(() => server.close());

/** Random params for the first caller who gets an answer, and for each who gets the same: dozens, for some methods. */
const RUNS = { first: 30, more: 4 };

type Effective = ResultOf<SpaceApi, "access.effective">["layers"][number];

describe.each(spaceMethods)("%s", (method) => {
  test("denies whom the policy refuses before the params, whatever they send, in the same words", async () => {
    const params = await validSpaceParams(method, world);
    const group = typeof params.group === "string" ? params.group : await world.newGroup();
    const about = { needed: await neededFor(method, params, world), group };
    const answers = new Set<string>();
    for (const by of means) {
      for (const [name, position] of Object.entries(by.positions)) {
        const title = `${by.title}, ${name}`;
        const actor = callerAt(position, by, about, world);
        const wanted = predictBefore(method, actor);
        if (!wanted || !actor.standing || isDead(position, by)) continue; // what strangers get is a test of its own
        const { headers } = await come(position, by, about, world);
        const before = await stored(server);
        const first = visible(await server.post(callText(method, undefined), headers));
        const { code, data } = JSON.parse(first.text).error;
        const { reason, layer } = data;
        expect(wanted.cell.full, title).toBe(
          `HTTP ${first.status}, error ${code} ${data.code}, reason ${reason}${layer ? `, layer ${layer}` : ""}`,
        );
        const worst = answers.has(first.text) ? [] : worstParams;
        const random = answers.has(first.text) ? RUNS.more : RUNS.first;
        answers.add(first.text);
        const examples = [new Junk(JSON.stringify(params)), ...worst];
        await fc.assert(
          fc.asyncProperty(anyParams, fc.boolean(), async (junk, paramsFirst) => {
            expect(visible(await server.post(callText(method, junk.text, paramsFirst), headers)), title).toEqual(first);
          }),
          { numRuns: random + examples.length, examples: examples.map((each) => [each, false]) },
        );
        expect(await stored(server), "a denied call changes nothing").toBe(before);
      }
    }
    expect(answers.size, "answers to callers whom the policy refuses").toBeGreaterThan(0);
  });
});

test("each caller is told of what is not refused to them before the params, and of each layer of what they may do", async () => {
  for (const by of means) {
    for (const [name, position] of Object.entries(by.positions)) {
      const about = { needed: { action: "admin", type: "groups", path: world.aside } as const, group: world.aside };
      const { headers, actor } = await come(position, by, about, world);
      const open = isDead(position, by) ? [] : spaceMethods.filter((method) => predictBefore(method, actor) === undefined);
      const { text } = await server.post(callText("rpc.discover", undefined), headers);
      const listed = (JSON.parse(text).result?.methods ?? []).map((method: { name: string }) => method.name);
      expect(listed, `${by.title}, ${name}`).toEqual(by.browser ? [] : open);

      const said = JSON.parse((await server.post(callText("access.effective", undefined), headers)).text);
      const seen = said.result?.layers.map(({ layer, permissions }: Effective) => ({ name: layer, permissions }));
      const there = actor.standing?.ownerPresent && !isDead(position, by) && !by.browser;
      const layers = actor.standing?.layers
        .filter(seenBy(actor))
        .map((layer) => ({ name: layer.name, permissions: effective([layer]).map(formatPermission) }));
      expect(seen, `${by.title}, ${name}`).toEqual(there ? layers : undefined);
    }
  }
});
