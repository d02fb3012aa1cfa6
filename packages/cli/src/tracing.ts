import type { Settings } from "./settings.ts";

/** Longest that a command waits for a receiver which does not answer, unless the environment says otherwise. */
const EXPORT_TIMEOUT_MS = 1500;

/** Starts the OpenTelemetry SDK, if the standard OTEL_* variables name a receiver. @returns how to flush and stop it */
export async function startTracing(settings: Settings): Promise<() => Promise<void>> {
  if (!settings.traced) return async () => {};
  // The SDK takes these from the environment alone. Its other detectors would send the command line, and in it names and e-mail addresses.
  process.env.OTEL_NODE_RESOURCE_DETECTORS = "env,host";
  process.env.OTEL_EXPORTER_OTLP_TIMEOUT ||= String(EXPORT_TIMEOUT_MS);
  const [{ NodeSDK }, { defaultResource, resourceFromAttributes }] = await Promise.all([
    import("@opentelemetry/sdk-node"),
    import("@opentelemetry/resources"),
  ]);
  const sdk = new NodeSDK({
    // A name that the environment gives, as the detector `env` reads it, is merged over this one.
    resource: defaultResource().merge(resourceFromAttributes({ "service.name": "me" })),
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [],
  });
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
