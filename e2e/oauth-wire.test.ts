import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";
import { openJar } from "./jar.ts";
import { postForm } from "./oauth.ts";
import { answerConsent, type OAuthClient, REDIRECT, standardClient } from "./oauth-client.ts";
import { allowProgram, callTool, signProgramIn } from "./program.ts";

// What clients that nobody here has written send, and what they may leave out.

let server: TestServer;
let ada: TestUser;
let slug: string;
let client: OAuthClient;
beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("Ada");
  slug = (await server.call(ada.session, "space.create", { name: "Team" })).result.slug;
  client = await standardClient(server);
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(() => server.close());

const ask = (path: string, init?: RequestInit) => {
  server.settle();
  return fetch(server.url + path, init);
};
const token = (form: Record<string, string>, headers: Record<string, string> = {}) => postForm(`${server.url}/api/v1/token`, form, headers);
const basic = (id: string, secret: string) => {
  const part = (text: string) => new URLSearchParams({ "": text }).toString().slice(1);
  return { authorization: `Basic ${Buffer.from(`${part(id)}:${part(secret)}`).toString("base64")}` };
};

/** A code of the command line, and what redeems it. */
async function codeOf(params: Record<string, string> = {}): Promise<Record<string, string>> {
  const kept = await client.begin(params);
  const back = await answerConsent(openJar(server.url), kept.address, ada);
  const code = new URL(back).searchParams.get("code") as string;
  return { grant_type: "authorization_code", client_id: "me", code, code_verifier: kept.verifier };
}

describe("a refresh that asks for less", () => {
  test("narrows the access token alone: the login keeps all that was granted, and goes on", async () => {
    const login = await signProgramIn(ask, ada.session, slug, "read:members write:tasks offline_access");
    const { client_id } = login;
    let { refresh_token = "" } = login;
    for (const [scope, expected] of [
      ["read:members", ["read:members"]],
      ["offline_access", []],
      ["write:tasks write:tasks", ["write:tasks"]],
      [undefined, ["read:members", "write:tasks"]],
    ] as const) {
      const { status, body } = await token({ grant_type: "refresh_token", client_id, refresh_token, ...(scope && { scope }) });
      expect(status, JSON.stringify(body)).toBe(200);
      if (scope) expect(body.scope.split(" ")).toEqual([...new Set(scope.split(" "))]);
      const { result } = (await callTool(ask, body.access_token, "whoami")) as { result: { credential: { scope: string[] } } };
      expect(result.credential.scope.sort()).toEqual(expected);
      expect(body.refresh_token).toMatch(/^me_refresh_/);
      refresh_token = body.refresh_token;
    }
  });

  test("is refused where it asks for more, and uses nothing up", async () => {
    const { client_id, refresh_token = "" } = await signProgramIn(ask, ada.session, slug, "read:members offline_access");
    for (const scope of ["write:tasks", "read:members write:tasks", "read:members openid", " "])
      expect((await token({ grant_type: "refresh_token", client_id, refresh_token, scope })).body.error, scope).toBe("invalid_scope");
    expect((await token({ grant_type: "refresh_token", client_id, refresh_token })).status).toBe(200);
  });

  test("takes one connection, however many come at once", async () => {
    const logins: { refresh_token: string }[] = [];
    while (logins.length < 8) logins.push((await token(await codeOf())).body);
    const startedAt = performance.now();
    const answers = await Promise.all(
      logins.map(({ refresh_token }) => token({ grant_type: "refresh_token", client_id: "me", refresh_token, scope: "account" })),
    );
    expect(answers.map(({ status }) => status)).toEqual(logins.map(() => 200));
    // Refreshes that each wait for a second connection are given up after ten seconds.
    expect(performance.now() - startedAt).toBeLessThan(8000);
  });

  test("keeps the command line signed in, too", async () => {
    const first = (await token(await codeOf())).body;
    const { body } = await token({ grant_type: "refresh_token", client_id: "me", refresh_token: first.refresh_token, scope: "account" });
    expect(body).toMatchObject({ scope: "account", refresh_token: expect.stringMatching(/^me_refresh_/) });
    expect((await server.call(body.access_token, "whoami")).result.id).toBe(ada.id);
    const { body: next } = await token({ grant_type: "refresh_token", client_id: "me", refresh_token: body.refresh_token });
    expect(next.scope.split(" ").sort()).toEqual(["account", "offline_access"]);
  });
});

