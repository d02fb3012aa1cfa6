import type { SessionEvent, StreamEnd } from "@gatehouse/protocol";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { MOST_BYTES, tooMuch } from "./connect.ts";
import { GatehouseError } from "./error.ts";
import { refusalOf, request, strange, type Target } from "./transport.ts";
import { unreachable } from "./unreachable.ts";

/** From where a session's log is followed, and how long. */
export interface Following {
  /** Only events behind this place; default 0, all of them. */
  after?: number;
  /** Ends it, without a word. */
  signal?: AbortSignal;
  /** Milliseconds without a byte after which the line counts as dead; default 45,000: the server says every 15 that it is open. */
  silenceMs?: number;
}

const SILENCE_MS = 45_000;
/** Waits between two attempts: the first, and the longest. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;
/** Attempts that may fail before there was ever an answer: then the address is wrong, or nobody is there. */
const FIRST_ATTEMPTS = 3;

/** What passes: a line that is cut, a server that starts again, too many calls. */
const PASSING = new Set<GatehouseError["code"]>(["UNREACHABLE", "UNAVAILABLE", "INTERNAL_ERROR", "RATE_LIMITED", "REQUEST_TIMEOUT"]);

/**
 * Follows a session's log as it grows: each event once, in their order, over as many lines as it takes (server-sent
 * events, WHATWG HTML §9.2). It is over when the session is, or when it is aborted.
 * @throws GatehouseError what the server refuses with, such as NOT_FOUND, or UNAUTHENTICATED when access ends while it
 * is followed; UNREACHABLE only where there was no answer from the start
 */
export async function* followSession(
  target: Target,
  session: string,
  { after = 0, signal, silenceMs = SILENCE_MS }: Following = {},
): AsyncGenerator<SessionEvent, void> {
  let place = after;
  let opened = false;
  for (let failed = 0; !signal?.aborted; failed++) {
    const line = new Line(silenceMs, signal);
    const startedAt = performance.now();
    try {
      for await (const message of line.messages(target, session, place)) {
        opened = true;
        if (message === undefined) continue;
        if (message.event === "end") {
          if ((JSON.parse(message.data) as StreamEnd).why === "the session is over") return;
          break;
        }
        const event = JSON.parse(message.data) as SessionEvent;
        if (event.seq <= place) continue;
        place = event.seq;
        failed = 0;
        yield event;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof GatehouseError) || !PASSING.has(error.code)) throw error;
      if (!opened && failed + 1 >= FIRST_ATTEMPTS) throw error;
    } finally {
      line.close();
    }
    // One that was quiet for long, and then cut, is no failure.
    if (performance.now() - startedAt > LONGEST_WAIT_MS) failed = 0;
    await pause(Math.min(FIRST_WAIT_MS * 2 ** failed, LONGEST_WAIT_MS), signal);
  }
}

/** One connection, which is cut when nothing comes on it for too long. */
class Line {
  readonly #cut = new AbortController();
  readonly #silenceMs: number;
  readonly #signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(silenceMs: number, signal: AbortSignal | undefined) {
    this.#silenceMs = silenceMs;
    this.#signal = AbortSignal.any([this.#cut.signal, ...(signal ? [signal] : [])]);
  }

  /** What comes; undefined first, as soon as the server answers. @throws GatehouseError */
  async *messages(target: Target, session: string, place: number): AsyncGenerator<EventSourceMessage | undefined, void> {
    this.#heard();
    const answer = await request(target, `/api/v1/sessions/${encodeURIComponent(session)}/out`, () => ({
      headers: { accept: "text/event-stream", "last-event-id": String(place) },
      cache: "no-store",
      signal: this.#signal,
    }));
    if (!answer.ok) throw await refusalOf(target, answer);
    if (!answer.body || !answer.headers.get("content-type")?.startsWith("text/event-stream")) throw strange(target, answer);
    yield undefined;
    const messages: EventSourceMessage[] = [];
    let endless = false;
    const parser = createParser({
      onEvent: (message) => messages.push(message),
      maxBufferSize: MOST_BYTES,
      onError: ({ type }) => {
        endless ||= type === "max-buffer-size-exceeded";
      },
    });
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      this.#heard();
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw unreachable(target, cause);
      });
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      if (endless) throw tooMuch(target.server);
      // Whoever reads slowly is not taken for a line that is silent.
      clearTimeout(this.#timer);
      yield* messages.splice(0);
    }
  }

  /** Cuts it, if it is not over by itself. */
  close(): void {
    clearTimeout(this.#timer);
    this.#cut.abort();
  }

  #heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#cut.abort(), this.#silenceMs);
  }
}

/** Waits a while, not the same for everybody: a server that is back has them one by one. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms * (0.5 + Math.random() / 2));
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}
