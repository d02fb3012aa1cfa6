import { afterAll, beforeAll, expect, test } from "vitest";
import { findings, follow, openWindow, said, shown, tabTo } from "./browser.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openProgram } from "./mcp-program.ts";
import { signInto } from "./pages-world.ts";

let server: TestServer;
let ann: TestUser;
let ours: string;
beforeAll(async () => {
  server = await startTestServer();
  ann = await server.user("Ann");
  for (const name of ["Another", "Ours"]) ours = (await server.call(ann.session, "space.create", { name })).result.slug;
});
afterAll(() => server.close());

/** A browser in which Ann is signed in, and how she answers there. */
async function annsBrowser() {
  const { page, complaints } = await openWindow();
  await signInto(page, server.url, ann);
  const answer = (choice: "yes" | "no", look?: () => Promise<void>) => async (address: string) => {
    await page.goto(address);
    await look?.();
    if (choice === "yes") await page.select("#space", ours);
    await follow(page, `button[value="${choice}"]`);
  };
  return { page, complaints, answer };
}
const call = (credential: string, path: string) =>
  fetch(server.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${credential}`, "content-type": "application/json", "x-me-space": ours },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "rpc.discover" }),
  });

test("from nothing to a tool: challenge, registration, consent, a token for this door and one space alone; more when more is needed", async () => {
  const program = await openProgram(`${server.url}/mcp`, "An editor");
  const { page, complaints, answer } = await annsBrowser();

  const first = await program.withLogin(
    (client) => client.callTool({ name: "whoami", arguments: {} }),
    answer("yes", async () => {
      expect(await shown(page)).toMatch(/A program that calls itself “An editor” on this computer asks to act for you/);
      expect(await findings(page)).toEqual([]);
    }),
  );
  expect(program.asked()?.searchParams.get("resource")).toBe(`${server.url}/mcp`);
  expect(first.structuredContent).toMatchObject({ id: ann.id, credential: { scope: ["write:tasks"], space: ours } });

  // A tool that needs more says what; the person is asked, and it is done.
  const roster = await program.withLogin((client) => client.callTool({ name: "list_roster", arguments: {} }), answer("yes"));
  expect(program.asked()?.searchParams.get("scope")?.split(" ").sort()).toEqual(["offline_access", "read:members", "write:tasks"]);
  expect(roster.structuredContent).toMatchObject({ members: [{ id: ann.id }] });

  // The token opens this door, in that space, and no other.
  const token = program.kept.tokens?.access_token as string;
  for (const path of ["/api/v1/user/rpc", "/api/v1/space/rpc", "/api/v1/sessions"])
    expect((await call(token, path)).status, path).toBe(401);
  const exchanged = await fetch(`${server.url}/api/v1/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: token,
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      space: ours,
      scope: "write:tasks",
    }),
  });
  expect(exchanged.status).toBe(400);
  const elsewhere = await program.withLogin((client) => client.callTool({ name: "show_space", arguments: {} }), answer("no"));
  expect(elsewhere.structuredContent).toMatchObject({ slug: ours });

  // The person sees it, and ends it.
  await page.goto(`${server.url}/account`);
  expect(await shown(page)).toMatch(/An editor in “Ours”/);
  expect(await findings(page)).toEqual([]);
  while (await page.$("form[data-end]")) {
    await tabTo(page, "summary");
    await page.keyboard.press("Enter");
    await follow(page, "form[data-end] button");
    expect(await said(page)).toMatch(/The program is signed out/);
  }
  await expect(program.withLogin((client) => client.callTool({ name: "whoami", arguments: {} }), answer("no"))).rejects.toThrow(
    /access_denied|denied/i,
  );
  expect(complaints).toEqual([]);
  program.close();
});

test("what the person leaves out, the program does not get", async () => {
  const program = await openProgram(`${server.url}/mcp`);
  const { page, answer } = await annsBrowser();
  const leaveOut = async () => {
    await page.click('input[value="offline_access"]');
  };
  await program.withLogin((client) => client.listTools(), answer("yes", leaveOut));
  expect(program.kept.tokens).not.toHaveProperty("refresh_token");
  expect(program.kept.tokens?.scope).toBe("write:tasks");
  program.close();
});

