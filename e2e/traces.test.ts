import { openDatabase } from "@gatehouse/server";
import { beforeAll, expect, test } from "vitest";
import { type Answered, type LogLine, type ObservedServer, startObserved } from "./observed.ts";
import type { ReceivedSpan } from "./receiver.ts";
import { me } from "./run.ts";

/** Stands in everything that a caller sends; whatever holds it was copied from a caller. */
const MARK = "QzMarkQz";
const person = { email: `${MARK}@example.com`.toLowerCase(), name: `${MARK} Ada`, password: `${MARK} correct horse` };
const UNKNOWN_KEY = `me_pat_${MARK}${"0".repeat(28)}`;
const BATCH = 5;

let observed: ObservedServer;
let actor: { principal: string; credential: string };
const answers: Record<string, Answered> = {};
let batch: Answered;
let spans: ReceivedSpan[];
let lines: LogLine[];
let everything: string;

/** Calls while a column is missing that the method reads: a fault that no code foresees. */
async function crashing(call: () => Promise<Answered>): Promise<Answered> {
  const sql = openDatabase(observed.databaseUrl);
  try {
    await sql`alter table principals rename column created_at to gone`;
    return await call();
  } finally {
    await sql`alter table principals rename column gone to created_at`;
    await sql.end();
  }
}

beforeAll(async () => {
  observed = await startObserved(person);
  const { post, session, home } = observed;
  const request = (id: string, method: string, params: object = {}) => ({ jsonrpc: "2.0", id, method, params });

  const { result: who } = (await post(session, request("setup", "whoami"))).body;
  actor = { principal: who.id, credential: who.credential.id };
  const { result: agent } = (await post(session, request("setup", "agent.create", { name: `${MARK} agent` }))).body;
  const { result: key } = (await post(session, request("setup", "apiKey.create", { name: `${MARK} key`, agent: agent.id }))).body;

  answers.unknownCredential = await post(UNKNOWN_KEY, request("no-one", "whoami"));
  answers.unknownMethod = await post(session, request("unknown", `${MARK}.method`, { name: MARK }));
  answers.denied = await post(key.key, request("denied", "agent.create", { name: `${MARK} denied` }));
  answers.invalidParams = await post(session, request("invalid", "agent.create", { [MARK]: MARK }));
  answers.conflict = await post(session, request("conflict", "agent.create", { name: `${MARK} agent` }));
  answers.crash = await crashing(() => post(session, request("crash", "agent.list")));
  answers.success = await post(session, request("success", "agent.list"));
  batch = await post(
    session,
    Array.from({ length: BATCH }, (_, i) => request(`batch-${i}`, "agent.create", { name: `${MARK} batch ${i}` })),
  );
  await me(home, ["login", "--email", person.email], { stdin: `${MARK} wrong password` });
  await me(home, ["agent", "create", `${MARK} from the command line`]);
  await me(home, ["agent", "create", `${MARK} from the command line`]);
  await me(home, ["agent", "list"]);
  ({ spans, lines, everything } = await observed.over());
});

const rpcSpans = (requestId: string | undefined) =>
  spans.filter(
    ({ kind, attributes }) =>
      kind === "server" && attributes["rpc.system.name"] === "jsonrpc" && attributes["gatehouse.request.id"] === requestId,
  );
const linesOf = (requestId: string | undefined) => lines.filter((line) => line.requestId === requestId);

const outcomes = [
  { call: "unknownCredential", method: "_OTHER", outcome: "UNAUTHENTICATED", number: "401", as: "nobody" },
  { call: "unknownMethod", method: "_OTHER", outcome: "METHOD_NOT_FOUND", number: "-32601", id: "unknown", as: "user" },
  { call: "denied", method: "agent.create", outcome: "FORBIDDEN", number: "403", id: "denied", as: "agent" },
  { call: "invalidParams", method: "agent.create", outcome: "INVALID_PARAMS", number: "-32602", id: "invalid", as: "user" },
  { call: "conflict", method: "agent.create", outcome: "CONFLICT", number: "409", id: "conflict", as: "user" },
  { call: "crash", method: "agent.list", outcome: "INTERNAL_ERROR", number: "-32603", id: "crash", as: "user", fault: true },
  { call: "success", method: "agent.list", outcome: "OK", id: "success", as: "user" },
] as const satisfies { call: string; as: "nobody" | "user" | "agent"; [more: string]: unknown }[];

