import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "puppeteer-core";
import { startTestServer, type TestUser } from "./harness.ts";

/** A port on which nothing listens. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** A server under a name: passkeys need one. @returns it, with the origin that browsers see */
export async function startNamedServer(settings: Record<string, string> = {}) {
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  return { ...(await startTestServer({ PORT: String(port), PUBLIC_URL: origin, ...settings })), origin };
}

export type NamedServer = Awaited<ReturnType<typeof startNamedServer>>;

/** Signs a browser in as somebody, without the pages. */
export const signInto = (page: Page, origin: string, { session }: TestUser): Promise<void> =>
  page.browserContext().setCookie({
    name: "gatehouse.session_token",
    value: encodeURIComponent(session),
    domain: new URL(origin).hostname,
    httpOnly: true,
    sameSite: "Lax",
  });

/**
 * Gives a page an authenticator that is always at hand, with a person who always agrees (W3C WebAuthn §11).
 * @param options.offers whether the browser offers passkeys where an e-mail address is typed: then that person agrees at once
 */
export async function giveAuthenticator(page: Page, { offers = false } = {}): Promise<void> {
  if (!offers)
    await page.evaluateOnNewDocument(() => {
      PublicKeyCredential.isConditionalMediationAvailable = async () => false;
    });
  const session = await page.createCDPSession();
  await session.send("WebAuthn.enable");
  await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}