test("a login is renewed, and ends when a token comes twice", async () => {
  const program = await openProgram(`${server.url}/mcp`);
  const { answer } = await annsBrowser();
  const whoami = () => program.withLogin((client) => client.callTool({ name: "whoami", arguments: {} }), answer("no"));
  await program.withLogin((client) => client.listTools(), answer("yes"));
  const { refresh_token: first } = program.kept.tokens ?? {};
  expect(first).toBeDefined();
  // An access token that is over: the client takes the next by itself, for the same door.
  await server.sql`update auth."oauthAccessToken" set "expiresAt" = now() where "userId" = ${ann.id}`;
  await server.settle();
  expect((await whoami()).structuredContent).toMatchObject({ credential: { space: ours, scope: ["write:tasks"] } });
  expect(program.kept.tokens?.refresh_token).not.toBe(first);
  const { client_id } = program.kept.client as { client_id: string };
  const again = { grant_type: "refresh_token", client_id, refresh_token: first as string, resource: `${server.url}/mcp` };
  const refused = await fetch(`${server.url}/api/v1/token`, { method: "POST", body: new URLSearchParams(again) });
  expect(await refused.json()).toMatchObject({ error: "invalid_grant" });
  await expect(whoami()).rejects.toThrow();
  program.close();
});

test("a program may not be the command line, ask for another resource, or use another way", async () => {
  const program = await openProgram(`${server.url}/mcp`);
  const { answer } = await annsBrowser();
  await program.withLogin((client) => client.listTools(), answer("yes"));
  const { client_id } = program.kept.client as { client_id: string };
  const authorize = async (more: Record<string, string>) => {
    const query = new URLSearchParams({
      client_id,
      response_type: "code",
      redirect_uri: program.redirect,
      code_challenge: "A".repeat(43),
      code_challenge_method: "S256",
      scope: "write:tasks",
      resource: `${server.url}/mcp`,
      ...more,
    });
    const answered = await fetch(`${server.url}/api/auth/oauth2/authorize?${query}`, { redirect: "manual" });
    return new URL(answered.headers.get("location") ?? "", server.url);
  };
  expect((await authorize({})).pathname).toBe("/sign-in");
  for (const [more, error] of [
    [{ scope: "account" }, "invalid_scope"],
    [{ scope: "admin" }, "invalid_scope"],
    [{ resource: `${server.url}/api/v1/user/rpc` }, "invalid_target"],
    [{ resource: "https://elsewhere.example/mcp" }, "invalid_target"],
    [{ redirect_uri: "https://elsewhere.example/" }, "invalid_redirect"],
  ] as const)
    expect((await authorize(more)).searchParams.get("error"), JSON.stringify(more)).toBe(error);
  // What it may not ask for is left out; the server as a whole is its door for programs.
  expect((await authorize({ scope: "write:tasks account" })).searchParams.get("scope")).toBe("write:tasks");
  expect((await authorize({ resource: server.url })).searchParams.get("error")).toBeNull();
  const device = await fetch(`${server.url}/api/auth/device/code`, {
    method: "POST",
    body: new URLSearchParams({ client_id, scope: "write:tasks" }),
  });
  expect(await device.json()).toMatchObject({ error: "unauthorized_client" });
  program.close();
});

test("a program acts in a space of the person's, which they choose", async () => {
  const program = await openProgram(`${server.url}/mcp`);
  const stranger = await server.user("Stranger");
  const theirs = (await server.call(stranger.session, "space.create", { name: "Theirs" })).result.slug;
  const { page, answer } = await annsBrowser();
  const allow = answer("yes");
  let refusals = 0;
  await program.withLogin(
    (client) => client.listTools(),
    async (address) => {
      await page.goto(address);
      for (const space of [undefined, theirs, "000000000000"]) {
        const status = await page.evaluate(async (space) => {
          const oauth_query = location.search.slice(1);
          const body = JSON.stringify({ accept: true, oauth_query, ...(space && { space }) });
          return (await fetch("/api/auth/oauth2/consent", { method: "POST", headers: { "content-type": "application/json" }, body }))
            .status;
        }, space);
        expect(status).toBe(400);
        refusals++;
      }
      await allow(address);
    },
  );
  expect(refusals).toBe(3);
  program.close();
});
