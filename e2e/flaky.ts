import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

/**
 * A proxy that loses every second answer to some methods: the server did what it was asked, and nobody hears of it. Streams pass.
 * @param status of the page of its own that it answers with then; left out, it cuts the line
 */
export async function startFlaky(target: string, methods: readonly string[], status?: number) {
  const seen = new Map<string, number>();
  const lost = new Map<string, number>();
  const proxy = createServer(async (request, response) => {
    const { host: _, connection: __, ...headers } = request.headers as Record<string, string>;
    if (request.method === "GET") {
      const stream = await fetch(new URL(request.url ?? "/", target), { headers });
      response.writeHead(stream.status, Object.fromEntries(stream.headers));
      return Readable.fromWeb(stream.body as never).pipe(response);
    }
    const body = await buffer(request);
    const { method } = JSON.parse(body.toString()) as { method: string };
    const answer = await fetch(new URL(request.url ?? "/", target), { method: "POST", headers, body }).catch(() => undefined);
    const text = await answer?.text();
    const count = (seen.get(method) ?? 0) + 1;
    seen.set(method, count);
    if (!answer || (methods.includes(method) && count % 2 === 1)) {
      lost.set(method, (lost.get(method) ?? 0) + 1);
      if (status === undefined) return request.socket.destroy();
      return response.writeHead(status, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
    }
    response.writeHead(answer.status, { "content-type": "application/json" }).end(text);
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    /** How many answers were lost, by method. */
    lost,
    close(): void {
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}
