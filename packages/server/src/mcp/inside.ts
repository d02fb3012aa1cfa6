import { PassThrough, Readable } from "node:stream";
import { type House, RPC } from "../house.ts";
import { problemOf } from "../problem.ts";
import { toRefusal } from "../refusal.ts";
import { answer, type Sender } from "../rpc.ts";
import { openStream, type Reading } from "../sessions/door.ts";
import { traceRequest } from "../telemetry.ts";

const OUT = /^\/api\/v1\/sessions\/([^/]+)\/out$/;

/**
 * A `fetch` that leads to the doors of this very house, for a caller whose credential stays at the door: whoever is given
 * it can call as them, and never learns by what. Every call enters the one path of a call.
 */
export function insideOf(house: House, caller: Sender, reading: Reading): typeof fetch {
  // It was good at the door. Where it is not any more, that is told at once, however many wrong ones came from its address.
  const { address: _, ...presented } = caller.presented;
  const inside = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    const headers = Object.fromEntries(new Headers(init.headers));
    const { requestId, left, space = headers["x-me-space"] } = caller;
    const here: Sender = { presented, requestId, space, left, ...(init.signal && { gone: init.signal }) };
    const door = RPC[pathname];
    return traceRequest({ method: init.method ?? "GET", route: door ? pathname : OUT.source, headers }, async () => {
      if (door) {
        const { status, body } = await answer(house.doors[door], { ...here, body: new TextEncoder().encode(String(init.body ?? "")) });
        return new Response(body ?? null, { status, headers: { "content-type": "application/json" } });
      }
      const [, session] = OUT.exec(pathname) ?? [];
      if (session === undefined) throw new Error(`there is nothing inside at ${pathname}`);
      return stream(house, here, decodeURIComponent(session), headers["last-event-id"] || "0", reading);
    });
  };
  return inside as typeof fetch;
}

async function stream(house: House, caller: Sender, session: string, from: string, reading: Reading): Promise<Response> {
  const { gone } = caller;
  try {
    const serveTo = await openStream(house, caller, session, from, reading);
    return await new Promise((resolve, reject) => {
      const pipe = new PassThrough();
      const hangUp = () => pipe.destroy();
      const open = () => {
        if (gone?.aborted) hangUp();
        gone?.addEventListener("abort", hangUp, { once: true });
        pipe.once("close", () => gone?.removeEventListener("abort", hangUp));
        resolve(new Response(Readable.toWeb(pipe) as unknown as BodyInit, { headers: { "content-type": "text/event-stream" } }));
        return pipe;
      };
      serveTo(open).catch((thrown) => {
        hangUp();
        reject(thrown);
      });
    });
  } catch (thrown) {
    const problem = problemOf(toRefusal(thrown), caller.requestId);
    return Response.json(problem, { status: problem.status, headers: { "content-type": "application/problem+json" } });
  }
}
