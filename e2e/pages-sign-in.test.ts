import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, fill, follow, openWindow, said, shown, tabTo } from "./browser.ts";
import { startTestServer } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { beginLogin } from "./logins.ts";
import { giveAuthenticator, type NamedServer, signInto, startNamedServer } from "./pages-world.ts";
import { makeHome, meJson } from "./run.ts";

let server: NamedServer;
beforeAll(async () => {
  server = await startNamedServer();
});
afterAll(() => server.close());

test("a passkey: added, renamed, signed in with, also for a program, and removed", async () => {
  const ada = await server.user("Ada");
  const { page, complaints } = await openWindow();
  await giveAuthenticator(page);
  await signInto(page, server.origin, ada);
  await page.goto(`${server.origin}/account`);
  await fill(page, "#passkey-name", "This laptop");
  await follow(page, "form#add button");
  expect(await said(page)).toMatch(/The passkey is added/);
  expect(await shown(page)).toContain("This laptop");
  await fill(page, "#passkey-name", "The same again");
  expect(await ask(page, "form#add button")).toBe("This device has a passkey for your account already.");

  await tabTo(page, "summary");
  await page.keyboard.press("Enter");
  await tabTo(page, "form[data-rename] input");
  await page.keyboard.type("Blue laptop"); // the Tab key has selected what was there
  await follow(page, "form[data-rename] button");
  expect(await shown(page)).toContain("Blue laptop");

  await follow(page, "form#sign-out button");
  await follow(page, "#passkey");
  expect(new URL(page.url()).pathname).toBe("/account");
  expect(await shown(page)).toContain(ada.email);

  const home = await makeHome();
  const running = await beginLogin(home, server.origin);
  await page.browserContext().deleteCookie(...(await page.browserContext().cookies()));
  await page.goto(running.address);
  await follow(page, "#passkey");
  await follow(page, 'button[value="yes"]');
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(ada.email);

  await page.goto(`${server.origin}/account`);
  await tabTo(page, "summary");
  await page.keyboard.press("Enter");
  await follow(page, "form[data-remove] button");
  expect(await said(page)).toMatch(/The passkey is removed/);
  await follow(page, "form#sign-out button");
  expect(await ask(page, "#passkey")).toMatch(/This passkey is not known here/);
  expect(complaints).toEqual([]);
});

test("a passkey that the browser offers by itself: nobody presses anything, also where a program asks", async () => {
  const ada = await server.user("Ada");
  const { page, complaints } = await openWindow();
  await giveAuthenticator(page, { offers: true });
  await signInto(page, server.origin, ada);
  await page.goto(`${server.origin}/account`);
  await fill(page, "#passkey-name", "This laptop");
  await follow(page, "form#add button");
  await follow(page, "form#sign-out button");
  await page.waitForSelector("form#sign-out");
  expect(await shown(page)).toContain(ada.email);

  const home = await makeHome();
  const running = await beginLogin(home, server.origin);
  await page.browserContext().deleteCookie(...(await page.browserContext().cookies()));
  await page.goto(running.address);
  await page.waitForSelector('button[value="yes"]');
  await follow(page, 'button[value="yes"]');
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(ada.email);
  expect(complaints).toEqual([]);
});

test("a sign-in of long ago makes no passkey", async () => {
  const ada = await server.user("Ada");
  await server.sql`update auth."session" set "createdAt" = now() - interval '2 days' where "userId" = ${ada.id}`;
  const { page } = await openWindow();
  await giveAuthenticator(page);
  await signInto(page, server.origin, ada);
  await page.goto(`${server.origin}/account`);
  await fill(page, "#passkey-name", "Too late");
  expect(await ask(page, "form#add button")).toMatch(/signed in within the last day/);
});

test("where there can be no passkeys, none are offered; another name of the server leads to the right one", async () => {
  const bare = await startTestServer();
  const { page } = await openWindow();
  await page.goto(`${bare.url}/sign-in`);
  await page.waitForSelector("#passkey", { hidden: true });
  await page.goto(`${server.url}/sign-in?callback=/account`);
  await page.waitForFunction((origin) => location.origin === origin, {}, server.origin);
  expect(page.url()).toBe(`${server.origin}/sign-in?callback=/account`);
  await page.waitForSelector("#passkey", { visible: true });
  await bare.close();
});

test("another provider: to it and back, also in the middle of signing a program in; what it refuses is said", async () => {
  const corp = await openProvider();
  const gatehouse = await startTestServer(corp.settings({ domains: ["corp.example"] }));
  const { page, complaints } = await openWindow();
  corp.state.person = { sub: "1", email: "ada@corp.example", email_verified: true, name: "Ada" };
  await page.goto(`${gatehouse.url}/account`);
  await tabTo(page, 'button[data-provider="corp"]');
  await page.keyboard.press("Enter");
  await page.waitForSelector("form#sign-out");
  expect(await shown(page)).toContain("ada@corp.example");

  const home = await makeHome();
  const running = await beginLogin(home, gatehouse.url);
  const other = await openWindow();
  corp.state.person = { sub: "2", email: "eve@elsewhere.example", email_verified: true, name: "Eve" };
  await other.page.goto(running.address);
  await tabTo(other.page, 'button[data-provider="corp"]');
  await other.page.keyboard.press("Enter");
  await other.page.waitForFunction(() => location.search.includes("error=") && location.search.includes("sig="));
  expect(await said(other.page)).toMatch(/takes nobody with an e-mail address of that domain/);

  // The provider remembers who signed in there: somebody new comes with an empty browser.
  corp.state.person = { sub: "1", email: "ada@corp.example", email_verified: true, name: "Ada" };
  await other.page.browserContext().deleteCookie(...(await other.page.browserContext().cookies()));
  await tabTo(other.page, 'button[data-provider="corp"]');
  await other.page.keyboard.press("Enter");
  await other.page.waitForSelector('button[value="yes"]');
  await follow(other.page, 'button[value="yes"]');
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe("ada@corp.example");
  expect([...complaints, ...other.complaints]).toEqual([]);
  await gatehouse.close();
  await corp.close();
});
