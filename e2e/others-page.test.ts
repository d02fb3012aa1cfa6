import { afterAll, beforeAll, expect, test } from "vitest";
import { routes } from "../packages/server/src/people/routes.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";

// A page was opened for Ada; then Eve signed in, in another tab of the same browser.

let server: TestServer;
let ada: TestUser;
let eve: TestUser;
let jar: Jar;
beforeAll(async () => {
  server = await startTestServer();
  [ada, eve] = [await server.user("Ada"), await server.user("Eve")];
  jar = openJar(server.url);
  await jar.signIn(ada.email, ada.password);
});
afterAll(() => server.close());

const pageOf = async (path: string): Promise<string> => /data-person="([^"]*)"/.exec((await jar.get(path)).body)?.[1] ?? "";

const asked = [
  ...routes.flatMap(({ method, path }) => (method === "POST" && !path.includes(":") ? [path] : [])),
  "/programs/end",
  "/revoke-all",
];

test("a page says whom it was made for, and nobody where nobody is signed in", async () => {
  expect(await pageOf("/account")).toBe(ada.id);
  expect(/data-person="([^"]*)"/.exec((await openJar(server.url).get("/sign-in")).body)?.[1]).toBe("");
});

test.each(asked)("%s does nothing for whom the page was not opened", async (path) => {
  await jar.signIn(ada.email, ada.password);
  const person = await pageOf("/account");
  await server.sql`delete from auth.attempts`;
  await jar.signIn(eve.email, eve.password);
  const { status, body } = await jar.post(`/api/auth${path}`, {}, { "x-me-person": person });
  expect([status, body.code, body.detail]).toEqual([409, "CONFLICT", expect.stringContaining("Load it again")]);
  // The same page, loaded again, is refused for nothing but what it sends.
  const again = await jar.post(`/api/auth${path}`, {}, { "x-me-person": await pageOf("/account") });
  expect([path, again.status === 409]).toEqual([path, false]);
});
