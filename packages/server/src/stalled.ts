import type { IncomingMessage, Server, ServerResponse } from "node:http";

/** How long an answer may wait for its reader without a byte of it being read. */
const STALLED_MS = 30_000;

/** Closes the connections of clients that do not read their answers: until an answer has left, it takes up memory. */
export function dropStalled(server: Server, stalledMs = STALLED_MS): void {
  /** The answers under way: the bytes that still had to leave, and since when there are as many. */
  const underWay = new Map<ServerResponse, { left: number; since: number }>();
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    underWay.set(response, { left: 0, since: 0 });
    response.once("close", () => underWay.delete(response));
    if (socket.destroyed) underWay.delete(response);
  });
  const looking = setInterval(() => {
    const now = performance.now();
    for (const [response, seen] of underWay) {
      const left = response.writableLength;
      if (left === 0 || left !== seen.left) underWay.set(response, { left, since: now });
      else if (now - seen.since >= stalledMs) response.req.socket.destroy();
    }
  }, stalledMs / 6);
  looking.unref();
  server.once("close", () => clearInterval(looking));
}
