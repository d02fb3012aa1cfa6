import type { Socket } from "node:net";
import { errors } from "@gatehouse/protocol";
import { uuidv7 } from "uuidv7";
import { Refusal } from "./refusal.ts";

/** A refusal as RFC 9457 problem details, with the same `code` as everywhere. */
export function problemOf({ code, message, details }: Refusal, requestId: string) {
  const { number } = errors[code];
  const status = number > 0 ? number : code === "INTERNAL_ERROR" ? 500 : 400;
  return { type: "about:blank", title: code, status, detail: message, code, requestId, ...details };
}

/** What the parser of HTTP gives up on, by its code, with the line that begins the answer. Everything else is a bad request. */
const unreadable: Record<string, { line: string; refusal: Refusal }> = {
  ERR_HTTP_REQUEST_TIMEOUT: {
    line: "408 Request Timeout",
    refusal: new Refusal("REQUEST_TIMEOUT", "The request did not arrive in time."),
  },
  HPE_HEADER_OVERFLOW: {
    line: "431 Request Header Fields Too Large",
    refusal: new Refusal("INVALID_REQUEST", "The request's headers are too large."),
  },
};
const badRequest = { line: "400 Bad Request", refusal: new Refusal("INVALID_REQUEST", "This is not a valid HTTP request.") };

/** Answers bytes that are not HTTP, and hangs up: there is neither request nor reply, only the socket. */
export function refuseConnection({ code = "" }: { code?: string }, socket: Socket): void {
  const { line, refusal } = unreadable[code] ?? badRequest;
  const body = JSON.stringify({ ...problemOf(refusal, uuidv7()), status: Number(line.slice(0, 3)) });
  if (socket.writable && code !== "ECONNRESET")
    socket.write(
      `HTTP/1.1 ${line}\r\nConnection: close\r\nCache-Control: no-store\r\n` +
        `Content-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  socket.destroy();
}
