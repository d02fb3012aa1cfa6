import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * An HTTP proxy before a server for clients that have no credential: it adds one, and nothing else. What is asked of it by
 * its own name is asked by the server's; by another, as DNS rebinding does, by that other.
 */
export async function startBearer(server: string, credential: string) {
  const { hostname, port, host } = new URL(server);
  const proxy = createServer((incoming, outgoing) => {
    const { headers } = incoming;
    const own = `${hostname}:${(proxy.address() as AddressInfo).port}`;
    const passed = { ...headers, authorization: `Bearer ${credential}`, host: headers.host === own ? host : headers.host };
    if (headers.origin === `http://${own}`) passed.origin = `http://${host}`;
    const sent = request({ hostname, port, path: incoming.url, method: incoming.method, headers: passed }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
    });
    sent.on("error", () => incoming.socket.destroy());
    outgoing.on("close", () => sent.destroy());
    incoming.pipe(sent);
  });
  await once(proxy.listen(0, hostname), "listening");
  return {
    url: `http://${hostname}:${(proxy.address() as AddressInfo).port}`,
    close(): void {
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}
