import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";

/** A request as it came by, with the fields of its form. */
export interface Passed {
  method: string;
  path: string;
  body: string;
  form: URLSearchParams;
  headers: Headers;
}

export type Relay = Awaited<ReturnType<typeof startRelay>>;

/**
 * An HTTP proxy before a server, which remembers what came by, and lets a test step in between. It stands before the
 * server is there: its address is the server's PUBLIC_URL.
 */
export async function startRelay() {
  const passed: Passed[] = [];
  const relay = {
    url: "",
    /** Where requests go on to. */
    target: "",
    passed,
    /** Runs before a request goes on; `false` drops it. */
    before: async (_request: Passed): Promise<boolean | undefined> => true,
    /** Runs before an answer goes back; `false` drops it. */
    after: async (_request: Passed): Promise<boolean | undefined> => true,
    /** How many requests of a grant type came by. */
    granted: (type: string): number => passed.filter(({ form }) => form.get("grant_type") === type).length,
    async close(): Promise<void> {
      server.closeAllConnections();
      server.close();
    },
  };
  const server = createServer(async (incoming, outgoing) => {
    const body = await text(incoming);
    const headers = new Headers();
    for (const [name, value] of Object.entries(incoming.headers))
      if (!["host", "connection", "content-length", "transfer-encoding"].includes(name)) headers.set(name, String(value));
    const request = { method: incoming.method ?? "", path: incoming.url ?? "", body, form: new URLSearchParams(body), headers };
    passed.push(request);
    if ((await relay.before(request)) === false) return void incoming.socket.destroy();
    const hasBody = body !== "" && request.method !== "GET";
    const answer = await fetch(relay.target + request.path, {
      method: request.method,
      headers,
      redirect: "manual",
      ...(hasBody && { body }),
    }).catch(() => undefined);
    if (!answer || (await relay.after(request)) === false) return void incoming.socket.destroy();
    for (const [name, value] of answer.headers)
      if (!["content-length", "content-encoding", "transfer-encoding", "connection", "set-cookie"].includes(name))
        outgoing.setHeader(name, value);
    outgoing.setHeader("set-cookie", answer.headers.getSetCookie());
    outgoing.writeHead(answer.status).flushHeaders();
    if (!answer.body) return void outgoing.end();
    const gone = new AbortController();
    outgoing.once("close", () => gone.abort());
    // An event stream goes on as it comes.
    await answer.body.pipeTo(Writable.toWeb(outgoing), { signal: gone.signal }).catch(() => outgoing.destroy());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  relay.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return relay;
}
