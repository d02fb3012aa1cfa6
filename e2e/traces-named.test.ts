import { expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { startReceiver } from "./receiver.ts";
import { makeHome, startUp, until } from "./run.ts";

test.each<{ says: string; env: Record<string, string>; name: string; more?: Record<string, string> }>([
  { says: "nothing", env: {}, name: "gatehouse" },
  { says: "OTEL_SERVICE_NAME", env: { OTEL_SERVICE_NAME: "door" }, name: "door" },
  {
    says: "OTEL_RESOURCE_ATTRIBUTES",
    env: { OTEL_RESOURCE_ATTRIBUTES: "service.name=front%20door,service.namespace=acme,deployment.environment.name=staging" },
    name: "front door",
    more: { "service.namespace": "acme", "deployment.environment.name": "staging" },
  },
  {
    says: "both",
    env: { OTEL_SERVICE_NAME: "door", OTEL_RESOURCE_ATTRIBUTES: "service.name=other,service.namespace=acme" },
    name: "door",
    more: { "service.namespace": "acme" },
  },
  {
    says: "OTEL_RESOURCE_ATTRIBUTES, and an empty OTEL_SERVICE_NAME",
    env: { OTEL_SERVICE_NAME: "", OTEL_RESOURCE_ATTRIBUTES: "service.name=other" },
    name: "other",
  },
  { says: "attributes without a name", env: { OTEL_RESOURCE_ATTRIBUTES: "service.namespace=acme" }, name: "gatehouse" },
  { says: "attributes that can't be read", env: { OTEL_RESOURCE_ATTRIBUTES: "service.name" }, name: "gatehouse" },
  ...["service.name=y,bad", "service.name=a=b", "service.name=%zz"].map((unread) => ({
    says: `attributes such as ${unread}`,
    env: { OTEL_RESOURCE_ATTRIBUTES: unread },
    name: "gatehouse",
  })),
  { says: "a blank OTEL_SERVICE_NAME", env: { OTEL_SERVICE_NAME: "  " }, name: "gatehouse" },
  {
    says: "OTEL_SERVICE_NAME, and that the environment is no source of attributes",
    env: { OTEL_SERVICE_NAME: "door", OTEL_NODE_RESOURCE_DETECTORS: "host" },
    name: "door",
  },
])("where the environment says $says, traces of the server appear as $name", async ({ env, name, more = {} }) => {
  const receiver = await startReceiver();
  const server = await startUp(await makeHome({ ...onDatabase(await makeDatabase()), ...receiver.env, ...env }));
  await fetch(`${server.url}/api/v1/user/rpc`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  const span = await until("the server's span arrives", () => receiver.spans().find(({ kind }) => kind === "server"));
  await server.stop();
  receiver.close();
  expect(span.resource).toMatchObject({ "service.name": name, ...more });
});
