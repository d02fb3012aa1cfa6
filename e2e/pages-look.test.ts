import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pages } from "../packages/server/src/people/pages/pages.ts";
import { ask, fill, findings, follow, openWindow, said, tabTo } from "./browser.ts";
import { beginDevice, beginLogin } from "./logins.ts";
import { giveAuthenticator, type NamedServer, signInto, startNamedServer } from "./pages-world.ts";
import { makeHome, type Running } from "./run.ts";

let server: NamedServer;
const programs: Running[] = [];
beforeAll(async () => {
  const provider = { id: "corp", name: "Corp", issuer: "https://corp.example", clientId: "gatehouse", clientSecret: "unused" };
  server = await startNamedServer({ SIGN_UP: "open", OIDC_PROVIDERS: JSON.stringify([provider]) });
});
afterAll(async () => {
  for (const { child } of programs) child.kill();
  await server.close();
});

const open = (page: Page, path: string) => page.goto(server.origin + path);
/** Opens the consent page for a program that waits. */
async function openConsent(page: Page): Promise<void> {
  await signIn(page);
  const running = await beginLogin(await makeHome(), server.origin);
  programs.push(running);
  await page.goto(running.address);
}
const signIn = async (page: Page) => signInto(page, server.origin, await server.user("Ada"));

/** How to come to each page: as it is, and to where it says what went wrong. */
const states: Record<keyof typeof pages, { well(page: Page): Promise<unknown>; wrong(page: Page): Promise<unknown> }> = {
  "/sign-in": {
    async well(page) {
      await signIn(page);
      await open(page, "/account");
      await follow(page, "form#sign-out button");
    },
    async wrong(page) {
      await open(page, "/sign-in");
      await fill(page, "#email", "nobody@example.com");
      await fill(page, "#secret", "wrong");
      await ask(page, "form#password button");
    },
  },
  "/sign-up": {
    well: (page) => open(page, "/sign-up"),
    async wrong(page) {
      await open(page, "/sign-up");
      await fill(page, "#name", "Ada");
      await fill(page, "#email", "ada@example.com");
      await fill(page, "#new", "a long enough password");
      await page.setOfflineMode(true);
      await ask(page, "form#make button");
    },
  },
  "/consent": {
    well: openConsent,
    async wrong(page) {
      await openConsent(page);
      await page.goto(page.url().replace("state=", "state=changed"));
      await ask(page, 'button[value="yes"]');
    },
  },
  "/device": {
    async well(page) {
      const running = await beginDevice(await makeHome(), server.origin);
      programs.push(running);
      await signIn(page);
      await open(page, `/device?user_code=${running.code}`);
    },
    async wrong(page) {
      await signIn(page);
      await open(page, "/device");
      await fill(page, "#code", "WRNGCDE2");
      await follow(page, "form button");
    },
  },
  "/reset-password": {
    well: (page) => open(page, "/reset-password"),
    async wrong(page) {
      await open(page, "/reset-password#token=wrong");
      await fill(page, "#new", "a long enough password");
      await ask(page, "form#change button");
    },
  },
  "/verify-email": {
    well: (page) => open(page, "/verify-email#token=any"),
    async wrong(page) {
      await open(page, "/verify-email#token=wrong");
      await fill(page, "#secret", "a long enough password");
      await ask(page, "form#confirm button");
    },
  },
  "/account": {
    async well(page) {
      await signIn(page);
      await giveAuthenticator(page);
      await open(page, "/account");
      await fill(page, "#passkey-name", "This laptop");
      await follow(page, "form#add button");
      await tabTo(page, "summary");
      await page.keyboard.press("Enter");
    },
    async wrong(page) {
      await signIn(page);
      await open(page, "/account");
      await page.setOfflineMode(true);
      await ask(page, "form#sign-out button");
    },
  },
};

/** A window that notes what moved in it. */
interface Moving {
  moves: unknown[];
}

const paint = (page: Page, scheme: string) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);

test("every page has its states here", () => {
  expect(Object.keys(states).sort()).toEqual(Object.keys(pages).sort());
});

describe.each(Object.keys(pages))("%s", (path) => {
  test.each(["well", "wrong"] as const)(
    "%s: anybody can use it, in light and dark, on a small screen; no policy is broken",
    async (state) => {
      const { page, complaints } = await openWindow(320);
      await states[path]?.[state](page);
      expect(new URL(page.url()).pathname).toBe(path);
      if (state === "wrong") {
        expect(await said(page)).not.toBe("");
        expect(await page.evaluate(() => document.activeElement?.id)).toBe("problem");
      }
      for (const scheme of ["light", "dark"]) {
        await paint(page, scheme);
        expect(await findings(page)).toEqual([]);
      }
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
      expect(complaints).toEqual([]);
    },
  );

  test("its headers let nobody frame it, keep it or see where one came from, and nothing in it moves", async () => {
    const { page } = await openWindow(320);
    await page.evaluateOnNewDocument(() => {
      Object.assign(window, { moves: [] });
      // What moves because of a key was meant to.
      type Move = PerformanceEntry & { value: number; hadRecentInput: boolean };
      const unasked = (entry: PerformanceEntry) => !(entry as Move).hadRecentInput;
      new PerformanceObserver((list) => {
        (window as unknown as Moving).moves.push(...list.getEntries().filter(unasked));
      }).observe({ type: "layout-shift", buffered: true });
    });
    const answers = new Map<string, Record<string, string>>();
    page.on("response", (response) => answers.set(new URL(response.url()).pathname, response.headers()));
    await page.emulateNetworkConditions({ latency: 200, download: -1, upload: -1 }); // a script that comes late is waited for
    await states[path]?.well(page);
    await page.waitForNetworkIdle();
    expect(answers.get(path)).toMatchObject({
      "content-security-policy":
        "default-src 'none';script-src 'self';style-src 'self';img-src 'self' data:;connect-src 'self';form-action 'self';frame-ancestors 'none';base-uri 'none'",
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
      "content-type": "text/html; charset=utf-8",
    });
    expect(await page.$("script:not([src]), style, [style], [onclick], [onload]")).toBeNull();
    expect(await page.evaluate(() => (window as unknown as Moving).moves)).toEqual([]);
  });
});
