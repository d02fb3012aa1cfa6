import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, fill, follow, openWindow, said, shown, tabTo } from "./browser.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { beginDevice, beginLogin } from "./logins.ts";
import { openMailbox } from "./mailbox.ts";
import { signInto } from "./pages-world.ts";
import { makeHome, meJson, until } from "./run.ts";

let mailbox: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
let ada: TestUser;
beforeAll(async () => {
  mailbox = await openMailbox();
  server = await startTestServer({ SIGN_UP: "open", ...mailbox.settings });
  ada = await server.user("Ada");
});
afterAll(async () => {
  await server.close();
  await mailbox.close();
});

/** The link in the mail to somebody. */
const linkTo = (email: string) =>
  until(`there is mail to ${email}`, () => mailbox.mails.find(({ to }) => to === email)?.text.match(/^http\S+$/m)?.[0]);

test("me login, by keyboard alone: sign in, allow, and back to the program with a code", async () => {
  const home = await makeHome();
  const running = await beginLogin(home, server.url);
  const { page, complaints } = await openWindow();
  await page.goto(running.address);
  expect(new URL(page.url()).pathname).toBe("/sign-in");
  expect(await shown(page)).toContain("The Gatehouse command line asks you to sign in.");

  await page.waitForSelector("#email:focus"); // where one begins
  await page.keyboard.type(ada.email);
  await fill(page, "#secret", "not the right password");
  expect(await ask(page, "form#password button")).toBe("The e-mail address or the password is wrong.");
  await fill(page, "#secret", ada.password);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);

  expect(new URL(page.url()).pathname).toBe("/consent");
  const asked = await shown(page);
  for (const part of ["The Gatehouse command line on this computer", ada.email, "Act as you, in person", "127.0.0.1:"])
    expect(asked).toContain(part);
  await follow(page, 'button[value="yes"]');
  expect(new URL(page.url()).pathname).toBe("/callback");
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(ada.email);
  expect(complaints).toEqual([]);
});

test("who denies sends the program away", async () => {
  const running = await beginLogin(await makeHome(), server.url);
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(running.address);
  await follow(page, 'button[value="no"]');
  expect(new URL(page.url()).searchParams.get("error")).toBe("access_denied");
  expect((await running.finished).code).not.toBe(0);
});

test("a page that was opened for one person does nothing for another who signed in since", async () => {
  const eve = await server.user("Eve");
  const running = await beginLogin(await makeHome(), server.url);
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(running.address);
  await signInto(page, server.url, eve); // as in another tab
  expect(await ask(page, 'button[value="yes"]')).toContain("Somebody else has signed in");
  await page.reload();
  expect(await shown(page)).toContain(eve.email);
  await follow(page, 'button[value="no"]');
  expect((await running.finished).code).not.toBe(0);
});

test("another account can be taken in the middle of it", async () => {
  const [grace, alice] = [await server.user("Grace"), await server.user("Alice")];
  const home = await makeHome();
  const running = await beginLogin(home, server.url);
  const { page } = await openWindow();
  await signInto(page, server.url, alice);
  await page.goto(running.address);
  await follow(page, "form#other button");
  await fill(page, "#email", grace.email);
  await fill(page, "#secret", grace.password);
  await follow(page, "form#password button");
  await follow(page, 'button[value="yes"]');
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(grace.email);
});

test("an OAuth request that was changed on the way, or is too old, lets nobody in", async () => {
  const running = await beginLogin(await makeHome(), server.url);
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(running.address);
  const address = new URL(page.url());
  address.searchParams.set("redirect_uri", "http://127.0.0.1:9/callback");
  await page.goto(address.href);
  expect(await ask(page, 'button[value="yes"]')).toMatch(/took too long, or its address was changed/);
  address.searchParams.set("exp", "1000000000");
  await page.goto(address.href);
  expect(await said(page)).toMatch(/too old/);
  expect(await page.$("button")).toBeNull();
  running.child.kill();
});

test("a code is compared, then allowed; the program is signed in", async () => {
  const home = await makeHome();
  const running = await beginDevice(home, server.url);
  const { page } = await openWindow();
  await page.goto(`${server.url}/device`);
  await fill(page, "#email", ada.email);
  await fill(page, "#secret", ada.password);
  await follow(page, "form#password button");
  expect(new URL(page.url()).pathname).toBe("/device");
  await fill(page, "#code", running.code.toLowerCase());
  await follow(page, "form button");
  expect(await shown(page)).toContain("Compare it with your own terminal.");
  expect(await page.$eval("#code", ({ textContent }) => textContent)).toBe(running.code);
  await follow(page, 'button[value="approve"]');
  expect(await said(page)).toBe("The other device is signed in as you.");
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(ada.email);

  await page.goto(`${server.url}/device?user_code=${running.code}`);
  expect(await said(page)).toMatch(/answered already|no such code/);
});

