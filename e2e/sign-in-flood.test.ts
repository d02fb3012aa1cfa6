import { availableParallelism } from "node:os";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { inputOf, type Route, routes, sendTo, valuesFor } from "./people-routes.ts";
import { until } from "./run.ts";

let box: Awaited<ReturnType<typeof openMailbox>>;
let server: TestServer;
/** Of a mail by which an address is confirmed: with a wrong one no password is looked at. */
let token: string;
let ada: TestUser;
const HOME = "198.51.100.7";
beforeAll(async () => {
  box = await openMailbox();
  server = await startTestServer({ TRUST_PROXY: "1", SIGN_UP: "open", ...box.settings });
  ada = await server.user("Ada");
  const eve = await server.user("Eve");
  await server.sql`update auth."user" set "emailVerified" = false where id = ${eve.id}`;
  await openJar(server.url).post("/api/auth/send-verification-email", { email: eve.email });
  token = await box.token(eve.email);
});
beforeEach(async () => {
  await server.sql`delete from auth.attempts`;
});
afterAll(async () => {
  await server.close();
  await box.close();
});

const GUESSES = 150 * Math.max(2, availableParallelism());
/** Somebody who comes from a network of their own each time. */
const elsewhere = (i: number) => `203.${Math.floor(i / 250) % 250}.${i % 250}.1`;
/** The input of somebody who signs no program in: better-auth refuses a query that it did not sign before it hashes. */
const guessAt = (route: Route, email: string) => ({ ...inputOf(route, valuesFor(email, { token }), {}), oauth_query: undefined });
const hashing = routes.filter(({ hashes }) => hashes);

test("every route that takes a password hashes it in turn", () => {
  const takePasswords = routes.filter(
    ({ takes }) => takes instanceof z.ZodObject && Object.keys(takes.shape).some((name) => /password/i.test(name)),
  );
  expect(takePasswords).toEqual(hashing);
  expect(hashing.length).toBeGreaterThan(2);
});

test.each(hashing)("guesses at $path from ever new networks are refused at once, and nobody else waits for them", async (route) => {
  expect((await openJar(server.url, HOME).signIn(ada.email, ada.password)).status).toBe(200); // from there she is known
  let answered = 0;
  const guesses = Array.from({ length: GUESSES }, async (_, i) => {
    const answer = await sendTo(server.url, route, guessAt(route, `nobody-${i}@example.com`), { "x-forwarded-for": elsewhere(i) });
    return { ...answer, place: answered++ };
  });
  const [signedIn, passkey] = await Promise.all([
    openJar(server.url, HOME).signIn(ada.email, ada.password),
    openJar(server.url, "198.51.100.8").get("/api/auth/passkey/generate-authenticate-options"),
  ]);
  expect([signedIn.status, passkey.status]).toEqual([200, 200]);
  const all = await Promise.all(guesses);
  const refused = all.filter(({ status }) => status === 429);
  expect(refused.length, "refused").toBeGreaterThan(GUESSES / 10);
  expect(refused.every(({ code, text }) => code === "RATE_LIMITED" && JSON.parse(text).retryAfter === 1)).toBe(true);
  // Refusals do not wait for those who do; where all is done after the answer, nobody waits.
  if (!route.later) {
    const places = (some: typeof all) => some.map(({ place }) => place).toSorted((a, b) => a - b);
    const let_in = all.filter(({ status }) => status !== 429);
    expect(places(refused).at(-1)).toBeLessThan(places(let_in).at(-1) as number);
  }
  await until("there is room again", async () => {
    await server.sql`delete from auth.attempts`;
    return (await sendTo(server.url, route, guessAt(route, "late@example.com"), { "x-forwarded-for": "192.0.2.200" })).status !== 429;
  });
});
