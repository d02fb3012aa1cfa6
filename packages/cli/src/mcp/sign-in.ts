import { setTimeout as delay } from "node:timers/promises";
import type { House } from "@gatehouse/mcp";
import {
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  inputRequired,
  inputResponse,
  type McpServer,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { CliError } from "../exit.ts";
import type { DeviceCode } from "../login/device.ts";
import type { Me } from "../me.ts";

/** The one question that is asked: to open the address at which the person signs in. */
const ASKED = "signIn";
/** How long a call waits for a sign-in that is under way: less than clients wait for the call. */
const PATIENCE_MS = 50_000;

/** A sign-in under way; the code may be entered until it expires. */
interface Pending {
  done: Promise<void>;
  code: DeviceCode;
}

/**
 * Where nobody is signed in, or the login has ended: asks the client to show the address at which the person signs in (URL elicitation), waits until
 * they have, and does what was asked for then. A client that can't is told to run `me login`.
 */
export function signInWithin(me: Me, serving: () => McpServer | undefined): NonNullable<House["attempt"]> {
  let pending: Pending | undefined;

  const begin = async (): Promise<Pending> => {
    // Seldom needed, and large.
    const [{ startDevice }, { keepLogin }] = await Promise.all([import("../login/device.ts"), import("../login.ts")]);
    const server = await me.server();
    const code = await startDevice(server);
    const done = code
      .finish(AbortSignal.timeout(code.seconds * 1000))
      .then((login) => keepLogin(me, server, login))
      .then(() => void serving()?.sendToolListChanged())
      .finally(() => {
        pending = undefined;
      });
    done.catch(() => {}); // whoever calls next is told
    return { code, done };
  };

  return async (ctx, run) => {
    const asked = inputResponse(ctx.mcpReq.inputResponses, ASKED);
    if (asked.kind === "elicit") {
      if (asked.action !== "accept")
        throw new CliError("not signed in", "Nobody is signed in, as the sign-in was declined. To do it later: me login");
      if (pending) await within(pending);
    }
    try {
      return await run();
    } catch (error) {
      if (me.settings.apiKey !== undefined || !isNobody(error) || !showsAddresses(ctx, serving())) throw error;
      pending ??= await begin();
      const { userCode, address, addressWithCode = address } = pending.code;
      const message = `Sign in to Gatehouse at ${await me.server()}. The code is ${userCode}.`;
      return inputRequired({ inputRequests: { [ASKED]: inputRequired.elicitUrl({ message, url: addressWithCode }) } });
    }
  };
}

/** @throws CliError when the person has not signed in by then */
const within = ({ done, code }: Pending): Promise<void> =>
  Promise.race([
    done,
    delay(PATIENCE_MS, undefined, { ref: false }).then(() => {
      throw new CliError(
        "still running",
        `Nobody has signed in yet. Open ${code.address}, enter the code ${code.userCode}, and call this again.`,
      );
    }),
  ]);

const isNobody = (error: unknown): boolean => error instanceof CliError && error.ending === "not signed in";

/** Whether the client can show an address to the person: said with each request (MCP 2026-07-28), or when it connected. */
function showsAddresses({ mcpReq }: ServerContext, serving: McpServer | undefined): boolean {
  const envelope = mcpReq.envelope as { [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities } | undefined;
  const { elicitation } = envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? serving?.server.getClientCapabilities() ?? {};
  return elicitation?.url !== undefined;
}
