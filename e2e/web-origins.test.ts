import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { routes as sessionRoutes } from "../packages/server/src/sessions/door.ts";
import { openWindow } from "./browser.ts";
import { startTestServer, type TestUser } from "./harness.ts";
import { openJar } from "./jar.ts";
import { Issuer } from "./oidc-issuer.ts";
import { freePort, type NamedServer, signInto, startNamedServer } from "./pages-world.ts";
import { inputOf, routes, valuesFor } from "./people-routes.ts";

// Which web pages may use the cookie of a visitor, which may call with a token alone, and which may do neither.

let server: NamedServer;
let ada: TestUser;
let cookie: string;
/** Pages of other servers under the same name: a browser sends them the cookies, as to a subdomain (SameSite counts no ports). */
let pages: { chat: string; console: string };
const opened: Server[] = [];
/** Web origins that no operator has listed: of another site, of a sandboxed frame, and of other servers of the same site. */
const FOREIGN = ["https://evil.example", "null", "http://evil.localhost:8080", "http://localhost", "https://localhost"];

async function openPage(): Promise<string> {
  const port = await freePort();
  const page = createServer((_request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<title>A page</title>"));
  opened.push(page.listen(port, "localhost"));
  return `http://localhost:${port}`;
}

beforeAll(async () => {
  pages = { chat: await openPage(), console: await openPage() };
  server = await startNamedServer({ ALLOWED_ORIGINS: pages.chat, COOKIE_ORIGINS: pages.console });
  ada = await server.user("Ada");
  cookie = `gatehouse.session_token=${encodeURIComponent(ada.session)}`;
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  for (const page of opened) page.close();
  await server.close();
});

interface Ask {
  verb: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

const JSON_TYPE = { "content-type": "application/json" };
const rpc = (method: string, params = {}) => JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });

/** One question to each door that knows who asks, which the visitor's own cookie would open: from the lists of the doors themselves. */
async function questions(): Promise<Ask[]> {
  const { slug } = (await server.call(ada.session, "space.create", { name: "Home" })).result;
  const inSpace = { "x-me-space": slug, ...JSON_TYPE };
  const evaluation = { subject: { type: "user", id: ada.id }, action: { name: "read" }, resource: { type: "tasks", id: "support" } };
  return [
    { verb: "POST", path: "/api/v1/user/rpc", headers: JSON_TYPE, body: rpc("apiKey.create", { name: `key ${keyNames++}` }) },
    { verb: "POST", path: "/api/v1/space/rpc", headers: inSpace, body: rpc("invite.create", { email: "x@example.com" }) },
    { verb: "POST", path: "/access/v1/evaluation", headers: inSpace, body: JSON.stringify(evaluation) },
    { verb: "POST", path: "/access/v1/evaluations", headers: inSpace, body: JSON.stringify({ evaluations: [evaluation] }) },
    { verb: "POST", path: "/api/v1/introspect", body: new URLSearchParams({ token: ada.session }).toString() },
    ...sessionRoutes.map(({ verb, path }) => ({
      verb,
      path: `/api/v1${path.replace("*", "support").replace(/:\w+/, crypto.randomUUID())}`,
      headers: inSpace,
      ...(verb !== "GET" && { body: "{}" }),
    })),
  ];
}

let keyNames = 0;
const send = ({ verb, path, headers, body }: Ask, more: Record<string, string>) =>
  fetch(server.url + path, {
    method: verb,
    headers: { ...headers, ...(body && !headers && { "content-type": "application/x-www-form-urlencoded" }), ...more },
    ...(body !== undefined && { body }),
  });

const keys = async () => (await server.sql`select from api_keys where principal_id = ${ada.id}`).length;

test("the cookie of a visitor opens no door to a page of an origin that may only call with a token, nor to any other", async () => {
  const asked = await questions();
  const before = await keys();
  for (const origin of [pages.chat, ...FOREIGN, undefined])
    for (const ask of asked) {
      const answer = await send(ask, { cookie, ...(origin && { origin }) });
      expect(answer.status, `${origin} ${ask.verb} ${ask.path}`).toBe(401);
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
      expect(answer.headers.get("access-control-allow-origin")).toBe(origin === pages.chat ? origin : null);
    }
  expect(await keys()).toBe(before);
  for (const origin of [server.origin, pages.console])
    for (const ask of await questions()) {
      const answer = await send(ask, { cookie, origin });
      expect(answer.status, `${origin} ${ask.verb} ${ask.path}`).not.toBe(401);
      expect(answer.headers.get("access-control-allow-credentials")).toBe("true");
      expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
    }
  expect(await keys()).toBe(before + 2);
});

test("a page that may only call with a token does so at each door, and reads the answer", async () => {
  for (const ask of await questions()) {
    const answer = await send(ask, { cookie, origin: pages.chat, authorization: `Bearer ${ada.session}` });
    expect(answer.status, `${ask.verb} ${ask.path}`).not.toBe(401);
    expect(answer.headers.get("access-control-allow-origin")).toBe(pages.chat);
    expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    // A visitor's cookie does not stand in for a token that is not good.
    expect((await send(ask, { cookie, origin: pages.chat, authorization: "Bearer nonsense" })).status).toBe(401);
  }
});

const values = valuesFor("nobody@example.com");
const query = { "/callback/:id": { code: "x", state: "y" }, "/oauth2/authorize": { client_id: "me" } };

test.each(routes)("$method $path signs nobody in or out for a page of another origin, with or without a cookie", async (route) => {
  const input = inputOf(route, values, query);
  const url = new URL(`/api/auth${route.path.replace(":id", "corp")}`, server.url);
  const ask = (headers: Record<string, string>) => {
    const init: RequestInit = { method: route.method, headers: { ...JSON_TYPE, ...headers }, redirect: "manual" };
    if (route.method === "POST") init.body = JSON.stringify(input);
    else url.search = new URLSearchParams(input as Record<string, string>).toString();
    return fetch(url, init);
  };
  const elsewhere: Record<string, string>[] = [pages.chat, ...FOREIGN].map((origin) => ({ origin }));
  // A browser names no origin where it is not to read the answer, but says that it is asked from elsewhere.
  for (const site of ["same-site", "cross-site"]) elsewhere.push({ "sec-fetch-site": site, "sec-fetch-mode": "no-cors" });
  for (const headers of elsewhere)
    for (const more of [{}, { cookie }] as Record<string, string>[]) {
      const answer = await ask({ ...headers, ...more });
      expect([answer.status, (await answer.json()).code], JSON.stringify(headers)).toEqual([403, "FORBIDDEN"]);
      expect(answer.headers.getSetCookie()).toEqual([]);
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    }
  expect((await server.call(ada.session, "whoami")).result.id).toBe(ada.id);
});

test("a preflight promises cookies to the pages that may use them, and to no other", async () => {
  const paths = [...(await questions()).map(({ path }) => path), "/mcp", "/api/v1/token", "/api/auth/sign-in/email", "/account"];
  for (const path of new Set(paths))
    for (const [origin, allowed, credentials] of [
      [server.origin, server.origin, "true"],
      [pages.console, pages.console, "true"],
      [pages.chat, pages.chat, null],
      ...FOREIGN.map((foreign) => [foreign, null, null] as const),
    ] as const) {
      const { headers } = await fetch(server.url + path, {
        method: "OPTIONS",
        headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" },
      });
      expect([headers.get("access-control-allow-origin"), headers.get("access-control-allow-credentials")], `${origin} ${path}`).toEqual([
        allowed,
        credentials,
      ]);
      expect(headers.get("vary")).toContain("Origin");
    }
});

test("in a real browser, a page with a chat can't use its visitor's cookie, whatever it tries; one of COOKIE_ORIGINS can", async () => {
  const before = await keys();
  const { page } = await openWindow();
  await signInto(page, server.origin, ada);
  /** Asks from the page, in each way that a page has. @returns what it could read */
  const tries = async (origin: string) => {
    await page.goto(origin);
    return await page.evaluate(async (server) => {
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "apiKey.create", params: { name: `from ${location.origin}` } });
      const at = `${server}/api/v1/user/rpc`;
      const json = { "content-type": "application/json" };
      const read = (asked: Promise<Response>) =>
        asked.then(
          async (answer) => `${answer.status} ${(await answer.text()).includes('"result"') ? "made" : "refused"}`,
          () => "unread",
        );
      return [
        await read(fetch(at, { method: "POST", credentials: "include", headers: json, body })),
        await read(fetch(at, { method: "POST", credentials: "omit", headers: json, body })),
        await read(fetch(at, { method: "POST", credentials: "include", mode: "no-cors", body })),
        await read(fetch(`${server}/api/auth/get-session`, { credentials: "include" })),
        await read(fetch(`${server}/api/auth/sign-out`, { method: "POST", credentials: "include", mode: "no-cors", body: "{}" })),
      ];
    }, server.origin);
  };
  expect(await tries(pages.chat)).toEqual(["unread", "401 refused", "unread", "unread", "unread"]);
  // A form needs no permission to be sent, and names the origin that it is from.
  await page.evaluate((server) => {
    const form = Object.assign(document.createElement("form"), {
      method: "post",
      action: `${server}/api/auth/sign-out`,
      enctype: "text/plain",
    });
    document.body.append(form);
    form.submit();
  }, server.origin);
  await page.waitForNavigation().catch(() => {});
  expect(await keys()).toBe(before);
  expect((await server.call(ada.session, "whoami")).result.id).toBe(ada.id);

  expect((await tries(pages.console)).slice(0, 2)).toEqual(["200 made", "401 refused"]);
  expect(await keys()).toBe(before + 1);
});

