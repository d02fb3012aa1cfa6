import { readFileSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { networkOf } from "./people/network.ts";

/** File descriptors that are left to all else: the database, mail, files. At most half of all. */
const HEADROOM = 128;
/** Open files of a process, where the system does not tell. */
const ASSUMED_FILES = 1024;
/** Requests of one connection that may wait for their answers at once. Clients send one after the other, as a rule. */
const MAX_PIPELINED = 16;

/** The open connections of one network, the oldest first. */
interface Lines {
  /** No whole request has come, or its answer is done. */
  waiting: Set<Socket>;
  /** A request is being answered: also a stream. */
  busy: Set<Socket>;
}

/**
 * Keeps the connections of a server within the files that the process may open, so that a new one always gets in. Where they
 * would be too many, one that waits is closed: the oldest of the network that has most. A busy one is, only where none waits.
 * @param byAddress no network may have more than half of all: for a server with no proxy before it
 * @param most connections at once
 */
export function limitConnections(server: Server, byAddress: boolean, most = mostConnections()): void {
  const networks = new Map<string, Lines>();
  const atRequest = new WeakMap<Socket, (request: IncomingMessage, response: ServerResponse) => void>();
  let open = 0;

  server.on("request", (request, response) => atRequest.get(request.socket)?.(request, response));
  server.on("connection", (socket: Socket) => {
    const network = networkOf(socket.remoteAddress ?? "");
    const lines = networks.get(network) ?? { waiting: new Set(), busy: new Set() };
    networks.set(network, lines);
    open++;
    if (byAddress && lines.waiting.size + lines.busy.size >= most / 2) closeOldest(lines);
    else if (open > most) closeOldest(fullest(networks.values()));
    lines.waiting.add(socket);

    let unanswered = 0;
    let answering = 0;
    atRequest.set(socket, (request, response) => {
      if (++unanswered > MAX_PIPELINED) return void socket.destroy();
      response.once("close", () => unanswered--);
      let state: "arriving" | "answering" | "over" = "arriving";
      const begin = () => {
        if (state === "over" || socket.destroyed) return;
        state = "answering";
        answering++;
        lines.waiting.delete(socket);
        lines.busy.add(socket);
      };
      response.once("close", () => {
        const done = state === "answering" && --answering === 0;
        state = "over";
        if (done && lines.busy.delete(socket)) lines.waiting.add(socket);
      });
      // A slow body is no better than a slow head.
      if (hasBody(request)) request.once("end", begin);
      else begin();
    });
    socket.once("close", () => {
      open--;
      lines.waiting.delete(socket);
      lines.busy.delete(socket);
      if (lines.waiting.size + lines.busy.size === 0 && networks.get(network) === lines) networks.delete(network);
    });
  });
}

/** How many connections leave enough files to all else. */
function mostConnections(): number {
  const files = openFiles();
  return files - Math.min(HEADROOM, Math.floor(files / 2));
}

/** Files that this process may open: the soft limit, as the system has it now. */
function openFiles(): number {
  try {
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return limit === "unlimited" ? Number.MAX_SAFE_INTEGER : Number(limit ?? ASSUMED_FILES);
  } catch {
    return ASSUMED_FILES;
  }
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;

/** The network with most that waits; where none waits anywhere, with most that is busy. */
function fullest(networks: Iterable<Lines>): Lines | undefined {
  let found: Lines | undefined;
  for (const lines of networks)
    if (
      !found ||
      lines.waiting.size > found.waiting.size ||
      (lines.waiting.size === found.waiting.size && lines.busy.size > found.busy.size)
    )
      found = lines;
  return found;
}

/** Closes the oldest connection that waits; where none does, the oldest that is busy. */
function closeOldest(lines: Lines | undefined): void {
  if (!lines) return;
  const some = lines.waiting.size > 0 ? lines.waiting : lines.busy;
  const [oldest] = some;
  if (!oldest) return;
  some.delete(oldest); // it is closed a moment later, and more may come before
  oldest.destroy();
}
