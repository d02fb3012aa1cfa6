import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/** A span, as it arrived; `parent` is empty for the first of a trace. */
export interface ReceivedSpan {
  traceId: string;
  id: string;
  parent: string;
  name: string;
  kind: "internal" | "server" | "client" | "other";
  service: string;
  /** Attributes of what sent it. */
  resource: Record<string, unknown>;
  attributes: Record<string, unknown>;
  /** Whether its status is ERROR. */
  failed: boolean;
}

type Attributes = { key: string; value: Record<string, unknown> }[];
interface Export {
  resourceSpans: {
    resource: { attributes: Attributes };
    scopeSpans: {
      spans: {
        traceId: string;
        spanId: string;
        parentSpanId?: string;
        name: string;
        kind: number;
        attributes: Attributes;
        status?: { code?: number };
      }[];
    }[];
  }[];
}

const KINDS: Record<number, ReceivedSpan["kind"]> = { 1: "internal", 2: "server", 3: "client" };
const STATUS_ERROR = 2;

/** An OTLP/HTTP receiver of traces in JSON. `silent`: it takes what is sent, and never answers. */
export async function startReceiver({ silent = false } = {}) {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    const body = await text(request);
    if (request.method !== "POST" || request.url !== "/v1/traces") return void response.writeHead(404).end();
    bodies.push(body);
    if (!silent) response.writeHead(200, { "content-type": "application/json" }).end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    /** What makes a process send its traces here, soon. */
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_BSP_SCHEDULE_DELAY: "50",
    },
    /** All that arrived, word for word. */
    raw: () => bodies.join("\n"),
    spans: () => bodies.flatMap((body) => readSpans(JSON.parse(body) as Export)),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function readSpans({ resourceSpans }: Export): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ traceId, spanId, parentSpanId = "", name, kind, attributes, status }) => ({
        traceId,
        id: spanId,
        parent: parentSpanId,
        name,
        kind: KINDS[kind] ?? "other",
        service: String(readAttributes(resource.attributes)["service.name"]),
        resource: readAttributes(resource.attributes),
        attributes: readAttributes(attributes),
        failed: status?.code === STATUS_ERROR,
      })),
    ),
  );
}

/** A value arrives in an object that says its type: `{ stringValue: "x" }`. */
const readAttributes = (attributes: Attributes): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
