import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { Refusal } from "./refusal.ts";

/** The body of a request that was read: empty where none was sent. */
export const textOf = ({ body }: { body?: unknown }): string => Buffer.from((body as Uint8Array | undefined) ?? []).toString("utf8");

/** The refusal of what comes in another form than a door takes. */
export const unsupported = (type: string): Refusal =>
  new Refusal("UNSUPPORTED_MEDIA_TYPE", `Send the request as Content-Type: ${type}, in UTF-8, not compressed.`);

/** Bytes that any route takes of anybody, unless it says more beside its path (`bodyLimit`): sign-in, registration, tokens. */
export const ANYBODYS_BYTES = 16_384;
/** Bytes of many AuthZEN evaluations in one request. */
export const EVALUATIONS_BYTES = 262_144;

/** What a door takes of a body. */
interface Taken {
  type: string;
  /** Bytes. */
  limit: number;
  /** For the whole body, so that a trickle holds nothing open. */
  timeoutMs: number;
  /**
   * Rejects unless the request comes with a good credential, which may send so many bytes more: asked before more is read than
   * anybody may send. @returns called when the body is read, or is not to be
   */
  admit: (bytes: number) => Promise<() => void>;
}

/** Whether a body comes in another coding than none (RFC 9110 §8.4.1: names in any case, empty elements count for nothing). */
export const isCoded = (headers: IncomingHttpHeaders): boolean =>
  (headers["content-encoding"] ?? "").split(",").some((coding) => !["", "identity"].includes(coding.trim().toLowerCase()));

/**
 * Reads a request body, counting bytes as they arrive, whatever length was announced.
 * @throws Refusal PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE, and what `admit` throws
 */
export async function readBody(headers: IncomingHttpHeaders, payload: Readable, taken: Taken): Promise<Uint8Array> {
  const { type, limit, timeoutMs, admit } = taken;
  const charset = /;\s*charset="?([^";\s]+)/i.exec(headers["content-type"] ?? "")?.[1];
  if ((charset && !/^utf-?8$/i.test(charset)) || isCoded(headers)) throw unsupported(type);
  const announced = Number(headers["content-length"] ?? 0);
  let admitted: Promise<() => void> | undefined;
  const admitOnce = async (bytes: number) => {
    admitted = admit(bytes);
    await admitted;
  };
  const large = (bytes: number) => limit > ANYBODYS_BYTES && bytes > ANYBODYS_BYTES;
  try {
    if (large(announced)) await admitOnce(Math.min(announced, limit));
    if (announced > limit) throw tooLarge(limit);
    return await collect(payload, limit, timeoutMs, (size) => (large(size) && !admitted ? admitOnce(limit) : undefined));
  } finally {
    admitted?.then(
      (release) => release(),
      () => {},
    );
  }
}

/** @param arrived told how many bytes have come: no more is read before what it returns resolves */
function collect(
  payload: Readable,
  limit: number,
  timeoutMs: number,
  arrived: (size: number) => Promise<void> | undefined,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    const timer = setTimeout(() => stop(new Refusal("REQUEST_TIMEOUT")), timeoutMs);
    const stop = (refusal: unknown) => {
      clearTimeout(timer);
      payload.removeAllListeners("data").pause();
      reject(refusal);
    };
    payload.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > limit) return stop(tooLarge(limit));
      chunks.push(chunk);
      const wait = arrived(size);
      if (!wait) return;
      payload.pause();
      wait.then(() => payload.resume(), stop);
    });
    payload.once("end", () => {
      clearTimeout(timer);
      resolve(joined(chunks, size));
    });
    payload.once("error", (cause) => stop(new Refusal("INVALID_REQUEST", "The request body broke off.", {}, { cause })));
    payload.once("close", () => stop(new Refusal("INVALID_REQUEST", "The request body broke off.")));
  });
}

const tooLarge = (limit: number) => new Refusal("PAYLOAD_TOO_LARGE", `This address takes a body of at most ${limit} bytes.`);

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
