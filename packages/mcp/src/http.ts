import { setTimeout as delay } from "node:timers/promises";
import { type AuthInfo, createMcpHandler, type McpHttpHandler, type McpServer, type ServerNotifier } from "@modelcontextprotocol/server";
import { createGatehouseMcp } from "./server.ts";
import { tools } from "./tools.ts";

/** How long those who wait may take for their last answer when the server stops: some streams have no end of their own. */
const STOP_MS = 1000;
/** Where requests whose calls stay in the process are said to go: nobody looks it up. */
const INSIDE = "http://gatehouse.invalid";

/**
 * The toolkit over Streamable HTTP (MCP 2026-07-28, and without sessions what was before it), for a server to put behind a
 * door of its own: who asks is that door's to know, and reaches the tools as nothing but a `fetch` that calls as them.
 * @param also registers more on each server that is made, and may tell clients of what changed: tests of the protocol need
 * tools that Gatehouse has not
 */
export function createMcpServing({ also }: { also?: (mcp: McpServer, notify: ServerNotifier) => void } = {}) {
  const open = new Set<Promise<void>>();
  const stopping = new AbortController();
  const handler: McpHttpHandler = createMcpHandler(({ era, authInfo }) => {
    const mcp = createGatehouseMcp({
      target: { server: INSIDE, fetch: authInfo?.extra?.fetch as typeof fetch },
      // Before, a client that hung up might come back; with 2026-07-28 it has no other way to cancel.
      hangUpCancels: era === "modern",
      stops: stopping.signal,
    });
    // Nobody here is told when what they may call changes: it is what they see when they ask again.
    mcp.server.registerCapabilities({ tools: { listChanged: false } });
    also?.(mcp, handler.notify);
    return mcp;
  });
  return {
    needs: (name: string) => tools.find((tool) => tool.name === name),
    async serve(request: Request, inside: typeof fetch, parsedBody: unknown): Promise<Response> {
      const authInfo: AuthInfo = { token: "", clientId: "", scopes: [], extra: { fetch: inside } };
      const over = Promise.withResolvers<void>();
      open.add(over.promise);
      const end = () => {
        open.delete(over.promise);
        over.resolve();
      };
      request.signal.addEventListener("abort", end);
      try {
        const answered = await handler.fetch(request, { authInfo, ...(parsedBody !== undefined && { parsedBody }) });
        if (!answered.body) end();
        return new Response(answered.body?.pipeThrough(new TransformStream({ flush: end })) ?? null, answered);
      } catch (error) {
        end();
        throw error;
      }
    },
    /** Lets whoever waits have what there is, then ends what is still open. */
    async close(): Promise<void> {
      stopping.abort();
      await Promise.race([Promise.all(open), delay(STOP_MS, undefined, { ref: false })]);
      await handler.close();
    },
  };
}
