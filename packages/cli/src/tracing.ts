import type { Settings } from "./settings.ts";

/** Starts the OpenTelemetry SDK, if the standard OTEL_* variables name a receiver. @returns how to flush and stop it */
export async function startTracing(settings: Settings): Promise<() => Promise<void>> {
  if (!settings.traced) return async () => {};
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  const sdk = new NodeSDK({ serviceName: "me", metricReaders: [], logRecordProcessors: [], instrumentations: [] });
  sdk.start();
  // A receiver that is down must not fail the command.
  return () => sdk.shutdown().catch(() => {});
}
