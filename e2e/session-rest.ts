import { request } from "node:http";
import { type ErrorCode, type ErrorData, errors } from "@gatehouse/protocol";
import { expect } from "vitest";

/** An answer over plain HTTP, its body parsed where it is JSON. */
export interface RestAnswer {
  status: number;
  type: string;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
  body: any;
}

/** Sends a request with its path as it stands: no client tidies it up. */
export function rest(
  url: string,
  { verb, path, headers = {}, body }: { verb: string; path: string; headers?: Record<string, string>; body?: string | Uint8Array },
): Promise<RestAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const sent = request({ hostname, port, method: verb, path: `/api/v1${path}`, headers: { ...length, ...headers } }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const type = answer.headers["content-type"] ?? "";
        resolve({ status: answer.statusCode ?? 0, type, text, body: /json/.test(type) ? JSON.parse(text) : undefined });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** What no error may hold: where in the code it arose, or what the database said. */
const LEAKS = /node_modules|\.ts:\d|\bat \w+ \(|postgres|\bselect\b|\binsert\b|syntax error|constraint|column|relation "/i;

/** The stable code of an error, which must be a problem of RFC 9457 that agrees with the table of errors, and tells nothing of the inside. */
export function codeOf({ status, type, text, body }: RestAnswer, title: string): ErrorCode {
  expect(type, `${title}: ${status} ${text}`).toBe("application/problem+json; charset=utf-8");
  const { code, requestId, detail } = body as ErrorData & { detail: string };
  const { number } = errors[code];
  expect([status, body.status, body.title, body.type], title).toEqual([status, status, code, "about:blank"]);
  expect(status, `${title}: ${text}`).toBe(number > 0 ? number : code === "INTERNAL_ERROR" ? 500 : 400);
  expect(requestId, title).toMatch(/^[0-9a-f-]{36}$/);
  expect(detail, title).toMatch(/^\S.*[.?]?$/s);
  expect(text, title).not.toMatch(LEAKS);
  return code;
}
