import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import { checkServer, type Finding } from "../doctor.ts";
import { CliError, describe, exitCodes } from "../exit.ts";
import type { Me } from "../me.ts";
import { launchOf } from "./install.ts";
import { type Limits, mustNotBeSecret, targetFor } from "./token.ts";

const PATIENCE_MS = 30_000;

/** Looks at all that a client of `me mcp` meets: the server, the token that is minted, the tools, and how soon it answers. */
export async function examine(me: Me, limits: Limits, args: readonly string[]): Promise<{ ok: boolean; findings: Finding[] }> {
  const findings = [...(await checkServer(me)), ...(await checkToken(me, limits)), await checkTools(me, args)];
  return { ok: findings.every(({ ok }) => ok), findings };
}

async function checkToken(me: Me, limits: Limits): Promise<Finding[]> {
  try {
    mustNotBeSecret(me.settings.apiKey);
    const target = await targetFor(me, limits);
    const { name, credential } = await createUserClient(target).whoami();
    const space = await createSpaceClient(target).space.get();
    return [
      { check: "credential", ok: true, says: `${name}, by a token that may ${credential.scope?.join(" ") ?? "do all that they may"}` },
      { check: "space", ok: true, says: `${space.name} (${space.slug})` },
    ];
  } catch (error) {
    return [failed("credential", error)];
  }
}

/** Starts `me mcp` as a client does, and asks it for its tools. */
async function checkTools(me: Me, args: readonly string[]): Promise<Finding> {
  const { command, args: all } = launchOf(["--server", await me.server(), ...args]);
  const startedAt = performance.now();
  const child = spawn(command, all, { stdio: ["pipe", "pipe", "ignore"], timeout: PATIENCE_MS });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const say = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const heard = async () => {
    const { value, done } = await lines.next();
    if (done) throw new CliError("error", "me mcp ended without an answer. Run it at a terminal to see why.");
    return JSON.parse(value) as { result: { tools: unknown[] } };
  };
  child.stdin.on("error", () => {}); // it may have ended
  try {
    const clientInfo = { name: "me mcp doctor", version: "1" };
    say({ id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } });
    await heard();
    const ms = Math.round(performance.now() - startedAt);
    say({ method: "notifications/initialized" });
    say({ id: 2, method: "tools/list" });
    const { tools } = (await heard()).result;
    return { check: "tools", ok: tools.length > 0, says: `${tools.length} tools; first answer ${ms} ms after it was started` };
  } catch (error) {
    return failed("tools", error);
  } finally {
    child.kill();
  }
}

function failed(check: string, error: unknown): Finding {
  const { ending, message } = describe(error);
  process.exitCode ||= exitCodes[ending];
  return { check, ok: false, says: message };
}
