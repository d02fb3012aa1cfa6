import { setTimeout as delay } from "node:timers/promises";
import {
  type CallToolResult,
  completable,
  fromJsonSchema,
  type ListToolsResult,
  type McpServer,
  ResourceTemplate,
  type ServerContext,
  type ServerNotifier,
} from "@modelcontextprotocol/server";
import { z } from "zod";
import { askers, mustBeIntact, registerAskers } from "./mcp-asked.ts";

const OF_THE_SUITE = { description: "What the conformance suite asks for" };
const STEP_MS = 50;
/** One pixel. */
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/** No sample. */
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

const text = (text: string) => ({ type: "text", text }) as const;
const image = { type: "image", data: PNG, mimeType: "image/png" } as const;
const audio = { type: "audio", data: WAV, mimeType: "audio/wav" } as const;
const embedded = (uri: string, mimeType: string, text: string) => ({ type: "resource", resource: { uri, mimeType, text } }) as const;
const says = (content: CallToolResult["content"][number]) => ({ role: "user", content }) as const;

/** Schemas that a list of tools must hand on as they are. */
const schemas = {
  json_schema_2020_12_tool: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
    properties: {
      name: { type: "string" },
      address: { $ref: "#/$defs/address" },
      contactMethod: { type: "string", enum: ["phone", "email"] },
      phone: { type: "string" },
      email: { type: "string" },
    },
    allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
    if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { required: ["phone"] },
    else: { required: ["email"] },
    additionalProperties: false,
  },
  test_x_mcp_header: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
} as const;

/** The suite's tools, by their names: what they answer. */
const answers: Record<string, (ctx: ServerContext, notify: ServerNotifier) => Promise<void> | CallToolResult["content"]> = {
  test_simple_text: () => [text("This is a simple text response for testing.")],
  test_image_content: () => [image],
  test_audio_content: () => [audio],
  test_embedded_resource: () => [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  test_multiple_content_types: () => [
    text("Multiple content types test:"),
    image,
    embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
  ],
  test_error_handling: () => {
    throw new Error("This tool intentionally returns an error for testing");
  },
  async test_tool_with_logging({ mcpReq }) {
    await mcpReq.log("info", "Tool execution started");
    await delay(STEP_MS);
    await mcpReq.log("info", "Tool processing data");
    await delay(STEP_MS);
    await mcpReq.log("info", "Tool execution completed");
  },
  test_logging_tool: ({ mcpReq }) => mcpReq.log("info", "Nobody asked for this"),
  async test_tool_with_progress({ mcpReq }) {
    const { progressToken } = mcpReq._meta ?? {};
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined)
        await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100 } });
      await delay(STEP_MS);
    }
  },
  async test_trigger_tool_change(_ctx, notify) {
    notify.toolsChanged();
  },
  async test_trigger_prompt_change(_ctx, notify) {
    notify.promptsChanged();
  },
};

/** Registers, beside Gatehouse's tools, all that the official conformance suite asks for by name. */
export function registerFixtures(mcp: McpServer, notify: ServerNotifier): void {
  mcp.server.registerCapabilities({ logging: {}, tools: { listChanged: true } });
  for (const [name, answer] of Object.entries(answers))
    mcp.registerTool(name, OF_THE_SUITE, async (ctx) => ({ content: (await answer(ctx, notify)) ?? [text("Done.")] }));
  for (const [name, schema] of Object.entries(schemas))
    mcp.registerTool(name, { ...OF_THE_SUITE, inputSchema: fromJsonSchema(schema) }, () => ({ content: [text("Done.")] }));
  registerAskers(mcp);
  registerPrompts(mcp);
  registerResources(mcp);

  const [list, call] = [handlerOf<ListToolsResult>(mcp, "tools/list"), handlerOf<CallToolResult>(mcp, "tools/call")];
  const added = [answers, schemas, askers].flatMap(Object.keys).map((name) => {
    return { name, ...OF_THE_SUITE, inputSchema: mcp.toolInputSchemaJson(name) as ListToolsResult["tools"][number]["inputSchema"] };
  });
  mcp.server.setRequestHandler("tools/list", async (request, ctx) => ({ tools: [...(await list(request, ctx)).tools, ...added] }));
  mcp.server.setRequestHandler("tools/call", async (request, ctx) => {
    await mustBeIntact(ctx);
    return call(request, ctx);
  });
}

/** The handler that is there, to which the SDK shows no public way: it lists Gatehouse's own tools. */
const handlerOf = <T>({ server }: McpServer, method: string) =>
  (server as unknown as { _getRequestHandler(method: string): (request: unknown, ctx: ServerContext) => Promise<T> })._getRequestHandler(
    method,
  );

function registerPrompts(mcp: McpServer): void {
  mcp.registerPrompt("test_simple_prompt", OF_THE_SUITE, () => ({ messages: [says(text("This is a simple prompt for testing."))] }));
  mcp.registerPrompt(
    "test_prompt_with_arguments",
    { ...OF_THE_SUITE, argsSchema: z.object({ arg1: completable(z.string(), (value) => [`${value}!`]), arg2: z.string() }) },
    ({ arg1, arg2 }) => ({ messages: [says(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] }),
  );
  mcp.registerPrompt(
    "test_prompt_with_embedded_resource",
    { ...OF_THE_SUITE, argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri }) => ({
      messages: [
        says(embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
        says(text("Please process the embedded resource above.")),
      ],
    }),
  );
  mcp.registerPrompt("test_prompt_with_image", OF_THE_SUITE, () => ({
    messages: [says(image), says(text("Please analyze the image above."))],
  }));
}

function registerResources(mcp: McpServer): void {
  mcp.registerResource("static-text", "test://static-text", OF_THE_SUITE, ({ href: uri }) => ({
    contents: [{ uri, mimeType: "text/plain", text: "This is the content of the static text resource." }],
  }));
  mcp.registerResource("static-binary", "test://static-binary", OF_THE_SUITE, ({ href: uri }) => ({
    contents: [{ uri, mimeType: "image/png", blob: PNG }],
  }));
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  mcp.registerResource("template", template, OF_THE_SUITE, ({ href: uri }, { id }) => ({
    contents: [{ uri, mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
  }));
}