test.each(outcomes)("$call leaves one span and one log line that say so", (expected) => {
  const { call, method, outcome, as } = expected;
  const { requestId, body } = answers[call] as Answered;
  expect(body.error?.data.code ?? "OK").toBe(outcome);
  expect(body.id).toBe("id" in expected ? expected.id : null);

  const [span, ...otherSpans] = rpcSpans(requestId);
  const [line, ...otherLines] = linesOf(requestId);
  expect(otherSpans).toEqual([]);
  expect(otherLines).toEqual([]);
  const { "gatehouse.principal.id": principal, "gatehouse.credential.id": credential, ...attributes } = span?.attributes ?? {};
  expect({ name: span?.name, failed: span?.failed, service: span?.service, attributes }).toEqual({
    name: method,
    failed: "fault" in expected,
    service: "gatehouse",
    attributes: {
      "rpc.system.name": "jsonrpc",
      "jsonrpc.protocol.version": "2.0",
      "rpc.method": method,
      "gatehouse.request.id": requestId,
      "gatehouse.outcome": outcome,
      ...("id" in expected && { "jsonrpc.request.id": expected.id }),
      ...("number" in expected && { "error.type": outcome, "rpc.response.status_code": expected.number }),
      ...(as !== "nobody" && {
        "gatehouse.principal.kind": as === "user" ? "u" : "a",
        "gatehouse.credential.via": as === "user" ? "session" : "agent_key",
      }),
    },
  });
  if (as === "user") expect({ principal, credential }).toEqual(actor);
  if (as === "agent") expect(principal).not.toBe(actor.principal);
  expect(line).toMatchObject({ method, outcome, requestId, traceId: span?.traceId });
  expect({ principal: line?.principal, kind: line?.kind, via: line?.via, credentialId: line?.credentialId }).toEqual({
    principal,
    kind: attributes["gatehouse.principal.kind"],
    via: attributes["gatehouse.credential.via"],
    credentialId: credential,
  });
});

test("a crash tells the log what happened, and the caller nothing of it", () => {
  expect(answers.crash?.body.error).toEqual({
    code: -32603,
    message: "The server failed to answer. Report the requestId to its operator.",
    data: { code: "INTERNAL_ERROR", requestId: answers.crash?.requestId },
  });
  expect(linesOf(answers.crash?.requestId)[0]).toMatchObject({ msg: "call failed", cause: { name: "DatabaseError", code: "42703" } });
});

test("a batch leaves a span and a line for each of its calls", () => {
  expect(batch.body).toHaveLength(BATCH);
  expect(
    rpcSpans(batch.requestId)
      .map(({ attributes }) => attributes["jsonrpc.request.id"])
      .sort(),
  ).toEqual(Array.from({ length: BATCH }, (_, i) => `batch-${i}`));
  expect(linesOf(batch.requestId)).toHaveLength(BATCH);
});

test("there is one span for each line, and one line for each span", () => {
  const calls = lines.filter(({ method }) => method !== undefined).map(({ requestId, traceId }) => `${requestId} ${traceId}`);
  const traced = spans
    .filter(({ kind, attributes }) => kind === "server" && attributes["rpc.system.name"] === "jsonrpc")
    .map(({ traceId, attributes }) => `${attributes["gatehouse.request.id"]} ${traceId}`);
  expect(calls.length).toBeGreaterThan(outcomes.length + BATCH);
  expect(traced.sort()).toEqual(calls.sort());
});

test("one trace leads from the command line to the database", () => {
  const calling = spans.find(({ service, name }) => service === "me" && name === "agent.list");
  const trace = spans.filter(({ traceId }) => traceId === calling?.traceId);
  const beneath = (parent: ReceivedSpan | undefined, name: string) =>
    trace.filter((span) => parent !== undefined && span.parent === parent.id && span.name === name);
  expect(calling).toMatchObject({ kind: "client", parent: "" });
  const [http] = beneath(calling, "POST /api/v1/user/rpc");
  expect(http).toMatchObject({ kind: "server", service: "gatehouse" });
  const [rpc] = beneath(http, "agent.list");
  expect(rpc).toMatchObject({ kind: "server", service: "gatehouse" });
  const [query] = beneath(rpc, "SELECT");
  expect(query).toMatchObject({ kind: "client", attributes: { "db.system.name": "postgresql" } });
  expect(query?.attributes["db.query.text"]).toContain("from principals");
});

test("nothing that a caller sent, and no secret, is in a span or in the log", () => {
  expect(everything).toContain(actor.principal);
  const sent = [MARK, MARK.toLowerCase(), observed.session.split(".")[0], "me_pat_", "me_agent_", new URL(observed.databaseUrl).password];
  for (const text of sent) expect(everything).not.toContain(text);
});
