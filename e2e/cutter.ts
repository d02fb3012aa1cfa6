import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A TCP proxy before a server whose lines a test cuts, or lets go silent: what a client sees of trains and tunnels. */
export async function startCutter(target: string) {
  const { hostname, port } = new URL(target);
  const lines = new Set<{ client: Socket; upstream: Socket }>();
  const cutter = {
    url: "",
    /** Bytes of answers that a line lets through before it breaks: the first line is 1. */
    breaksAfter: (_line: number) => Number.POSITIVE_INFINITY,
    /** How many lines there have been. */
    count: 0,
    /** Breaks all lines that are open. */
    cut(): void {
      for (const { client } of lines) client.destroy();
    },
    /** Nothing more comes on the lines that are open, and nobody is told. */
    silence(): void {
      for (const { upstream } of lines) upstream.removeAllListeners("data");
    },
    async close(): Promise<void> {
      cutter.cut();
      server.close();
      await once(server, "close");
    },
  };
  const server = createServer((client) => {
    let left = cutter.breaksAfter(++cutter.count);
    const upstream = connect(Number(port), hostname).on("error", () => client.destroy());
    const line = { client, upstream };
    lines.add(line);
    upstream.on("data", (bytes: Buffer) => {
      client.write(bytes.subarray(0, Math.min(left, bytes.length)));
      left -= bytes.length;
      if (left <= 0) client.destroySoon();
    });
    client.pipe(upstream);
    client.on("error", () => {});
    client.on("close", () => {
      lines.delete(line);
      upstream.destroy();
    });
    upstream.on("close", () => client.destroySoon());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  cutter.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return cutter;
}
