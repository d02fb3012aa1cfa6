import { styleText } from "node:util";
import { connect, GatehouseError, strange } from "@gatehouse/client";
import type { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { addCommand } from "./command.ts";
import { describe, exitCodes } from "./exit.ts";
import { keptIn, type Me } from "./me.ts";

/** What a check found. */
export interface Finding {
  check: string;
  ok: boolean;
  says: string;
}

/** Most seconds that two clocks may differ before expiry times go wrong. */
const MAX_SKEW_SECONDS = 30;
const TIMEOUT_MS = 5000;
/** How a Gatehouse answers whose database is down. */
const NOT_READY = 503;

export function addDoctor(program: Command): void {
  addCommand(program, {
    usage: "doctor",
    summary: "Check the server, the credential, the clock and the versions.",
    examples: ["doctor", "doctor --server https://gatehouse.example.com"],
    async run(me) {
      const findings = [...(await checkServer(me)), await checkCredential(me), await checkStore(me)];
      return { ok: findings.every(({ ok }) => ok), findings };
    },
    show: showFindings,
  });
}

export const showFindings = ({ findings }: { findings: readonly Finding[] }): string =>
  findings.map(({ check, ok, says }) => `${ok ? styleText("green", "ok  ") : styleText("red", "FAIL")} ${check}: ${says}`).join("\n");

/** Whether the server is there, and agrees on the time. What fails sets the exit code. */
export async function checkServer(me: Me): Promise<Finding[]> {
  const server = await me.server();
  const runtime = {
    check: "versions",
    ok: true,
    says: `me ${packageJson.version}, ${process.versions.bun ? `Bun ${process.versions.bun}` : `Node ${process.versions.node}`}`,
  };
  const asked = Date.now();
  const answer = await connect({ server }, `${server}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    .then((got) => (got.ok || got.status === NOT_READY ? got : strange({ server }, got)))
    .catch((error: Error) => error);
  if (answer instanceof Error) {
    const { ending, message } = describe(answer);
    process.exitCode = exitCodes[ending];
    return [{ check: "server", ok: false, says: message }, runtime];
  }
  if (!answer.ok) process.exitCode = exitCodes.unreachable;
  // The Date header counts whole seconds.
  const skew = Math.round((Date.parse(answer.headers.get("date") ?? "") - (asked + Date.now()) / 2) / 1000);
  const right = Number.isNaN(skew) || Math.abs(skew) <= MAX_SKEW_SECONDS;
  if (!right) process.exitCode ||= exitCodes.error;
  return [
    { check: "server", ok: answer.ok, says: answer.ok ? `${server} is ready` : `${server} answers, but is not ready: is its database up?` },
    {
      check: "clock",
      ok: right,
      says: right ? "agrees with the server's" : `differs from the server's by ${skew} s. Set it right, or tokens seem expired.`,
    },
    runtime,
  ];
}

async function checkCredential(me: Me): Promise<Finding> {
  try {
    const { name, credential } = await (await me.client()).whoami();
    return { check: "credential", ok: true, says: `${name}, by ${credential.via}${me.settings.apiKey ? " (ME_API_KEY)" : ""}` };
  } catch (error) {
    const { ending, message } = describe(error);
    process.exitCode ||= exitCodes[ending];
    const fix =
      error instanceof GatehouseError && error.code === "UNAUTHENTICATED" && me.settings.apiKey
        ? " ME_API_KEY is set: is that the key you mean?"
        : "";
    return { check: "credential", ok: false, says: message + fix };
  }
}

async function checkStore(me: Me): Promise<Finding> {
  const place = await keptIn(me);
  return { check: "store", ok: true, says: place === undefined ? "nothing is kept for this server" : `the credential is in ${place}` };
}
