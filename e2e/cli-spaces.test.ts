import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, me, meJson, signedIn } from "./run.ts";

let server: TestServer;
let home: Home;
let user: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
});
afterAll(() => server.close());

const spaces = async () => (await server.call(user.session, "space.list")).result.spaces;
const marked = (stdout: string) => stdout.match(/^\* +(\w+)/gm)?.map((line) => line.replace(/^\* +/, ""));

test("a space is made, listed and renamed, by name or by slug", async () => {
  const made = await meJson(home, ["space", "create", "Support team"]);
  expect([made]).toEqual(await spaces());
  expect(await meJson(home, ["space", "list"])).toEqual({ spaces: await spaces() });
  expect(await meJson(home, ["space", "rename", "support TEAM", "Support"])).toEqual({ ...made, name: "Support" });
  expect(await meJson(home, ["space", "rename", made.slug, "Helpdesk"])).toEqual({ ...made, name: "Helpdesk" });
});

test("the space in use is marked, and ME_SPACE goes before it", async () => {
  const [first, second] = [await meJson(home, ["space", "create", "First"]), await meJson(home, ["space", "create", "Second"])];
  expect(marked((await me(home, ["space", "list"])).stdout)).toBeUndefined();
  expect(await meJson(home, ["space", "use", "first"])).toEqual(first);
  expect(marked((await me(home, ["space", "list"])).stdout)).toEqual([first.slug]);
  expect(marked((await me(home, ["space", "list"], { env: { ME_SPACE: second.slug } })).stdout)).toEqual([second.slug]);
});

test("a name that two spaces have must be said by slug", async () => {
  const twins = [await meJson(home, ["space", "create", "Twin"]), await meJson(home, ["space", "create", "Twin"])];
  const { code, stderr } = await me(home, ["space", "use", "Twin"]);
  expect(code).toBe(2);
  for (const { slug } of twins) expect(stderr).toContain(slug);
  expect((await meJson(home, ["space", "use", twins[1].slug])).slug).toBe(twins[1].slug);
});

test("deleting a space takes its slug: no flag, no other word will do", async () => {
  const { slug } = await meJson(home, ["space", "create", "Doomed"]);
  const unsaid = await me(home, ["space", "delete", "Doomed"]);
  expect(unsaid).toMatchObject({ code: 2, stdout: "" });
  expect(unsaid.stderr).toContain(`Say it with --confirm ${slug}`);
  const other = await me(home, ["space", "delete", "Doomed", "--confirm", "Doomed"]);
  expect(other).toEqual({ code: 2, stdout: "", stderr: "Error: That is not the slug of Doomed. Nothing was done.\n" });
  expect((await me(home, ["space", "delete", "Doomed", "--yes"])).code).toBe(2);
  expect((await spaces()).map((space: { slug: string }) => space.slug)).toContain(slug);
  expect(await meJson(home, ["space", "delete", "Doomed", "--confirm", slug])).toEqual({ slug });
  expect((await spaces()).map((space: { slug: string }) => space.slug)).not.toContain(slug);
});
