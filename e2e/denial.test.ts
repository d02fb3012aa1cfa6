import { userPolicy } from "@gatehouse/server";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Credential, makeCredentials, ORIGINS } from "./credentials.ts";
import { type HttpAnswer, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { anyBody, anyParams, callText, Junk, worstBodies, worstParams } from "./junk.ts";
import { methods, targetsOf, validParams } from "./params.ts";
import { stored, visible } from "./visible.ts";

let server: TestServer;
let alice: TestUser;
let credentials: [name: string, credential: Credential][];
beforeAll(async () => {
  server = await startTestServer({ ...ORIGINS, RATE_LIMIT: "1000000" });
  alice = await server.user("Alice");
  credentials = Object.entries((await makeCredentials(server, alice)).credentials);
});
afterAll(() => server.close());

/** Random params for the first caller who gets an answer, and for each who gets the same. */
const RUNS = { first: 150, more: 10 };
const notForAnyone = methods.filter((method) => !userPolicy[method][0].label.startsWith("anyone"));

test.each(notForAnyone)("%s denies whom its row refuses, whatever they send, in the same words", async (method) => {
  const valid = JSON.stringify(await validParams(method, targetsOf(server, alice)));
  const before = await stored(server);
  const answers = new Set<string>();
  for (const [name, { headers, actor }] of credentials) {
    const denial = actor && userPolicy[method][0].refuses(actor);
    if (!denial) continue;
    const first = visible(await server.post(callText(method, undefined), headers));
    expect(first.status, name).toBe(200);
    expect(JSON.parse(first.text).error, name).toMatchObject({ code: 403, data: { code: "FORBIDDEN", reason: denial.reason } });
    const random = answers.has(first.text) ? RUNS.more : RUNS.first;
    const examples = [new Junk(valid), ...(answers.has(first.text) ? [] : worstParams)];
    answers.add(first.text);
    await fc.assert(
      fc.asyncProperty(anyParams, fc.boolean(), async (params, paramsFirst) => {
        expect(visible(await server.post(callText(method, params.text, paramsFirst), headers)), name).toEqual(first);
      }),
      { numRuns: random + examples.length, examples: examples.map((params) => [params, false]) },
    );
  }
  expect(answers.size, "answers to credentials that the row refuses").toBeGreaterThan(0);
  expect(await stored(server), "a denied call changes nothing").toBe(before);
});

const WRONG = ', error="invalid_token", error_description="The token is wrong, expired or revoked"';

/** What is seen of a 401, but that a token which came is said to be wrong (RFC 6750 §3.1): that one came, its caller knows. */
function asOfNone(answer: HttpAnswer, { authorization = "" }: Record<string, string>) {
  const seen = visible(answer);
  const { "www-authenticate": told = "", ...headers } = seen.headers;
  expect(told.endsWith(WRONG), authorization).toBe(/^bearer +\S/i.test(authorization));
  return { ...seen, headers: { ...headers, "www-authenticate": told.replace(WRONG, "") } };
}

test("a credential that proves nothing gets one and the same 401, whatever is asked", async () => {
  const first = asOfNone(await server.post(callText("whoami", undefined)), {});
  expect(first.status).toBe(401);
  const bodies = [...worstBodies, ...worstParams.map(({ text }) => callText("agent.create", text))];
  for (const [name, { headers, actor }] of credentials) {
    if (actor) continue;
    for (const body of bodies) expect(asOfNone(await server.post(body, headers), headers), name).toEqual(first);
    await fc.assert(
      fc.asyncProperty(anyBody, async ({ text = "" }) => {
        expect(asOfNone(await server.post(text, headers), headers), name).toEqual(first);
      }),
      { numRuns: RUNS.more },
    );
  }
});

test("at every door a credential that proves nothing gets what none gets", async () => {
  const question = JSON.stringify({
    subject: { type: "user", id: alice.id },
    action: { name: "read" },
    resource: { type: "docs", id: "a" },
  });
  const json = { "content-type": "application/json" };
  const doors: Record<string, { body: string; headers: Record<string, string> }> = {
    "/api/v1/user/rpc": { body: callText("whoami", undefined), headers: json },
    "/api/v1/space/rpc": { body: callText("space.get", undefined), headers: { ...json, "x-me-space": "aaaaaaaaaaaa" } },
    "/access/v1/evaluation": { body: question, headers: json },
    "/api/v1/introspect": { body: "token=x", headers: { "content-type": "application/x-www-form-urlencoded" } },
  };
  for (const [path, { body, headers }] of Object.entries(doors)) {
    const knock = async (presented: Record<string, string>) => {
      const answer = await fetch(server.url + path, { method: "POST", body, headers: { ...headers, ...presented } });
      return asOfNone({ status: answer.status, headers: answer.headers, text: await answer.text() }, presented);
    };
    const none = await knock({});
    expect(none.status, path).toBe(401);
    for (const [name, credential] of credentials)
      if (!credential.actor) expect(await knock(credential.headers), `${path} with ${name}`).toEqual(none);
  }
});

test("an Authorization header of any text that proves nothing gets that 401 too", async () => {
  const first = asOfNone(await server.post(callText("whoami", undefined)), {});
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
      const headers = { authorization: value };
      expect(asOfNone(await server.post(callText("whoami", undefined), headers), headers)).toEqual(first);
    }),
    { numRuns: 300, examples: [["Bearer %"], ["Bearer a.%E0%A4%A"], ["Bearer ."], ["Bearer .."], [""]] },
  );
});
