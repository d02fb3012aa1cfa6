import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/**
 * A TCP proxy before a server, which breaks lines on demand: what a client sees of a network that fails.
 * @param drops how many connections to break, the first ones; `before` the request is passed on, or
 * `after` the server has begun to answer it
 */
export async function startProxy(target: string, { drops, when }: { drops: number; when: "before" | "after" }) {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const count = { connections: 0 };

  const proxy = createServer((client) => {
    sockets.add(client.on("error", () => {}).on("close", () => sockets.delete(client)));
    const breaks = count.connections++ < drops;
    if (breaks && when === "before") {
      client.once("data", () => client.destroy());
      return;
    }
    const upstream = connect(Number(port), hostname).on("error", () => client.destroy());
    client.pipe(upstream);
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
    if (breaks) upstream.once("data", () => client.destroy());
    else upstream.pipe(client);
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    /** How often the client came. */
    count,
    async close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, "close");
    },
  };
}
