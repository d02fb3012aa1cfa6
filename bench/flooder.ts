/** Sends the requests that its first argument describes, over and over, on so many connections, until it is killed or the time is over. */
import { Agent, request } from "node:http";

/** What is sent, and by how many at once. */
export interface Flood {
  url: string;
  connections: number;
  /** From how many networks they come, as those of a crowd do; as many as there are connections, where it is not said. */
  networks?: number;
  seconds: number;
  requests: { path: string; method?: string; headers?: Record<string, string>; body?: string }[];
}

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const { url, connections, networks = connections, seconds, requests } = JSON.parse(Buffer.concat(chunks).toString()) as Flood;
const { hostname, port } = new URL(url);
const agent = new Agent({ keepAlive: true, maxSockets: connections });
const until = performance.now() + seconds * 1000;
const counts: Record<string, number> = {};

const send = ({ path, method = "POST", headers = {}, body = "" }: Flood["requests"][number], from: string) =>
  new Promise<void>((resolve) => {
    const sent = request(
      { hostname, port, path, method, agent, localAddress: from, headers: { "content-length": Buffer.byteLength(body), ...headers } },
      (answer) => {
        counts[String(answer.statusCode)] = (counts[String(answer.statusCode)] ?? 0) + 1;
        answer.resume();
        answer.on("close", resolve);
      },
    );
    sent.on("error", () => {
      counts.failed = (counts.failed ?? 0) + 1;
      setTimeout(resolve, 10);
    });
    sent.end(body);
  });

/** Says how often it was answered, also what is not over by itself. */
const end = () => process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
setTimeout(end, seconds * 1000 + 500);

process.stdout.write("flooding\n");
await Promise.all(
  Array.from({ length: connections }, async (_, i) => {
    const network = i % networks;
    const from = `127.0.${1 + (network >> 7)}.${1 + (network & 127)}`;
    for (let n = i; performance.now() < until; n++) await send(requests[n % requests.length] as Flood["requests"][number], from);
  }),
);
end();
