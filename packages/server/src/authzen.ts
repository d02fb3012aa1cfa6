import {
  type Explanation,
  formatPermission,
  MAX_BATCH,
  PermissionText,
  principalKinds,
  type RpcError,
  type RpcResponse,
} from "@gatehouse/protocol";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { EVALUATIONS_BYTES } from "./body.ts";
import { type House, readAs, refuse, senderOf } from "./house.ts";
import { readJson } from "./json.ts";
import { issuesOf, saidOf } from "./params.ts";
import { Refusal, toRefusal } from "./refusal.ts";
import { answer } from "./rpc.ts";
import { traceRequest } from "./telemetry.ts";

/** The entities of an AuthZEN 1.0 request that are read; properties and context are accepted, and mean nothing here. */
const entities = {
  subject: z.object({ type: z.string(), id: z.string() }),
  action: z.object({ name: z.enum(["read", "write", "admin"]) }),
  resource: z.object({ type: z.string(), id: z.string() }),
};
const Evaluation = z.object(entities);
const Evaluations = z.object({
  ...z.object(entities).partial().shape,
  evaluations: z.array(z.object(entities).partial()).max(MAX_BATCH).default([]),
  options: z
    .object({ evaluations_semantic: z.enum(["execute_all", "deny_on_first_deny", "permit_on_first_permit"]).default("execute_all") })
    .prefault({}),
});

interface Decision {
  decision: boolean;
  context?: { reason: string };
}

const PATHS = { evaluation: "/access/v1/evaluation", evaluations: "/access/v1/evaluations" } as const;

/**
 * Opens the AuthZEN 1.0 door, by which other software asks what a principal may do in the space of X-Me-Space.
 * Subject, action and resource become an `access.explain`; who may ask is that method's row of the policy.
 */
export function addAuthzen(app: FastifyInstance, house: House): void {
  app.get("/.well-known/authzen-configuration", async () => ({
    policy_decision_point: house.publicUrl,
    access_evaluation_endpoint: house.publicUrl + PATHS.evaluation,
    access_evaluations_endpoint: house.publicUrl + PATHS.evaluations,
  }));
  app.post(PATHS.evaluation, { onRequest: echoId }, (request, reply) =>
    inDoor(house, request, reply, async (body) => {
      const [decision] = await decide(house, request, [parsed(Evaluation, body)]);
      return decision as Decision;
    }),
  );
  app.post(PATHS.evaluations, { onRequest: echoId, bodyLimit: EVALUATIONS_BYTES }, (request, reply) =>
    inDoor(house, request, reply, async (body) => {
      const { evaluations, options, ...shared } = parsed(Evaluations, body);
      if (evaluations.length === 0) return (await decide(house, request, [parsed(Evaluation, shared)]))[0] as Decision;
      const decisions = await decide(
        house,
        request,
        evaluations.map((each) => parsed(Evaluation, { ...shared, ...each })),
      );
      const last = { execute_all: undefined, deny_on_first_deny: false, permit_on_first_permit: true }[options.evaluations_semantic];
      const end = decisions.findIndex(({ decision }) => decision === last);
      return { evaluations: end < 0 ? decisions : decisions.slice(0, end + 1) };
    }),
  );
}

/** Reads the body, and answers with what comes of it; refusals are problem details. */
async function inDoor(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  run: (body: unknown) => Promise<unknown>,
): Promise<FastifyReply> {
  await traceRequest({ method: "POST", route: request.routeOptions.url ?? "", headers: request.headers }, async () => {
    try {
      // Credential first: without one nobody learns so much as that their question could not be read.
      const { body } = await readAs(house.doors.space, request, readJson);
      reply.send(await run(body.value));
    } catch (thrown) {
      const refusal = toRefusal(thrown);
      // A caller who may ask nothing gets the same refusal, whatever they ask.
      const denial = refusal.code === "INVALID_PARAMS" ? await denialOf(house, request) : undefined;
      await refuse(house, request, reply, denial ?? refusal);
    }
    return { status: reply.statusCode };
  });
  return reply;
}

/** What a caller names a request comes back as it was sent (AuthZEN 1.0 §10.1.3), as far as a header may hold it. */
async function echoId({ headers }: FastifyRequest, reply: FastifyReply): Promise<void> {
  const asked = headers["x-request-id"];
  if (typeof asked === "string" && /^[ -~]{1,256}$/.test(asked)) reply.header("x-request-id", asked);
}

/** Asks all questions in one request to the path of a call. @throws Refusal what the caller was refused with */
async function decide(house: House, request: FastifyRequest, questions: z.infer<typeof Evaluation>[]): Promise<Decision[]> {
  const calls = questions.map(({ subject, action, resource }, id) => {
    const permission = formatPermission({ action: action.name, type: resource.type, path: resource.id });
    if (!PermissionText.safeParse(permission).success)
      throw invalid("resource: type and id must make a permission, e.g. tasks and support/billing");
    return { jsonrpc: "2.0", id, method: "access.explain", params: { principal: subject.id, permission } };
  });
  const answers = await ask(house, request, calls);
  return answers.map((each, i) => read(each, questions[i]?.subject.type));
}

/** Sends calls down the path of a call. @returns their answers; one alone, where the request as a whole was refused */
async function ask(house: House, request: FastifyRequest, calls: object): Promise<RpcResponse[]> {
  const { body } = await answer(house.doors.space, { ...senderOf(request), body: new TextEncoder().encode(JSON.stringify(calls)) });
  return [JSON.parse(body ?? "[]") as RpcResponse | RpcResponse[]].flat();
}

/** The refusal of a caller who may not ask about themselves, and so about nobody. */
async function denialOf(house: House, request: FastifyRequest): Promise<Refusal | undefined> {
  const [answered] = await ask(house, request, { jsonrpc: "2.0", id: 0, method: "access.explain", params: { permission: "read" } });
  return answered && "error" in answered ? refusalIn(answered.error) : undefined;
}

function refusalIn({ message, data: { code, requestId: _, ...details } }: RpcError): Refusal {
  return new Refusal(code, message, details);
}

/** One answer as a decision. A subject that is not in the space may do nothing in it. */
function read(answered: RpcResponse, type: string | undefined): Decision {
  if ("error" in answered) {
    const { code, ...details } = answered.error.data;
    const aboutSubject =
      (code === "NOT_FOUND" && details.reason !== "stranger") || (code === "INVALID_PARAMS" && details.issues?.[0]?.path === "principal");
    if (aboutSubject) return { decision: false, context: { reason: "the subject is not in the space" } };
    throw refusalIn(answered.error);
  }
  const { allowed, principal, reason } = answered.result as Explanation;
  if (type !== principalKinds[principal.kind]) return { decision: false, context: { reason: `the subject is no ${type}` } };
  return { decision: allowed, ...(reason !== null && { context: { reason } }) };
}

const invalid = (message: string) => new Refusal("INVALID_PARAMS", `${message}.`);

function parsed<T>(schema: z.ZodType<T>, value: unknown): T {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  throw invalid(saidOf(issuesOf(read.error)));
}