describe("a code is redeemed", () => {
  test("without its redirect_uri, as OAuth 2.1 has it: PKCE proves who asks", async () => {
    const redeem = await codeOf();
    const { status, body } = await token(redeem);
    expect([status, body.token_type], JSON.stringify(body)).toEqual([200, "Bearer"]);
    // Who comes with a used code, or somebody before them, has stolen it.
    expect((await token(redeem)).body.error).toBe("invalid_grant");
    expect((await server.call(body.access_token, "whoami")).status).toBe(401);
  });

  test("only with the right redirect_uri, where it is sent", async () => {
    const redeem = await codeOf();
    expect((await token({ ...redeem, redirect_uri: `${REDIRECT}/elsewhere` })).body.error).toBe("invalid_grant");
    expect((await token({ ...(await codeOf()), redirect_uri: REDIRECT })).status).toBe(200);
  });

  test("never without the verifier, or by another client", async () => {
    const { code_verifier: _verifier, ...redeem } = await codeOf();
    expect((await token(redeem)).body.error).toBe("invalid_request");
    expect((await token({ ...redeem, code_verifier: "v".repeat(43) })).body.error).toBe("invalid_grant");
    const { client_id } = await allowProgram(ask, ada.session, slug, "write:tasks");
    expect((await token({ ...(await codeOf()), client_id: client_id as string })).body.error).toBe("invalid_grant");
    expect((await token({ grant_type: "authorization_code", client_id: "me", code: "x", code_verifier: "v".repeat(43) })).body.error).toBe(
      "invalid_grant",
    );
  });
});

