import { userPolicy } from "@gatehouse/server";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ALLOWED_ORIGIN, type Credential, makeCredentials } from "./credentials.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { anyBody, anyParams, callText, Junk, worstBodies, worstParams } from "./junk.ts";
import { methods, targetsOf, validParams } from "./params.ts";
import { stored, visible } from "./visible.ts";

let server: TestServer;
let alice: TestUser;
let credentials: [name: string, credential: Credential][];
beforeAll(async () => {
  server = await startTestServer({ ALLOWED_ORIGINS: ALLOWED_ORIGIN, RATE_LIMIT: "1000000" });
  alice = await server.user("Alice");
  credentials = Object.entries(await makeCredentials(server, alice));
});
afterAll(() => server.close());

const RUNS = 150;
const notForAnyone = methods.filter((method) => userPolicy[method][0].label !== "anyone");

test.each(notForAnyone)("%s denies whom its row refuses, whatever they send, in the same words", { timeout: 120_000 }, async (method) => {
  const valid = JSON.stringify(await validParams(method, targetsOf(server, alice)));
  const before = await stored(server);
  let denied = 0;
  for (const [name, { headers, actor }] of credentials) {
    const denial = actor && userPolicy[method][0].refuses(actor);
    if (!denial) continue;
    denied++;
    const first = visible(await server.post(callText(method, undefined), headers));
    expect(first.status, name).toBe(200);
    expect(JSON.parse(first.text).error, name).toMatchObject({ code: 403, data: { code: "FORBIDDEN", reason: denial.reason } });
    await fc.assert(
      fc.asyncProperty(anyParams, fc.boolean(), async (params, paramsFirst) => {
        expect(visible(await server.post(callText(method, params.text, paramsFirst), headers)), name).toEqual(first);
      }),
      { numRuns: RUNS, examples: [new Junk(valid), ...worstParams].map((params) => [params, false]) },
    );
  }
  expect(denied, "credentials that the row refuses").toBeGreaterThan(0);
  expect(await stored(server), "a denied call changes nothing").toBe(before);
});

test("a credential that proves nothing gets one and the same 401, whatever is asked", async () => {
  const first = visible(await server.post(callText("whoami", undefined)));
  expect(first.status).toBe(401);
  const bodies = [...worstBodies, ...worstParams.map(({ text }) => callText("agent.create", text))];
  for (const [name, { headers, actor }] of credentials) {
    if (actor) continue;
    for (const body of bodies) expect(visible(await server.post(body, headers)), name).toEqual(first);
    await fc.assert(
      fc.asyncProperty(anyBody, async ({ text = "" }) => {
        expect(visible(await server.post(text, headers)), name).toEqual(first);
      }),
      { numRuns: RUNS },
    );
  }
});

test("an Authorization header of any text that proves nothing gets that 401 too", async () => {
  const first = visible(await server.post(callText("whoami", undefined)));
  const headerText = fc.string({
    unit: fc
      .integer({ min: 0x20, max: 0xff })
      .filter((code) => code < 0x7f || code > 0xa0)
      .map((code) => String.fromCharCode(code)),
  });
  const scheme = fc.constantFrom(
    "Bearer ",
    "bearer  ",
    "Bearer me_",
    "Bearer me_pat_",
    "Bearer me_agent_",
    `Bearer ${alice.session.slice(0, -10)}`,
    "Basic ",
    "",
  );
  const authorization = fc.tuple(scheme, headerText).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(authorization, async (value) => {
      expect(visible(await server.post(callText("whoami", undefined), { authorization: value }))).toEqual(first);
    }),
    { numRuns: 300, examples: [["Bearer %"], ["Bearer a.%E0%A4%A"], ["Bearer ."], ["Bearer .."], [""]] },
  );
});
