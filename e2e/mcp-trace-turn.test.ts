import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { expect, test } from "vitest";
import { startObserved } from "./observed.ts";
import { meJson, start, until } from "./run.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";

test("one trace from what an editor asks to the agent's turn", async () => {
  const observed = await startObserved({ email: "ada@example.com", name: "Ada", password: "correct horse battery" });
  const { home, server, receiver } = observed;
  const { slug } = await meJson(home, ["space", "create", "Traced"]);
  const inSpace = { env: { ME_SPACE: slug } };
  const bot = await meJson(home, ["agent", "create", "bot"]);
  await meJson(home, ["principal", "add", bot.id], inSpace);
  await meJson(home, ["access", "grant", bot.id, "admin:tasks"], inSpace);
  const { key } = await meJson(home, ["apikey", "create", "--agent", bot.id, "--name", "worker"]);
  const { key: pat } = await meJson(home, ["apikey", "create", "--self", "--name", "editor"]);
  const env = { PATH: process.env.PATH ?? "", ...receiver.env, ME_SERVER: server.url, ME_SPACE: slug, ME_API_KEY: key };
  const worker = start(
    process.execPath,
    [
      join(import.meta.dirname, "..", "packages", "cli", "src", "main.ts"),
      "agent",
      "run",
      join(import.meta.dirname, "..", "packages", "agent", "src", "echo.ts"),
    ],
    env,
    null,
  );
  await until(
    () => `the worker serves, which said:\n${worker.stderr()}`,
    () => worker.stderr().includes("Serving"),
  );

  const client = new Client({ name: "editor", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const headers = { authorization: `Bearer ${pat}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp?space=${slug}`), { requestInit: { headers } }));
  const said = await client.callTool({
    name: "start_agent_chat",
    arguments: { task: "echo", message: "hello" },
    _meta: { traceparent: `00-${TRACE}-b7ad6b7169203331-01` },
  });
  expect(said.structuredContent).toMatchObject({ status: "complete", text: "hello" });
  await client.close();
  worker.child.kill("SIGTERM");
  await worker.finished;
  const { spans } = await observed.over();
  const names = spans.filter(({ traceId }) => traceId === TRACE).map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(["session.create", "session.send", "turn echo", "run.emit", "run.endTurn"]));
});