describe("a client that names itself by client_secret_basic", () => {
  const KEY = { subject_token_type: "urn:ietf:params:oauth:token-type:access_token" };
  const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

  test("is read at the token endpoint, for each grant", async () => {
    const { client_id: _id, ...redeem } = await codeOf();
    const { status, body } = await token(redeem, basic("me", ""));
    expect(status, JSON.stringify(body)).toBe(200);
    const refreshed = await token({ grant_type: "refresh_token", refresh_token: body.refresh_token }, basic("me", ""));
    expect(refreshed.status, JSON.stringify(refreshed.body)).toBe(200);
    const device = await postForm(`${server.url}/api/auth/device/code`, { scope: "account" }, basic("me", ""));
    expect(device.status, JSON.stringify(device.body)).toBe(200);
    const polled = await token(
      { grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: device.body.device_code },
      basic("me", ""),
    );
    expect(polled.body.error).toBe("authorization_pending");
    expect((await token(redeem, basic("nobody here: at all", ""))).body.error).toBe("invalid_client");
  });

  test("proves itself with a key, form-encoded, to exchange, introspect and revoke", async () => {
    const { key } = (await server.call(ada.session, "apiKey.create", { name: "by basic" })).result;
    const form = { grant_type: EXCHANGE, subject_token: key, ...KEY, space: slug, scope: "read:tasks" };
    const made = await token(form, basic("any name: +&%", key));
    expect(made.status, made.text).toBe(200);
    const inspected = await postForm(`${server.url}/api/v1/introspect`, { token: made.body.access_token }, basic("any", key));
    expect(inspected.body).toMatchObject({ active: true });
    expect((await postForm(`${server.url}/api/v1/revoke`, { token: made.body.access_token }, basic("any", key))).status).toBe(200);
    expect((await server.call(made.body.access_token, "whoami")).status).toBe(401);
  });

  test("ends its own login by its name alone, and not that of another", async () => {
    const login = await signProgramIn(ask, ada.session, slug, "read:members offline_access");
    const revoke = (id: string) => postForm(`${server.url}/api/v1/revoke`, { token: login.access_token }, basic(id, ""));
    expect((await revoke("me")).body.error).toBe("invalid_grant");
    expect((await callTool(ask, login.access_token, "whoami")).result).toBeDefined();
    expect((await revoke(login.client_id)).status).toBe(200);
    expect(await callTool(ask, login.access_token, "whoami")).toEqual({ code: "UNAUTHENTICATED" });
  });

  test("does so in one way, by one name, and not with a secret that it has not", async () => {
    const { key } = (await server.call(ada.session, "apiKey.create", { name: "twice" })).result;
    for (const path of ["token", "introspect", "revoke"]) {
      const form = { grant_type: EXCHANGE, token: key, subject_token: key, ...KEY, space: slug, scope: "read:tasks" };
      const send = (more: Record<string, string>, headers: Record<string, string>) =>
        postForm(`${server.url}/api/v1/${path}`, { ...form, ...more }, headers);
      expect((await send({ client_secret: key }, basic("any", key))).body, path).toMatchObject({ error: "invalid_request" });
      expect((await send({ client_secret: key }, { authorization: `Bearer ${key}` })).body, path).toMatchObject({
        error: "invalid_request",
      });
      expect((await send({ client_id: "other" }, basic("any", key))).body, path).toMatchObject({ error: "invalid_request" });
      const encoded = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` });
      for (const wrong of [encoded(key), encoded(`any:${key}%`), encoded(`any:%FF${key}`), { authorization: "Basic a" }])
        expect((await send({}, wrong)).status, `${path} ${wrong.authorization}`).toBe(401);
    }
    expect((await server.call(key, "whoami")).result.id).toBe(ada.id);
    for (const [form, headers] of [
      [{ client_secret: "x" }, {}],
      [{}, basic("me", "x")],
    ] as const)
      expect((await token({ ...(await codeOf()), ...form }, headers)).body.error).toBe("invalid_client");
  });
});

test("a credential with white space or a BOM around it is not one, in whichever parameter it comes", async () => {
  const { key } = (await server.call(ada.session, "apiKey.create", { name: "bare" })).result;
  const { token: jwt } = (await server.call(ada.session, "token.create", { space: slug, scope: ["read:tasks"] })).result;
  const exchange = { grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", space: slug, scope: "read:tasks" };
  const type = { subject_token_type: "urn:ietf:params:oauth:token-type:access_token" };
  for (const credential of [key, jwt])
    for (const written of [` ${credential}`, `${credential} `, `${credential}\n`, `\ufeff${credential}`, `\t${credential}`]) {
      expect((await token({ ...exchange, ...type, subject_token: written })).status, JSON.stringify(written)).toBe(400);
      const introspect = (form: Record<string, string>, headers = {}) => postForm(`${server.url}/api/v1/introspect`, form, headers);
      expect((await introspect({ token: key, client_secret: written })).status).toBe(401);
      expect((await introspect({ token: written }, { authorization: `Bearer ${ada.session}` })).body).toEqual({ active: false });
      await postForm(`${server.url}/api/v1/revoke`, { token: written });
      expect((await server.call(credential, "whoami")).status).toBe(200);
    }
});

describe("what a program asks for", () => {
  test.each([["OPENID"], ["openid profile email"], ["everything"]])(
    "beyond what there is (%s) is left out, and it is told what it got",
    async (extra) => {
      const mine = (await token(await codeOf({ scope: `${extra} account offline_access` }))).body;
      expect(mine.scope.split(" ").sort()).toEqual(["account", "offline_access"]);
      const widened: typeof ask = (path, init) => ask(path.replace("scope=", `scope=${extra.replaceAll(" ", "+")}+account+`), init);
      const program = await token(await allowProgram(widened, ada.session, slug, "read:members"));
      expect(program.body.scope, program.text).toBe("read:members");
      const { device_code, user_code } = await (
        await ask("/api/auth/device/code", { method: "POST", body: new URLSearchParams({ client_id: "me", scope: `account ${extra}` }) })
      ).json();
      await ask(`/api/auth/device?user_code=${user_code}`, { headers: { authorization: `Bearer ${ada.session}` } });
      const approved = await ask("/api/auth/device/approve", {
        method: "POST",
        headers: { authorization: `Bearer ${ada.session}`, "content-type": "application/json" },
        body: JSON.stringify({ userCode: user_code }),
      });
      expect(approved.status).toBe(200);
      const polled = await token({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", client_id: "me", device_code });
      expect(polled.body.scope, polled.text).toBe("account");
    },
  );

  /** The addresses of this server as another program may write them. */
  const written = (path: string) => {
    const { port } = new URL(server.url);
    return [`HTTP://127.0.0.1:${port}${path}`, `http://127.0.0.1:0${port}${path}`, `http://127.1:${port}${path}`];
  };

  test("is the same resource, however its address is written; the server as a whole is one, too", async () => {
    for (const resource of [...written(""), ...written("/"), ...written("/api/v1/user/rpc")]) {
      const login = await token({ ...(await codeOf({ resource })), resource });
      expect(login.status, `${resource} ${login.text}`).toBe(200);
      const form = { grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", space: slug, scope: "read:tasks" };
      const subject = { subject_token: ada.session, subject_token_type: "urn:ietf:params:oauth:token-type:access_token" };
      expect((await token({ ...form, ...subject, resource, audience: resource })).status, resource).toBe(200);
    }
    for (const resource of [...written("/mcp"), server.url, `${server.url}/`]) {
      const redeem = await allowProgram((path, init) => ask(withResource(path, resource), init), ada.session, slug, "read:members");
      const login = await token({ ...redeem, resource });
      expect(login.status, `${resource} ${login.text}`).toBe(200);
      expect(await callTool(ask, login.body.access_token, "whoami")).toMatchObject({ result: { id: ada.id } });
      expect((await server.call(login.body.access_token, "whoami")).status).toBe(401);
    }
  });

  test("is refused where it is of another server, or of another door", async () => {
    for (const resource of [
      "https://evil.example/",
      `${server.url}/elsewhere`,
      `${server.url}#`,
      "mcp",
      `${server.url.replace("http", "https")}/mcp`,
    ]) {
      expect((await token({ ...(await codeOf()), resource })).body.error, resource).toBe("invalid_target");
      await expect(
        allowProgram((path, init) => ask(withResource(path, resource), init), ada.session, slug, "read:members"),
      ).rejects.toThrow();
    }
    await expect(
      allowProgram((path, init) => ask(withResource(path, `${server.url}/api/v1/user/rpc`), init), ada.session, slug, "read:members"),
    ).rejects.toThrow();
  });

  const withResource = (path: string, resource: string) =>
    path.startsWith("/api/auth/oauth2/authorize") ? `${path}&${new URLSearchParams({ resource })}` : path;
});

describe("a request to sign in", () => {
  const begin = async (params: Record<string, string>) => {
    const { address } = await client.begin(params);
    const answer = await openJar(server.url).get(address);
    return new URL(answer.headers.get("location") as string);
  };

  test("that is too long is refused at once, whatever makes it so, with a page that says so", async () => {
    for (const name of ["state", "nonce", "login_hint", "display", "code_challenge", "scope", "anything"]) {
      const location = await begin({ [name]: "x".repeat(7000) });
      expect([location.origin, location.pathname, location.searchParams.get("error")], name).toEqual([
        server.url,
        "/sign-in",
        "request_too_long",
      ]);
      expect(await (await fetch(location)).text()).toContain("its request is too long");
    }
    // What counts is what goes through the pages: a character of three bytes is nine there.
    expect((await begin({ state: "€".repeat(700) })).searchParams.get("error")).toBe("request_too_long");
  });

  test("of many short parts goes through to its code, or is refused at once", async () => {
    const parts = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, "x"]));
    const ended = [];
    for (const count of [50, 200, 250, 300, 330, 380, 600]) {
      const { origin, pathname, search, searchParams } = await begin(parts(count));
      expect(origin + pathname).toBe(`${server.url}/sign-in`);
      ended.push(searchParams.get("error"));
      expect((await fetch(`${server.url}/sign-in${search}`)).status, `${count}: ${search.length}`).toBe(200);
      if (searchParams.has("error")) continue;
      const { address } = await client.begin(parts(count));
      expect(new URL(await answerConsent(openJar(server.url), address, ada)).searchParams.get("code")).toBeTruthy();
    }
    expect([ended[0], ended.at(-1)]).toEqual([null, "request_too_long"]);
  });

  test("that is as long as may be gets through to its code", async () => {
    const bare = (await client.begin({ state: "" })).address.split("?")[1]?.length ?? 0;
    for (const state of ["x".repeat(6144 - bare), "%".repeat(Math.floor((6144 - bare) / 3))]) {
      const kept = await client.begin({ state });
      const back = new URL(await answerConsent(openJar(server.url), kept.address, ada));
      expect(back.searchParams.get("state")).toBe(state);
      expect(back.searchParams.get("code")).toBeTruthy();
    }
    expect((await begin({ state: "x".repeat(6145 - bare) })).searchParams.get("error")).toBe("request_too_long");
  });
});
