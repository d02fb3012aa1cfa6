import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { until } from "./run.ts";

let at: Workplace;
beforeAll(async () => {
  at = await makeWorkplace();
});
afterAll(() => at.close());

interface Answered {
  id: string;
  result?: unknown;
  error?: { code: number; data: { code: string } };
}

/** Calls of one batch that run at once: those behind them begin when one of them is done. */
const AT_ONCE = 8;
const WAIT_SECONDS = 3;

/** A batch whose first calls wait, and which begins with one that can be seen from outside. */
const batch = (mark: string, behind: object[]) => [
  { jsonrpc: "2.0", id: "mark", method: "session.create", params: { task: "none", externalId: mark } },
  ...Array.from({ length: AT_ONCE }, (_, i) => ({
    jsonrpc: "2.0",
    id: `wait ${i}`,
    method: "run.lease",
    params: { tasks: ["none"], worker: "w", waitSeconds: WAIT_SECONDS },
  })),
  ...behind.map((call, i) => ({ jsonrpc: "2.0", id: `behind ${i}`, ...call })),
];

/** Posts a batch, and does something when it is under way. */
async function post(credential: string, calls: { id?: unknown }[], mark: string, meanwhile: () => Promise<unknown>): Promise<Answered[]> {
  const answering = at.server.post(JSON.stringify(calls), { authorization: `Bearer ${credential}`, "x-me-space": at.slug });
  await until("the batch has begun", async () => (await at.server.call(at.ada.session, "session.get", { session: mark }, at.slug)).result);
  await meanwhile();
  return JSON.parse((await answering).text);
}

/** Calls that read, send and take, each of which the key could make. */
const behind = (session: string) => [
  { method: "session.get", params: { session } },
  { method: "session.events", params: { session } },
  { method: "session.send", params: { session, message: "after the end" } },
  { method: "run.lease", params: { tasks: ["other"], worker: "w" } },
  { method: "rpc.discover" },
];

/** An agent that may serve every task, by a key of its own. */
async function makeAgent(name: string) {
  const { id } = await at.must("agent.create", { name }, null);
  const { id: keyId, key } = await at.must("apiKey.create", { name, agent: id }, null);
  await at.must("principal.add", { principal: id });
  await at.must("access.grant", { principal: id, permission: "admin:tasks" });
  return { id: id as string, keyId: keyId as string, key: key as string };
}

type Agent = Awaited<ReturnType<typeof makeAgent>>;

const ends: Record<string, { end(agent: Agent): Promise<unknown>; code: string }> = {
  "their key is revoked": { end: ({ keyId }) => at.must("apiKey.delete", { id: keyId }, null), code: "UNAUTHENTICATED" },
  "their agent is deleted": { end: ({ id }) => at.must("agent.delete", { id }, null), code: "UNAUTHENTICATED" },
  "they are removed from the space": { end: ({ id }) => at.must("principal.remove", { principal: id }), code: "NOT_FOUND" },
  "their grant is taken": {
    end: ({ id }) => at.must("access.revoke", { principal: id, permission: "admin:tasks" }),
    code: "FORBIDDEN",
  },
};

test("calls behind others in a batch run while the credential is good", async () => {
  const { key } = await makeAgent("kept");
  const { id } = (await at.must("session.create", { task: "other", externalId: "kept" })).session;
  const answers = await post(key, batch("mark-kept", behind(id)), "mark-kept", async () => {});
  for (const { id, error } of answers) expect(error, id).toBeUndefined();
});

test.each(Object.entries(ends))("calls behind others in a batch are refused once %s", async (how, { end, code }) => {
  const agent = await makeAgent(how);
  const mark = how.replaceAll(" ", "-");
  const { id } = (await at.must("session.create", { task: "other", externalId: `${mark}-other` })).session;
  const answers = await post(agent.key, batch(mark, behind(id)), mark, () => end(agent));
  const codes = new Map(answers.map(({ id, error }) => [id, error?.data.code]));
  expect(codes.get("mark")).toBeUndefined();
  // A call that waited is judged again before it is given anything; one behind it, before it begins.
  const open = code === "FORBIDDEN" ? behind(id).findIndex(({ method }) => method === "rpc.discover") : -1; // any member may
  for (const [id, told] of codes) if (id !== "mark" && id !== `behind ${open}`) expect(told, id).toBe(code);
  expect(codes.size).toBe(1 + AT_ONCE + behind(id).length);
  expect((await at.events(id)).filter(({ kind }) => kind === "message")).toEqual([]);
});
