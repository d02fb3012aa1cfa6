import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { createSpaceClient, createUserClient } from "@gatehouse/client";
import { checkServer, type Finding } from "../doctor.ts";
import { CliError, describe, exitCodes } from "../exit.ts";
import type { Me } from "../me.ts";
import { launchOf } from "./install.ts";
import { type Limits, mustNotBeSecret, targetFor } from "./token.ts";

const PATIENCE_MS = 30_000;
/** What `me mcp install` writes holds no key, and few clients hand on what their shell has. */
const FROM_SHELL = ". That is ME_API_KEY of this shell: the client must be given it too, under env in its configuration";

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
      {
        check: "credential",
        ok: true,
        says: `${name}, by a token that may ${credential.scope?.join(" ") ?? "do all that they may"}${me.settings.apiKey === undefined ? "" : FROM_SHELL}`,
      },
      { check: "space", ok: true, says: `${space.name} (${space.slug})` },
    ];
  } catch (error) {
    return [failed("credential", error)];
  }
}

/**
 * Starts `me mcp` as a client does, calls a tool, and asks for them all. To call one comes first: to whoever can't be told
 * which tools are theirs, all are shown.
 */
async function checkTools(me: Me, args: readonly string[]): Promise<Finding> {
  const { command, args: all } = launchOf(["--server", await me.server(), ...args]);
  const startedAt = performance.now();
  const child = spawn(command, all, { stdio: ["pipe", "pipe", "ignore"], timeout: PATIENCE_MS });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const say = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const ask = async (method: string, params: object = {}): Promise<Result> => {
    say({ id: method, method, params });
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new CliError("error", "me mcp ended without an answer. Run it at a terminal to see why.");
      const { id, result, error } = JSON.parse(value) as { id?: string; result?: Result; error?: { message: string } };
      if (id === method && result) return result;
      if (error) throw new CliError("error", `me mcp refused ${method}: ${error.message}`);
    }
  };
  child.stdin.on("error", () => {}); // it may have ended
  try {
    const clientInfo = { name: "me mcp doctor", version: "1" };
    await ask("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo });
    const ms = Math.round(performance.now() - startedAt);
    say({ method: "notifications/initialized" });
    const { isError, content } = await ask("tools/call", { name: "whoami", arguments: {} });
    if (isError) throw new CliError("error", `none can be called. ${content?.[0]?.text}`);
    const { tools = [] } = await ask("tools/list");
    return { check: "tools", ok: tools.length > 0, says: `${tools.length} tools; first answer ${ms} ms after it was started` };
  } catch (error) {
    return failed("tools", error);
  } finally {
    child.kill();
  }
}

/** What is read of an answer. */
interface Result {
  isError?: boolean;
  content?: { text: string }[];
  tools?: unknown[];
}

function failed(check: string, error: unknown): Finding {
  const { ending, message } = describe(error);
  process.exitCode ||= exitCodes[ending];
  return { check, ok: false, says: message };
}
