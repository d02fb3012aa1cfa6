import { setTimeout as delay } from "node:timers/promises";
import { createGatehouseMcp } from "@gatehouse/mcp";
import type { McpServer, Transport } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Me } from "../me.ts";
import { note } from "../output.ts";
import { passTraces, startTracing } from "../tracing.ts";
import { signInWithin } from "./sign-in.ts";
import { type Limits, mustNotBeSecret, targetFor } from "./token.ts";
import { openWire } from "./wire.ts";

/** How long what is under way may take when the client has gone, such as stopping a turn. */
const LEAVE_MS = 5000;

/** Speaks MCP on stdin and stdout until the client has gone. stdout carries nothing else; who it serves as is asked later. */
export async function serveMcp(me: Me, limits: Limits, waitMs: number | undefined): Promise<void> {
  mustNotBeSecret(me.settings.apiKey);
  const report = (error: Error) => note(`Error: ${error.message}`);
  const target = await targetFor(me, limits);
  let serving: McpServer | undefined;
  const signIn = signInWithin(me, () => serving);
  const underWay = new Set<Promise<unknown>>();
  const attempt: typeof signIn = async (ctx, run) => {
    const made = signIn(ctx, run);
    underWay.add(made);
    return made.finally(() => underWay.delete(made));
  };
  const wire = openWire();
  const connection = serveStdio(
    () => {
      serving = createGatehouseMcp({ target, waitMs, attempt });
      serving.server.onerror = report;
      return serving;
    },
    { transport: wire, onerror: report },
  );
  const left = clientGone(wire);
  const stopTracing = me.settings.traced ? await startTracing(me.settings) : await passTraces();
  await left;
  await connection.close();
  await Promise.race([Promise.allSettled(underWay), delay(LEAVE_MS)]);
  await stopTracing();
  process.exit();
}

/** The line is over, as the client closed its end of it, or broke it; or we are asked to end. */
const clientGone = (wire: Transport): Promise<void> =>
  new Promise((resolve) => {
    const { onclose } = wire;
    wire.onclose = () => {
      onclose?.();
      resolve();
    };
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => resolve());
  });
