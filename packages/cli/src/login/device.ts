import { setTimeout as delay } from "node:timers/promises";
import { GatehouseError } from "@gatehouse/client";
import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { note } from "../output.ts";
import type { Login } from "../store.ts";
import { type Authority, findAuthority, oauthError, pollDevice, startOnDevice } from "./oauth.ts";
import { waiting } from "./waiting.ts";

/** What RFC 8628 has a client wait for where the server says nothing, and add when it is told to slow down; in seconds. */
const [INTERVAL, SLOWER] = [5, 5];

/** A code that signs in, once a person has entered it in a browser anywhere (RFC 8628). */
export interface DeviceCode {
  userCode: string;
  /** Where it is entered. */
  address: string;
  /** The same, with the code in it. */
  addressWithCode: string | undefined;
  /** How long it is good. */
  seconds: number;
  /** Waits until it is entered. @throws CliError when it expires, or somebody refuses */
  finish(signal: AbortSignal): Promise<Login>;
}

/** Asks a server for a code. @throws GatehouseError */
export async function startDevice(server: string): Promise<DeviceCode> {
  const authority = await findAuthority(server);
  const made = await startOnDevice(authority);
  return {
    userCode: made.user_code,
    address: made.verification_uri,
    addressWithCode: made.verification_uri_complete,
    seconds: made.expires_in,
    finish: (signal) => poll(authority, made.device_code, made.interval ?? INTERVAL, signal),
  };
}

/** Signs in by a code that is entered in a browser anywhere. @throws CliError when nobody does, or somebody refuses */
export async function signInByDevice(me: Me, server: string, seconds: number): Promise<Login> {
  const code = await startDevice(server);
  note(`To sign in to ${server}, open on any device\n\n  ${code.address}\n\nand enter the code\n\n  ${code.userCode}\n`);
  if (code.addressWithCode !== undefined) note(`Or open the two at once: ${code.addressWithCode}\n`);
  return waiting(me, "Waiting for the code to be entered", Math.min(seconds, code.seconds), code.finish);
}

async function poll(authority: Authority, deviceCode: string, interval: number, signal: AbortSignal): Promise<Login> {
  for (let wait = interval; ; ) {
    await delay(wait * 1000, undefined, { signal });
    try {
      return await pollDevice(authority, deviceCode);
    } catch (error) {
      const said = oauthError(error);
      if (said === "access_denied") throw new CliError("forbidden", "The sign-in was refused. Nobody is signed in.", { cause: error });
      if (said === "expired_token")
        throw new CliError("not signed in", "The code has expired. Try again: me login --device", { cause: error });
      if (said === "slow_down") wait += SLOWER;
      else if (passes(error))
        wait *= 2; // section 3.5: a server that does not answer is asked less often
      else if (said !== "authorization_pending") throw error;
    }
  }
}

const passes = (error: unknown) => error instanceof GatehouseError && ["UNREACHABLE", "UNAVAILABLE", "RATE_LIMITED"].includes(error.code);