test("a link with a code allows nothing by itself, and can be denied", async () => {
  const running = await beginDevice(await makeHome(), server.url);
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(`${server.url}/device?user_code=${running.code}`);
  await follow(page, 'button[value="deny"]');
  expect(await said(page)).toBe("Nothing was allowed.");
  expect((await running.finished).code).not.toBe(0);
});

test("a code that is wrong, too old, or opened by somebody else is refused", async () => {
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(`${server.url}/device`);
  await fill(page, "#code", "WRNGCDE2");
  await follow(page, "form button");
  expect(await said(page)).toMatch(/no such code, or it is too old/);
  expect(await page.$eval("#code", ({ ariaInvalid }) => ariaInvalid)).toBe("true");

  const running = await beginDevice(await makeHome(), server.url);
  await page.goto(`${server.url}/device?user_code=${running.code}`);
  const other = await openWindow();
  await signInto(other.page, server.url, await server.user("Eve"));
  await other.page.goto(`${server.url}/device?user_code=${running.code}`);
  expect(await said(other.page)).toMatch(/Somebody else has opened this code/);

  await server.sql`update auth."deviceCode" set "expiresAt" = now() - interval '1 second' where "userCode" = ${running.code}`;
  expect(await ask(page, 'button[value="approve"]')).toMatch(/no such code, or it is too old/);
  await page.reload();
  expect(await said(page)).toMatch(/no such code, or it is too old/);
  running.child.kill();
});

test("a new password, by a mailed link whose token stays out of the history", async () => {
  const alan = await server.user("Alan");
  const { page } = await openWindow();
  await page.goto(`${server.url}/sign-in`);
  await follow(page, 'a[href="/reset-password"]');
  await fill(page, "#email", alan.email);
  expect(await ask(page, "form#request button")).toContain("a mail is on its way");

  const link = await linkTo(alan.email);
  await page.goto(link);
  await page.waitForSelector("form#change:not([hidden])");
  expect(page.url()).toBe(`${server.url}/reset-password`);
  await fill(page, "#new", "an entirely new password");
  await follow(page, "form#change button");
  expect(await said(page)).toMatch(/Your password is changed/);
  await fill(page, "#email", alan.email);
  await fill(page, "#secret", "an entirely new password");
  await follow(page, "form#password button");
  expect(new URL(page.url()).pathname).toBe("/account");

  await page.goto("about:blank");
  await page.goto(link);
  await fill(page, "#new", "yet another password");
  expect(await ask(page, "form#change button")).toMatch(/wrong, used or too old/);
});

test("the bare address leads to one's account", async () => {
  const answer = await fetch(server.url, { redirect: "manual" });
  expect([answer.status, answer.headers.get("location")]).toEqual([302, "/account"]);
});

test("signing up: nothing works before the address is confirmed, by a click in the page that the mail leads to", async () => {
  const email = "newcomer@example.com";
  const password = "a password of their own";
  const { page } = await openWindow();
  await page.goto(`${server.url}/sign-in`);
  await follow(page, 'a[href="/sign-up"]');
  await fill(page, "#name", "New Comer");
  await fill(page, "#email", email);
  await fill(page, "#new", password);
  expect(await ask(page, "form#make button")).toContain("Look into your mail");

  await page.goto(`${server.url}/sign-in`);
  await fill(page, "#email", email);
  await fill(page, "#secret", password);
  expect(await ask(page, "form#password button")).toMatch(/Confirm your e-mail address first/);
  await tabTo(page, '#unverified a[href="/verify-email"]');

  await page.goto(await linkTo(email));
  await fill(page, "#secret", "not the password");
  expect(await ask(page, "form#confirm button")).toMatch(/not the password of the last sign-up/);
  await fill(page, "#secret", password);
  await follow(page, "form#confirm button");
  expect(await said(page)).toMatch(/is confirmed/);
  await fill(page, "#email", email);
  await fill(page, "#secret", password);
  await follow(page, "form#password button");
  expect(await shown(page)).toContain("New Comer");
  await follow(page, "form#sign-out button");
  expect(await said(page)).toBe("You are signed out.");
});

