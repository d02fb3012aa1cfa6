import { isLoopback } from "./address.ts";
import { GatehouseError } from "./error.ts";
import { unreachable } from "./unreachable.ts";

/** What a field of a header may hold (RFC 9110, section 5.5), without what is obsolete: other bytes arrive changed, if they do. */
const FIELD = /^[\t\x20-\x7e]*$/;

/** Most bytes of an answer that is read at once, decoded: a server's own are half as large at most. A stream is read as it comes. */
export const MOST_BYTES = 8 * 1024 * 1024;

/** The variables that a header's value comes from, as far as there are any. */
const SOURCES: { readonly [header: string]: string } = {
  authorization: "The key or token (ME_API_KEY)",
  "x-me-space": "The space (ME_SPACE)",
};

/**
 * Sends one request to a server, and to nobody else: no redirect is followed, and no proxy is asked for an address of this
 * machine, as both would be given the credential.
 * @throws GatehouseError UNREACHABLE with the cause, BAD_ANSWER for a redirect and, where it is read, for an answer without end,
 * UNSENDABLE for what no header can hold
 */
export async function connect(
  { server, fetch: send = fetch }: { server: string; fetch?: typeof globalThis.fetch },
  address: string,
  init: RequestInit,
): Promise<Response> {
  for (const [name, value] of Object.entries(init.headers instanceof Headers ? Object.fromEntries(init.headers) : (init.headers ?? {})))
    if (!FIELD.test(String(value).trim()))
      throw new GatehouseError(
        "UNSENDABLE",
        `${SOURCES[name] ?? `The header ${name}`} holds what can't be sent: a line end, or a letter beyond ASCII. Set it anew.`,
      );
  let answer: Response;
  try {
    const direct = isLoopback(new URL(address)) ? { proxy: false } : {}; // Bun's; other runtimes leave it
    answer = await send(address, { ...init, ...direct, redirect: "manual" });
  } catch (cause) {
    throw unreachable({ server }, cause);
  }
  // A browser shows no more of a redirect than that it is one; what leads nowhere, such as 304, is none.
  const location = answer.headers.get("location");
  const leads = answer.status >= 300 && answer.status <= 399 && location !== null;
  if (!leads && answer.type !== "opaqueredirect") return bounded(server, answer);
  await answer.body?.cancel();
  const to = URL.parse(location ?? "", address);
  const isOther = to && /^https?:$/.test(to.protocol) && to.origin !== new URL(address).origin;
  const next = isOther ? `If that is the server, name it: ${to.origin}` : "Check the address.";
  throw new GatehouseError("BAD_ANSWER", `${server} redirects to another address, which is not followed with a credential. ${next}`);
}

export const tooMuch = (server: string): GatehouseError =>
  new GatehouseError("BAD_ANSWER", `${server} answered with more than a Gatehouse does. Check the address.`);

/** An answer of which no more is read than a server sends at once. */
function bounded(server: string, answer: Response): Response {
  const { body, headers } = answer;
  const length = headers.get("content-length");
  const known = length !== null && !headers.has("content-encoding") && Number(length) <= MOST_BYTES;
  if (!body || known || headers.get("content-type")?.startsWith("text/event-stream")) return answer;
  let bytes = 0;
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      bytes += chunk.length;
      if (bytes <= MOST_BYTES) controller.enqueue(chunk);
      else controller.error(tooMuch(server));
    },
  });
  return new Response(body.pipeThrough(counted), answer);
}
