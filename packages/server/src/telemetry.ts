import { setTimeout as delay } from "node:timers/promises";
import { allSafe, safeLines } from "@gatehouse/protocol";
import { context, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import pino, { type Logger } from "pino";
import postgres from "postgres";
import type { Actor } from "./actor.ts";
import type { Config } from "./config.ts";
import type { Refusal } from "./refusal.ts";

/** Longest that a server which stops waits for its last spans to be taken. */
const FLUSH_MS = 3000;

const tracer = trace.getTracer("gatehouse");

/** Starts the OpenTelemetry SDK, if a receiver is configured. @returns how to flush and stop it. */
export async function startTelemetry(config: Config): Promise<() => Promise<void>> {
  if (!config.traced) return async () => {};
  // The SDK is large: a server that is not traced does not load it.
  const [{ NodeSDK }, { defaultResource, resourceFromAttributes }] = await Promise.all([
    import("@opentelemetry/sdk-node"),
    import("@opentelemetry/resources"),
  ]);
  const sdk = new NodeSDK({
    // What OTEL_RESOURCE_ATTRIBUTES says is merged over this resource, and OTEL_SERVICE_NAME over both.
    resource: defaultResource().merge(resourceFromAttributes({ "service.name": "gatehouse" })),
    ...(config.serviceName !== undefined && { serviceName: config.serviceName }),
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [],
  });
  sdk.start();
  // A receiver that is down must neither fail a server that stops, nor hold it up.
  return () => Promise.race([sdk.shutdown().catch(() => {}), delay(FLUSH_MS, undefined, { ref: false })]);
}

/** The log: JSON lines on stderr, readable lines when a person looks at a terminal. */
export function createLog(level: string): Logger {
  if (!process.stderr.isTTY) return pino({ level }, pino.destination(2));
  const forPeople = {
    destination: 2,
    singleLine: true,
    ignore: "pid,hostname,method,outcome",
    messageFormat: "{msg}{if method} {method} {outcome}{end}",
  };
  // Nothing that others said steers the terminal.
  const formatters = { log: (line: object) => allSafe(line, safeLines) as Record<string, unknown> };
  return pino({ level, formatters, transport: { target: "pino-pretty", options: forPeople } });
}

/** Runs a request in a server span that continues the caller's trace (W3C Trace Context). */
export async function traceRequest<T extends { status: number }>(
  request: { method: string; route: string; headers: Record<string, unknown> },
  run: () => Promise<T>,
): Promise<T> {
  const parent = propagation.extract(ROOT_CONTEXT, request.headers);
  const span = tracer.startSpan(
    `${request.method} ${request.route}`,
    { kind: SpanKind.SERVER, attributes: { "http.request.method": request.method, "http.route": request.route } },
    parent,
  );
  try {
    const reply = await context.with(trace.setSpan(parent, span), run);
    span.setAttribute("http.response.status_code", reply.status);
    if (reply.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
    return reply;
  } finally {
    span.end();
  }
}

/** Where the code that asks stands in a trace, as the header of W3C Trace Context has it; null where there is none. */
export function currentTraceparent(): string | null {
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent ?? null;
}

/** The trace that the code that asks runs in, if it is recorded. */
export const currentTraceId = (): string | undefined => {
  const span = trace.getActiveSpan();
  return span?.isRecording() ? span.spanContext().traceId : undefined;
};

/** One call, as its span and its log line tell it. Neither holds a param, a secret or an e-mail address. */
export interface CallRecord {
  requestId: string;
  /** `_OTHER` until the method is known to exist. */
  method: string;
  /** The JSON-RPC id, in JSON; absent for a notification. */
  rpcId?: string;
  actor?: Actor;
}

/** Refusals that are the server's fault. All others are answers like any other, and no errors of the span. */
export const FAULTS = new Set(["INTERNAL_ERROR", "UNAVAILABLE"]);
const MAX_ID_LENGTH = 128;

/**
 * Runs one call inside its one `rpc` span and writes its one log line, whatever comes of it.
 * `run` may complete the record as it learns more; it answers with what the call came to.
 * Attributes follow the OpenTelemetry semantic conventions for JSON-RPC.
 */
export async function observeCall<T extends { refusal?: Refusal | undefined }>(
  log: Logger,
  record: CallRecord,
  run: () => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const span = tracer.startSpan(record.method, {
    kind: SpanKind.SERVER,
    attributes: { "rpc.system.name": "jsonrpc", "jsonrpc.protocol.version": "2.0", "rpc.method": record.method },
  });
  try {
    const outcome = await context.with(trace.setSpan(context.active(), span), run);
    report(log, span, record, outcome.refusal, performance.now() - started);
    return outcome;
  } finally {
    span.end();
  }
}

function report(log: Logger, span: Span, record: CallRecord, refusal: Refusal | undefined, ms: number): void {
  const { actor, method, requestId, rpcId } = record;
  span.updateName(method);
  span.setAttributes({ "rpc.method": method, "gatehouse.request.id": requestId, "gatehouse.outcome": refusal?.code ?? "OK" });
  if (rpcId !== undefined && rpcId !== "null") span.setAttribute("jsonrpc.request.id", rpcId.replace(/^"|"$/g, "").slice(0, MAX_ID_LENGTH));
  if (actor)
    span.setAttributes({
      "gatehouse.principal.id": actor.principal.id,
      "gatehouse.principal.kind": actor.principal.kind,
      "gatehouse.credential.id": actor.credential.id,
      "gatehouse.credential.via": actor.credential.via,
    });
  if (refusal) {
    span.setAttributes({ "error.type": refusal.code, "rpc.response.status_code": String(refusal.toRpcError(requestId).code) });
    if (FAULTS.has(refusal.code)) span.setStatus({ code: SpanStatusCode.ERROR });
  }
  const line = {
    outcome: refusal?.code ?? "OK",
    method,
    requestId,
    principal: actor?.principal.id,
    kind: actor?.principal.kind,
    via: actor?.credential.via,
    credentialId: actor?.credential.id,
    reason: refusal?.details.reason,
    traceId: span.isRecording() ? span.spanContext().traceId : undefined,
    ms: Math.round(ms * 10) / 10,
  };
  if (!refusal) log.info(line, "call");
  else if (FAULTS.has(refusal.code)) log.error({ ...line, cause: loggable(refusal.cause) }, "call failed");
  else log.info({ ...line, cause: loggable(refusal.cause) }, "call refused");
}

/** What the log may hold of a cause. Of a database error neither message nor detail: they repeat values. */
export function loggable(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  if (cause instanceof postgres.PostgresError) {
    const { code, constraint_name: constraint, table_name: table, routine } = cause;
    return { name: "DatabaseError", code, constraint, table, routine };
  }
  return { name: cause.name, code: (cause as NodeJS.ErrnoException).code, message: cause.message, stack: cause.stack };
}

/** Runs a database query in a client span, with its text (which holds placeholders, never values). */
export function startQuerySpan(text: string, startTime?: number): Span {
  const span = tracer.startSpan("QUERY", { kind: SpanKind.CLIENT, ...(startTime !== undefined && { startTime }) });
  if (!span.isRecording()) return span;
  const operation = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? "QUERY";
  const query = text.replace(/\s+/g, " ").trim();
  return span
    .updateName(operation)
    .setAttributes({ "db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": query });
}