test("who has no account yet, or forgot the password, when a program asks, goes on with it after that", async () => {
  const [email, password] = ["midway@example.com", "a password of their own"];
  const home = await makeHome();
  const running = await beginLogin(home, server.url);
  const { page } = await openWindow();
  await page.goto(running.address);
  await follow(page, 'a[href^="/reset-password?"]');
  await follow(page, 'a[href^="/sign-in?"]');
  await follow(page, 'a[href^="/sign-up?"]');
  await fill(page, "#name", "Mid Way");
  await fill(page, "#email", email);
  await fill(page, "#new", password);
  await ask(page, "form#make button");
  const mailed = await page.browserContext().newPage();
  await mailed.emulateFocusedPage(true);
  await mailed.goto(await linkTo(email));
  await fill(mailed, "#secret", password);
  await follow(mailed, "form#confirm button");
  expect(await said(mailed)).toMatch(/is confirmed/);

  await follow(page, 'a[href^="/sign-in?"]');
  expect(await shown(page)).toContain("asks you to sign in");
  await fill(page, "#email", email);
  await fill(page, "#secret", password);
  await follow(page, "form#password button");
  await follow(page, 'button[value="yes"]');
  expect((await running.finished).code).toBe(0);
  expect((await meJson(home, ["whoami"])).email).toBe(email);
});

test("whoever tries too often is told how long to wait, and whoever has no connection is told so", async () => {
  const alone = await startTestServer();
  const { page } = await openWindow();
  await page.goto(`${alone.url}/sign-in`);
  await fill(page, "#email", "nobody@example.com");
  await fill(page, "#secret", "guess");
  await page.setOfflineMode(true);
  expect(await ask(page, "form#password button")).toMatch(/can't be reached/);
  await page.setOfflineMode(false);
  for (let tries = 0; ; tries++) {
    expect(tries).toBeLessThan(20);
    await fill(page, "#secret", "guess");
    const answer = page.waitForResponse((response) => response.url().endsWith("/sign-in/email"));
    await page.keyboard.press("Enter");
    if ((await answer).status() === 429) break;
    await said(page);
  }
  await page.waitForFunction(() => /^Too many attempts\. Try again in \d+ seconds\.$/.test(document.activeElement?.textContent ?? ""));
  await alone.close();
});

test("after signing in nobody is sent to another site", async () => {
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  for (const callback of [
    "https://example.com/device",
    "//example.com/account",
    "/\\example.com",
    "javascript:alert(1)",
    "/api/v1/user/rpc",
    "/constructor",
  ]) {
    await page.goto(`${server.url}/sign-in?callback=${encodeURIComponent(callback)}`);
    expect(page.url()).toBe(`${server.url}/account`);
  }
  await page.goto(`${server.url}/sign-in?callback=${encodeURIComponent("/device?user_code=ABCD")}`);
  expect(page.url()).toBe(`${server.url}/device?user_code=ABCD`);
});

test("nothing of an address becomes part of a page", async () => {
  const { page, complaints } = await openWindow();
  const evil = encodeURIComponent(`"><img src=x onerror=alert(1)><script>alert(1)</script>`);
  await signInto(page, server.url, ada);
  for (const path of [
    `/sign-in?error=${evil}&sig=x&client_id=${evil}`,
    `/consent?sig=x&exp=9999999999&client_id=${evil}&scope=${evil}&redirect_uri=https://${evil}`,
    `/device?user_code=${evil}`,
  ]) {
    await page.goto(server.url + path);
    expect(await page.$("img, script:not([src])")).toBeNull();
  }
  expect(complaints).toEqual([]);
});

test.each([
  ["/account?done=all-revoked", "are revoked"],
  ["/device?done=allowed", "signed in as you"],
  ["/sign-in?done=password-changed&error=x", "is changed"],
])("an address alone has no page say what was done: %s", async (path, words) => {
  const { page } = await openWindow();
  await signInto(page, server.url, ada);
  await page.goto(server.url + path);
  expect(await page.$eval("#notice", (element) => element.getAttribute("data-done"))).toContain(words);
  expect(await shown(page)).not.toContain(words);
});

test("a page says once what was done, and not again when it is loaded anew", async () => {
  const { page } = await openWindow();
  await signInto(page, server.url, await server.user("Eve"));
  await page.goto(`${server.url}/account`);
  await follow(page, "form#sign-out button");
  expect(await said(page)).toBe("You are signed out.");
  await page.reload();
  expect(await shown(page)).not.toContain("You are signed out.");
});

test("a page that can't be shown now is a page all the same", async () => {
  const strict = await startTestServer({ RATE_LIMIT: "2" });
  const { page, complaints } = await openWindow();
  for (let opened = 0; opened < 2; opened++) await page.goto(`${strict.url}/reset-password`);
  const answer = await page.goto(`${strict.url}/reset-password`);
  expect([answer?.status(), answer?.headers()["content-type"]]).toEqual([429, "text/html; charset=utf-8"]);
  expect(answer?.headers()["content-security-policy"]).toContain("default-src 'none'");
  expect(await said(page)).toMatch(/Too many requests|Wait/i);
  expect(await page.$eval("#problem", (element) => getComputedStyle(element).borderLeftWidth)).toBe("3px");
  await tabTo(page, 'a[href="/reset-password"]');
  expect(complaints).toEqual([]);
  await strict.close();
});
