import { afterAll, beforeAll, expect, test } from "vitest";
import { onDatabase, startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { type Home, makeHome, meJson, signedIn } from "./run.ts";
import { atTerminal } from "./terminal.ts";

const ENTER = "\r";
const CTRL_C = "\u0003";

let server: TestServer;
let home: Home;
let user: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ({ home, user } = await signedIn(server, "Ada"));
});
afterAll(() => server.close());

const agents = async (): Promise<string[]> => (await meJson(home, ["agent", "list"])).agents.map(({ name }: { name: string }) => name);

test("me login --email asks, and shows nothing of the password", async () => {
  const terminal = atTerminal(await makeHome(), ["login", "--server", server.url, "--email"]);
  await terminal.answer("E-mail address", user.email + ENTER);
  await terminal.answer("Password", user.password + ENTER);
  const { code, shown, raw } = await terminal.over();
  expect(code).toBe(0);
  expect(shown).toContain(user.email);
  expect(shown).toContain(`Signed in to ${server.url} as Ada.`);
  for (const word of user.password.split(" ")) expect(raw).not.toContain(word);
});

test("me user create asks for the password twice", async () => {
  const nobody = await makeHome(onDatabase(server.databaseUrl));
  const create = async (first: string, second: string) => {
    const terminal = atTerminal(nobody, ["user", "create"]);
    await terminal.answer("E-mail address", `grace@example.com${ENTER}`);
    await terminal.answer("Name", `Grace${ENTER}`);
    await terminal.answer("Password, at least 12 characters", first + ENTER);
    await terminal.answer("The same password once more", second + ENTER);
    return terminal.over();
  };
  const differing = await create("qwzx long enough", "qwzx another one");
  expect(differing.code).toBe(2);
  expect(differing.shown).toContain("The passwords differ. Nothing was done.");
  const made = await create("qwzx long enough", "qwzx long enough");
  expect(made.code).toBe(0);
  expect(made.shown).toContain("Created the account of Grace (grace@example.com).");
  expect(differing.raw + made.raw).not.toContain("qwzx");
});

test("what can't be undone is asked for: Enter alone says no, Ctrl-C says no, y says yes", async () => {
  await meJson(home, ["agent", "create", "doomed"]);
  const answered = async (key: string) => {
    const terminal = atTerminal(home, ["agent", "delete", "doomed"]);
    await terminal.answer("Deleting doomed also revokes its keys, and can't be undone. Go on?", key);
    return terminal.over();
  };
  expect(await answered(ENTER)).toMatchObject({ code: 1, shown: expect.stringContaining("Nothing was done.") });
  expect(await answered(CTRL_C)).toMatchObject({ code: 1, shown: expect.stringContaining("Cancelled. Nothing was done.") });
  expect(await agents()).toContain("doomed");
  expect(await answered("y")).toMatchObject({ code: 0, shown: expect.stringContaining("Deleted agent") });
  expect(await agents()).not.toContain("doomed");
});

test("deleting a space asks for its slug", async () => {
  const { slug } = await meJson(home, ["space", "create", "Attic"]);
  const typed = async (text: string) => {
    const terminal = atTerminal(home, ["space", "delete", "Attic"]);
    await terminal.answer(`Type its slug, ${slug}, to go on`, text + ENTER);
    return terminal.over();
  };
  expect(await typed("Attic")).toMatchObject({ code: 2, shown: expect.stringContaining("That is not the slug of Attic.") });
  expect(await typed(slug)).toMatchObject({ code: 0, shown: expect.stringContaining(`Deleted space ${slug}.`) });
});

test("me up says where it is, and Ctrl-C stops it", async () => {
  const terminal = atTerminal(await makeHome(), ["up"], { PORT: "0", ...onDatabase(server.databaseUrl) });
  await terminal.answer(/Ready: http:\/\/127\.0\.0\.1:\d+/, CTRL_C);
  const { code, shown } = await terminal.over();
  expect(code).toBe(0);
  expect(shown).toContain("me user create");
  expect(shown).toContain("Stopping…");
});
