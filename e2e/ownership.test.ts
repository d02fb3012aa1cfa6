import { userPolicy } from "@gatehouse/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cell, callForCell, grid, legend, OK, refused } from "./grid.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { methods, noTargets, type Targets, targetOf, targetsOf, validParams } from "./params.ts";
import { stored } from "./visible.ts";

let server: TestServer;
let alice: TestUser;
let bob: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  alice = await server.user("Alice");
  bob = await server.user("Bob");
});
afterAll(() => server.close());

/** Found by whom they are for, in the very statement that takes them: there is nothing to authorize before it. */
const foundByWhomTheyAreFor = ["offer", "invite"];
/** Told of nothing but whether it is good, which for a token of somebody else is no. */
const toldOfNothing = (method: (typeof methods)[number]) => targetOf(method) === "token";
const aboutSomething = methods.filter((method) => targetOf(method) !== undefined);

/** Calls as Alice about what `targets` makes. */
const callAbout = async (targets: Targets, method: (typeof methods)[number]) => {
  const params = await validParams(method, targets);
  const before = await stored(server);
  const answer = await callForCell(server, { authorization: `Bearer ${alice.session}` }, method, params);
  return { ...answer, changed: (await stored(server)) !== before };
};

/** A space of Bob's whose roster holds Alice, but not as an admin. */
const joinedSpace = async () => {
  const slug = await targetsOf(server, bob).space();
  await server.sql`insert into members (space_id, principal_id) select id, ${alice.id} from spaces where slug = ${slug}`;
  return slug;
};

test("what belongs to somebody else answers like what is not there", async () => {
  const cells = new Map<string, Map<string, Cell>>();
  for (const method of aboutSomething) {
    if (!foundByWhomTheyAreFor.includes(targetOf(method) as string) && !toldOfNothing(method))
      expect(userPolicy[method][1], `${method} names something, so its row needs a need`).toBeDefined();
    const own = await callAbout(targetsOf(server, alice), method);
    const others = await callAbout(targetsOf(server, bob), method);
    const missing = await callAbout(noTargets(server), method);
    expect(own.cell, method).toEqual(OK);
    expect(others.cell, method).toEqual(toldOfNothing(method) ? OK : refused(200, "NOT_FOUND"));
    expect(others.text, method).toBe(missing.text);
    expect([others.changed, missing.changed], `${method} changed something`).toEqual([false, false]);
    cells.set(method, new Map(Object.entries({ own: own.cell, "somebody else's": others.cell, missing: missing.cell })));

    if (!["space", "home"].includes(targetOf(method) as string)) continue;
    const joined = await callAbout({ ...targetsOf(server, bob), space: joinedSpace, home: joinedSpace }, method);
    expect(joined.changed, `${method} changed something`).toBe(false);
    cells.get(method)?.set("of a member", joined.cell);
  }
  const text = `# What each method answers, by whose the thing is that it is about

Written by e2e/ownership.test.ts, from real calls of a user in a signed-in session.

${grid(cells, ["own", "somebody else's", "missing", "of a member"])}

## Legend

${legend(cells)}
`;
  await expect(text).toMatchFileSnapshot("./ownership.snapshot.md");
});
