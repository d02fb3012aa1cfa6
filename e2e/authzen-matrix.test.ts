import { actions, formatPermission, judge, type Permission, principalKinds, type RpcResponse } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type About, aside } from "./positions.ts";
import { come, inSpace, isDead, means } from "./space-callers.ts";
import { spaceMethods, validSpaceParams } from "./space-params.ts";
import { neededFor } from "./space-policy.ts";
import { makeSpaceWorld, type SpaceWorld } from "./space-world.ts";

let server: TestServer;
let world: SpaceWorld;
beforeAll(async () => {
  server = await startTestServer();
  world = await makeSpaceWorld(server);
});
afterAll(() => server.close());

/** A permission as AuthZEN asks for it: always of a type and a path. */
type Asked = Required<Permission>;

/** What the rows of the policy need, once each. */
async function needs(): Promise<About[]> {
  const found = new Map<string, About>();
  for (const method of spaceMethods) {
    const params = await validSpaceParams(method, world);
    const needed = await neededFor(method, params, world);
    const group = typeof params.group === "string" ? params.group : world.aside;
    if (needed)
      found.set(formatPermission({ ...needed, ...(needed.path && needed.type === "groups" && { path: "…" }) }), { needed, group });
  }
  return [...found.values()];
}

/** What is needed, what lies beneath, beside and elsewhere, by each action. */
function questionsAbout({ needed }: About): Asked[] {
  const { type = "anything", path = "anything" } = needed as Permission;
  const other = aside({ action: "read", type, path }, world).path as string;
  const places = [
    { type, path },
    { type, path: `${path}/beneath` },
    { type, path: other },
    { type: "elsewhere", path },
  ];
  return places.flatMap((place) => actions.map((action) => ({ action, ...place })));
}

async function evaluate(headers: Record<string, string>, subject: { type: string; id: string }, asked: Asked[]) {
  const questions = asked.map(({ action, type, path }) => ({ subject, action: { name: action }, resource: { type, id: path } }));
  const post = async (path: string, body: object) => {
    const sent = { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
    server.settle();
    const answer = await fetch(`${server.url}/access/v1/${path}`, sent);
    const said = await answer.json();
    return { status: answer.status, said };
  };
  const single = await post("evaluation", questions[0] as object);
  const { status, said } = await post("evaluations", { evaluations: questions });
  return { status, single: { status: single.status, said: single.said }, said };
}

/** The same of access.check. @returns whether, or the code of the refusal, for each */
async function check(headers: Record<string, string>, principal: string, asked: Asked[]) {
  const calls = asked.map((each, id) => ({
    jsonrpc: "2.0",
    id,
    method: "access.check",
    params: { principal, permission: formatPermission(each) },
  }));
  const { text } = await server.post(JSON.stringify(calls), headers);
  return [JSON.parse(text) as RpcResponse | RpcResponse[]]
    .flat()
    .map((answer) => ("result" in answer ? (answer.result as { allowed: boolean }).allowed : answer.error.data.code));
}

test("AuthZEN decides as access.check does, and as the layers of whom it is about say, wherever they stand", async () => {
  const counts = { yes: 0, no: 0 };
  for (const about of await needs()) {
    const asked = questionsAbout(about);
    for (const by of means) {
      for (const [name, position] of Object.entries(by.positions)) {
        const title = `${formatPermission(about.needed as Permission)}: ${by.title}, ${name}`;
        const { headers, actor } = await come(position, by, about, world);
        const { id, kind } = actor.principal;
        const subject = { type: principalKinds[kind], id };

        const own = await evaluate(headers, subject, asked);
        const checked = await check(headers, id, asked);
        const { standing } = actor;
        const dead = isDead(position, by);
        if (dead || !standing?.ownerPresent || by.browser) {
          const [status, code] = dead ? [401, "UNAUTHENTICATED"] : standing ? [403, "FORBIDDEN"] : [404, "NOT_FOUND"];
          expect(new Set(checked), title).toEqual(new Set([code]));
          for (const answer of [own, own.single]) expect(answer, title).toMatchObject({ status, said: { status, code } });
        } else {
          const wanted = asked.map((permission) => judge(standing.layers, [permission]).allowed);
          expect(checked, title).toEqual(wanted);
          expect(
            own.said.evaluations.map(({ decision }: { decision: boolean }) => decision),
            title,
          ).toEqual(wanted);
          expect(own.single.said.decision, title).toBe(wanted[0]);
          for (const allowed of wanted) counts[allowed ? "yes" : "no"]++;
        }

        // An admin is told what they may do by a credential without limits; of who is not there, that they may do nothing.
        const layers = standing?.layers.filter(({ name }) => name === "grants" || name === "owner") ?? [];
        const unlimited = asked.map((permission) => judge(layers, [permission]).allowed);
        const toAdmin = await evaluate(inSpace(world, world.ada.session), subject, asked);
        const checkedByAdmin = await check(inSpace(world, world.ada.session), id, asked);
        expect(
          toAdmin.said.evaluations.map(({ decision }: { decision: boolean }) => decision),
          title,
        ).toEqual(unlimited);
        expect(checkedByAdmin, title).toEqual(standing ? unlimited : asked.map(() => "NOT_FOUND"));
      }
    }
  }
  // Were all of the answers the same, it would not matter who was asked.
  expect(Math.min(counts.yes, counts.no)).toBeGreaterThan(100);
});
