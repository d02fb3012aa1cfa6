import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { Refusal } from "./refusal.ts";

/** The body of a request that was read: empty where none was sent. */
export const textOf = ({ body }: { body?: unknown }): string => Buffer.from((body as Uint8Array | undefined) ?? []).toString("utf8");

/** The refusal of what comes in another form than a door takes. */
export const unsupported = (type: string): Refusal =>
  new Refusal("UNSUPPORTED_MEDIA_TYPE", `Send the request as Content-Type: ${type}, in UTF-8, not compressed.`);

/** What a door takes of a body. */
interface Taken {
  type: string;
  /** Bytes. */
  limit: number;
  /** For the whole body, so that a trickle holds nothing open. */
  timeoutMs: number;
}

/**
 * Reads a request body, counting bytes as they arrive, whatever length was announced.
 * @throws Refusal PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE
 */
export async function readBody(headers: IncomingHttpHeaders, payload: Readable, { type, limit, timeoutMs }: Taken): Promise<Uint8Array> {
  const charset = /;\s*charset="?([^";\s]+)/i.exec(headers["content-type"] ?? "")?.[1];
  if ((charset && !/^utf-?8$/i.test(charset)) || (headers["content-encoding"] ?? "identity") !== "identity") throw unsupported(type);
  if (Number(headers["content-length"] ?? 0) > limit) throw new Refusal("PAYLOAD_TOO_LARGE");
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    const timer = setTimeout(() => stop(new Refusal("REQUEST_TIMEOUT")), timeoutMs);
    const stop = (refusal: Refusal) => {
      clearTimeout(timer);
      payload.removeAllListeners("data").pause();
      reject(refusal);
    };
    payload.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > limit) stop(new Refusal("PAYLOAD_TOO_LARGE"));
      else chunks.push(chunk);
    });
    payload.once("end", () => {
      clearTimeout(timer);
      resolve(joined(chunks, size));
    });
    payload.once("error", (cause) => stop(new Refusal("INVALID_REQUEST", "The request body broke off.", {}, { cause })));
  });
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
