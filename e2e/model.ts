import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { moment } from "./moment.ts";

/** A request of the chat completions API, as far as it is looked at. */
interface Asked {
  messages: { role: string; content?: unknown; tool_call_id?: string }[];
  tools?: unknown[];
}
/** What the model says to a request: deltas of a choice, and why it ends. Without an end it keeps thinking. */
type Reply = { deltas: Iterable<object> | AsyncIterable<object>; end?: string } | { status: number };

/** A model that is no model: the wire of the chat completions API, streamed as server-sent events. */
export async function startModel() {
  const model = {
    /** The requests so far. */
    asked: [] as Asked[],
    reply: (_asked: Asked): Reply => ({ deltas: [], end: "stop" }),
    /** Happens when a caller has gone, or has all. */
    gone: moment(),
    /** It, as the AI SDK takes models. */
    provider: () => createOpenAICompatible({ name: "stub", baseURL: url, apiKey: "none" }).chatModel("stub"),
    close(): void {
      server.closeAllConnections();
      server.close();
    },
  };
  const server = createServer(async (request, response) => {
    const body = (await json(request)) as Asked;
    model.asked.push(body);
    response.on("close", () => model.gone.happen());
    const said = model.reply(body);
    if ("status" in said)
      return response
        .writeHead(said.status, { "content-type": "application/json" })
        .end('{"error":{"message":"key sk-123 is wrong","type":"invalid_request_error"}}');
    response.writeHead(200, { "content-type": "text/event-stream" });
    const event = (choice: object) =>
      response.write(
        `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "stub", choices: [{ index: 0, finish_reason: null, ...choice }] })}\n\n`,
      );
    for await (const delta of said.deltas) event({ delta });
    if (said.end === undefined) return;
    event({ delta: {}, finish_reason: said.end });
    response.end("data: [DONE]\n\n");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return model;
}
