import type { Settings } from "./settings.ts";

/** Longest that a command waits for a receiver which does not answer, unless the environment says otherwise. */
const EXPORT_TIMEOUT_MS = 1500;
/** Whether OTEL_RESOURCE_ATTRIBUTES, pairs with commas between, names the service. */
const SERVICE_NAME = /(^|,)\s*service\.name\s*=\s*[^,\s]/;

/** Starts the OpenTelemetry SDK, if the standard OTEL_* variables name a receiver. @returns how to flush and stop it */
export async function startTracing(settings: Settings): Promise<() => Promise<void>> {
  if (!settings.traced) return async () => {};
  // The SDK takes these from the environment alone. Its other detectors would send the command line, and in it names and e-mail addresses.
  process.env.OTEL_NODE_RESOURCE_DETECTORS = "env,host";
  process.env.OTEL_EXPORTER_OTLP_TIMEOUT ||= String(EXPORT_TIMEOUT_MS);
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  // Given here, a name goes before that of the environment, which the detector `env` reads.
  const { OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES = "" } = process.env;
  const serviceName = OTEL_SERVICE_NAME || SERVICE_NAME.test(OTEL_RESOURCE_ATTRIBUTES) ? {} : { serviceName: "me" };
  const sdk = new NodeSDK({ ...serviceName, metricReaders: [], logRecordProcessors: [], instrumentations: [] });
  sdk.start();
  // A receiver that is down must not fail the command.
  return () => sdk.shutdown().catch(() => {});
}

/** Carries the trace that a caller is in on to the server, where nothing is traced here (W3C Trace Context). @returns what there is to stop: nothing */
export async function passTraces(): Promise<() => Promise<void>> {
  const [{ context, propagation }, { AsyncLocalStorageContextManager }, { W3CTraceContextPropagator }] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/context-async-hooks"),
    import("@opentelemetry/core"),
  ]);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  return async () => {};
}
