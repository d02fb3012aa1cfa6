import { spawn } from "node:child_process";
import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { note } from "../output.ts";
import type { Login } from "../store.ts";
import { openLanding } from "./landing.ts";
import { findAuthority, oauthError, startInBrowser } from "./oauth.ts";
import { waiting } from "./waiting.ts";

/** Signs in in the browser of this machine (RFC 8252). @throws CliError when nobody does, or somebody refuses */
export async function signInByBrowser(me: Me, server: string, seconds: number): Promise<Login> {
  if (!me.interactive && !me.settings.browserNamed)
    throw new CliError(
      "usage",
      "Nobody is at a terminal to sign in in a browser. Use one of: me login --device, me login --with-token, me login --email ADDRESS",
    );
  const authority = await findAuthority(server);
  const landing = await openLanding();
  try {
    const { url, state, finish } = await startInBrowser(authority, landing.redirectUri);
    note(`Sign in to ${server} in your browser:\n\n  ${url.href}\n`);
    if (!show(url.href, me.settings.browser)) note("No browser can be opened here. If yours is on another machine: me login --device");
    return await waiting(me, "Waiting for you to sign in", seconds, (signal) => landing.arrival(state, finish, signal));
  } catch (error) {
    if (oauthError(error) === "access_denied")
      throw new CliError("forbidden", "The sign-in was refused in the browser. Nobody is signed in.", { cause: error });
    throw error;
  } finally {
    landing.close();
  }
}

/**
 * Opens an address in a browser. @returns whether there is one to try; whether it shows anything, nobody can tell
 * @param browser as the variable BROWSER has it: commands with colons between, of which the first is taken; `%s` is the address
 */
function show(address: string, browser: string | undefined): boolean {
  const [command, ...args] = browser?.split(":")[0]?.split(" ").filter(Boolean) ?? [];
  if (command === undefined) return false;
  const placed = args.map((arg) => arg.replace("%s", address));
  const opened = spawn(command, args.some((arg) => arg.includes("%s")) ? placed : [...args, address], { detached: true, stdio: "ignore" });
  opened.on("error", () => note(`${command} can't be started. Open the address above yourself, or: me login --device`));
  opened.unref();
  return true;
}
