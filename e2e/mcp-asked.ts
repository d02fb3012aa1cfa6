import { randomBytes } from "node:crypto";
import {
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  createRequestStateCodec,
  type GetPromptResult,
  type InputRequests,
  type InputRequiredResult,
  inputRequired,
  inputResponse,
  type McpServer,
  ProtocolError,
  ProtocolErrorCode,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { z } from "zod";

/** What a tool asks of the client, round by round, until it has its answers. */
type Rounds = readonly ((ctx: ServerContext) => InputRequests)[];

const codec = createRequestStateCodec<number>({ key: randomBytes(32) });
const form = (message: string, properties: Parameters<typeof z.object>[0]) =>
  inputRequired.elicit({ message, requestedSchema: z.object(properties) });
const rawForm = (message: string, properties: Record<string, object>) =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: "object", properties } as Parameters<typeof inputRequired.elicit>[0]["requestedSchema"],
  });
const sample = (text: string) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text } }], maxTokens: 100 });

const name = form("What is your name?", { name: z.string() });
const confirm = form("Please confirm", { ok: z.boolean() });
const capital = sample("What is the capital of France?");
const titled = (...titles: string[]) => titles.map((title, at) => ({ const: `value${at + 1}`, title }));
const options = ["option1", "option2", "option3"];

/** The suite's tools that ask, by their names. */
export const askers: Record<string, Rounds> = {
  test_input_required_result_elicitation: [() => ({ user_name: name })],
  test_input_required_result_sampling: [() => ({ capital_question: capital })],
  test_input_required_result_list_roots: [() => ({ client_roots: inputRequired.listRoots() })],
  test_input_required_result_request_state: [() => ({ confirm })],
  test_input_required_result_tampered_state: [() => ({ confirm })],
  test_input_required_result_multiple_inputs: [
    () => ({ user_name: name, greeting: sample("Generate a greeting"), client_roots: inputRequired.listRoots() }),
  ],
  test_input_required_result_multi_round: [
    () => ({ step1: form("Step 1: What is your name?", { name: z.string() }) }),
    () => ({ step2: form("Step 2: What is your favorite color?", { color: z.string() }) }),
  ],
  test_input_required_result_capabilities: [
    ({ mcpReq }) => {
      const envelope = mcpReq.envelope as { [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities } | undefined;
      const { sampling, elicitation } = envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
      return { ...(sampling && { capital_question: capital }), ...(elicitation && { user_name: name }) };
    },
  ],
  test_missing_capability: [() => ({ capital_question: capital })],
  test_streaming_elicitation: [() => ({ user_name: name })],
  // Those of 2025-11-25.
  test_sampling: [() => ({ answer: capital })],
  test_elicitation: [() => ({ user: form("Who are you?", { username: z.string(), email: z.string() }) })],
  test_elicitation_sep1034_defaults: [
    () => ({
      defaults: rawForm("All of them have a default", {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      }),
    }),
  ],
  test_elicitation_sep1330_enums: [
    () => ({
      enums: rawForm("One of each kind", {
        untitledSingle: { type: "string", enum: options },
        titledSingle: { type: "string", oneOf: titled("First Option", "Second Option") },
        legacyEnum: { type: "string", enum: ["opt1", "opt2"], enumNames: ["Option One", "Option Two"] },
        untitledMulti: { type: "array", items: { type: "string", enum: options } },
        titledMulti: { type: "array", items: { anyOf: titled("First Choice", "Second Choice") } },
      }),
    }),
  ],
};

/** Registers the tools, and the prompt, that ask the client before they answer. */
export function registerAskers(mcp: McpServer): void {
  for (const [tool, rounds] of Object.entries(askers))
    mcp.registerTool(tool, {}, (ctx) =>
      ask(rounds, ctx, { content: [{ type: "text", text: "state-ok: all that was asked is answered" }] } as CallToolResult),
    );
  mcp.registerPrompt("test_input_required_result_prompt", { description: "Asks for its context" }, (ctx) =>
    ask([() => ({ user_context: form("What context should the prompt use?", { context: z.string() }) })], ctx, {
      messages: [{ role: "user", content: { type: "text", text: "The context is known." } }],
    } as GetPromptResult),
  );
}

/** What was kept by the client must come back as it was. @throws ProtocolError */
export async function mustBeIntact(ctx: ServerContext): Promise<void> {
  const state = ctx.mcpReq.requestState<string>();
  if (state === undefined) return;
  await codec.verify(state, ctx).catch(() => {
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, "This requestState is not as it was given out.");
  });
}

async function ask<T>(rounds: Rounds, ctx: ServerContext, answer: T): Promise<T | InputRequiredResult> {
  const { mcpReq } = ctx;
  const state = mcpReq.requestState<string>();
  const round = state === undefined ? 0 : await codec.verify(state, ctx);
  const answered = Object.keys(rounds[round]?.(ctx) ?? {}).every((key) => inputResponse(mcpReq.inputResponses, key).kind !== "missing");
  const next = answered ? round + 1 : round;
  const asks = rounds[next];
  return asks ? inputRequired({ inputRequests: asks(ctx), requestState: await codec.mint(next) }) : answer;
}