test("following a link from elsewhere shows the visitor their own pages", async () => {
  const jar = openJar(server.url);
  const answer = await fetch(`${server.url}/account`, {
    headers: { cookie, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" },
  });
  expect([answer.status, (await answer.text()).includes(ada.email)]).toEqual([200, true]);
  expect((await jar.get("/account")).headers.get("location")).toContain("/sign-in");
});

test("over TLS each cookie is of this host alone: none that another host of the site has set signs anybody in", async () => {
  const corp = await Issuer.start();
  const tls = await startTestServer({
    PUBLIC_URL: "https://gate.example.com",
    OIDC_PROVIDERS: JSON.stringify([{ id: "corp", name: "Corp", issuer: corp.url, clientId: "gatehouse", clientSecret: "hush" }]),
  });
  try {
    const { email, password } = await tls.user("Ada");
    const ask = (path: string, body?: object, headers: Record<string, string> = {}) => {
      const post: RequestInit = body ? { method: "POST", body: JSON.stringify(body) } : {};
      return fetch(`${tls.url}/api/auth${path}`, { ...post, headers: { ...JSON_TYPE, origin: "https://gate.example.com", ...headers } });
    };
    const answers = await Promise.all([
      ask("/sign-in/email", { email, password }),
      ask("/passkey/generate-authenticate-options"),
      ask("/sign-in/social", { provider: "corp", callbackURL: "/account" }),
    ]);
    for (const answer of answers) {
      const cookies = answer.headers.getSetCookie();
      expect(cookies.length, answer.url).toBeGreaterThan(0);
      for (const cookie of cookies) {
        expect(cookie).toMatch(/^__Host-gatehouse\./);
        const attributes = cookie.split("; ").map((part) => part.toLowerCase());
        expect(attributes).toEqual(expect.arrayContaining(["path=/", "secure", "httponly", "samesite=lax"]));
        expect(attributes.some((part) => part.startsWith("domain"))).toBe(false);
      }
    }
    const [, value = ""] = /^[^=]+=([^;]+)/.exec(answers[0]?.headers.getSetCookie()[0] ?? "") ?? [];
    const whose = async (name: string) => (await (await ask("/get-session", undefined, { cookie: `${name}=${value}` })).json())?.user.email;
    expect(await whose("__Host-gatehouse.session_token")).toBe(email);
    for (const name of ["gatehouse.session_token", "__Secure-gatehouse.session_token"]) expect(await whose(name)).toBeUndefined();
  } finally {
    await tls.close();
    corp.server.close();
  }
});
