import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { signProgramIn } from "./program.ts";

let server: TestServer;
let ann: TestUser;
beforeAll(async () => {
  server = await startTestServer();
  ann = await server.user("Ann");
  await server.call(ann.session, "space.create", { name: "Team" });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(() => server.close());

/** Where a browser is led for a request of a new program. */
async function led(redirect_uri: string, client_name: string, more: Record<string, string> = {}): Promise<string> {
  const registered = await fetch(`${server.url}/api/v1/register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ redirect_uris: [redirect_uri], client_name }),
  });
  const { client_id } = await registered.json();
  expect(client_id, redirect_uri).toBeDefined();
  const query = new URLSearchParams({
    client_id,
    redirect_uri,
    response_type: "code",
    scope: "write:tasks",
    code_challenge: "A".repeat(43),
    code_challenge_method: "S256",
    ...more,
  });
  const asked = await fetch(`${server.url}/api/auth/oauth2/authorize?${query}`, { headers: cookie(), redirect: "manual" });
  expect(asked.status).toBe(302);
  return asked.headers.get("location") ?? "";
}
const cookie = () => ({ cookie: `gatehouse.session_token=${ann.session}` });

/** What the page shows for a request that a program of such a name makes. */
async function shown(redirect_uri: string, client_name = "An editor"): Promise<string> {
  return (await fetch(await led(redirect_uri, client_name), { headers: cookie() })).text();
}

const HERE = "a program on this computer, and nowhere else";
test.each([
  ["http://127.0.0.1/callback", "127.0.0.1", true],
  ["https://app.example:8443/callback", "app.example:8443", false],
  ["https://127.0.0.1.evil.example/", "127.0.0.1.evil.example", false],
  ["https://gаtehouse.example/", "xn--gtehouse-16g.example", false],
  ["com.example.app:/callback", "com.example.app", true],
  // By a scheme of one's own, all else is one's own too: it must not look like an address.
  ["com.evil://bank.example/callback", "com.evil", true],
  ["com.evil://127.0.0.1/callback", "com.evil", true],
])("an answer to %s goes to %s", async (redirect, where, here) => {
  const page = await shown(redirect);
  expect(/The answer goes to <code>(.*?)<\/code>/.exec(page)?.[1]).toBe(where);
  expect(page.includes(HERE)).toBe(here);
});

test("what a program calls itself is text, whatever it is", async () => {
  const page = await shown("https://app.example/", `</strong><script>alert("1")</script>&'`);
  expect(page).toContain("“&lt;/strong&gt;&lt;script&gt;alert(’1’)&lt;/script&gt;&amp;&#39;”");
  expect(page).not.toContain("<script>alert");
});

test("a name can't close the quotes that it is shown in, on any page", async () => {
  const name = "Editor”, checked and approved by Gatehouse, “v2";
  const shownAs = '<bdi class="named">“Editor’, checked and approved by Gatehouse, ’v2”</bdi>';
  expect(await shown("https://app.example/", name)).toContain(`A program that calls itself ${shownAs}`);

  const { slug } = (await server.call(ann.session, "space.create", { name })).result;
  await server.call(ann.session, "apiKey.create", { name });
  const { id } = (await server.call(ann.session, "agent.create", { name })).result;
  await server.call(ann.session, "apiKey.create", { name: "for the agent", agent: id });
  await signProgramIn((path, init) => fetch(server.url + path, init), ann.session, slug, "write:tasks", name);
  const account = await (await fetch(`${server.url}/account`, { headers: cookie() })).text();
  for (const text of [`Revoke ${shownAs}`, `of ${shownAs}`, `in ${shownAs}`, `Sign ${shownAs} out`]) expect(account).toContain(text);
});

test("spaces of one name are told apart, and one's own come first", async () => {
  const mallory = await server.user("Mallory");
  await server.acquaint(mallory, ann);
  const { slug: own } = (await server.call(ann.session, "space.create", { name: "Team" })).result;
  const { slug: hers } = (await server.call(mallory.session, "space.create", { name: "Team" })).result;
  await server.call(mallory.session, "principal.add", { principal: ann.id }, hers);
  const [, mine = "", others = ""] =
    /<select.*?label="Made by you">(.*?)<\/optgroup><optgroup label="Made by others">(.*?)<\/optgroup><\/select>/s.exec(
      await shown("https://app.example/"),
    ) ?? [];
  expect(mine).toContain(`<option value="${own}">Team (${own})</option>`);
  expect(mine).not.toContain(hers);
  expect(others).toContain(`<option value="${hers}">Team (${hers}, by Mallory)</option>`);
});

test("nobody is led to the web or into another program before they were asked, whatever a program does wrong", async () => {
  const wrongs: Record<string, string>[] = [
    { scope: "admin" },
    { response_type: "token" },
    { code_challenge_method: "plain" },
    { prompt: "none", scope: "account" },
    { resource: "https://evil.example/" },
    { prompt: "select_account", request: "x" },
    { max_age: "x" },
  ];
  for (const redirect of ["https://evil.example/lure", "com.evil.lure:/callback", "com.evil.lure://callback"]) {
    await server.sql`delete from auth.attempts`;
    for (const wrong of wrongs) {
      const { origin, pathname, searchParams } = new URL(await led(redirect, "Lure", wrong));
      // Some of it is no longer wrong where consent is asked for each time.
      expect([origin, ["/sign-in", "/consent"].includes(pathname)], `${redirect} ${JSON.stringify(wrong)}`).toEqual([server.url, true]);
      if (pathname === "/sign-in") expect(searchParams.get("error")).toMatch(/^\w+$/);
    }
  }
  // On this computer, the program learns what was wrong.
  expect(await led("http://127.0.0.1:1/callback", "An editor", { scope: "admin" })).toContain(
    "http://127.0.0.1:1/callback?error=invalid_scope",
  );
});

test("a program that registered before with a scheme of the system's leads nobody anywhere, also not to consent", async () => {
  for (const redirect of ["search-ms:query=x", "ms-appinstaller:?source=https://evil.example/x.msix", "evil://callback"]) {
    const { client_id = "" } = Object.fromEntries(new URL(await led("https://evil.example/lure", "Lure")).searchParams);
    await server.sql`update auth."oauthClient" set "redirectUris" = ${server.sql.json([redirect])} where "clientId" = ${client_id}`;
    for (const scope of ["write:tasks", "admin"]) {
      const query = {
        client_id,
        redirect_uri: redirect,
        response_type: "code",
        scope,
        code_challenge: "A".repeat(43),
        code_challenge_method: "S256",
      };
      const url = `${server.url}/api/auth/oauth2/authorize?${new URLSearchParams(query)}`;
      const asked = await fetch(url, { headers: cookie(), redirect: "manual" });
      expect(asked.headers.get("location"), redirect).toBe(`${server.url}/sign-in?error=invalid_redirect`);
    }
  }
});
