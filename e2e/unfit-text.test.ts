import { createUser, openDatabase } from "@gatehouse/server";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { makeDatabase, onDatabase, startTestServer, type TestServer } from "./harness.ts";
import { openProvider } from "./identity-provider.ts";
import { openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { inputOf, routes, sendTo, valuesFor } from "./people-routes.ts";
import { makeHome, startUp } from "./run.ts";

// Text that Postgres keeps nowhere, at the doors for people and for their programs; and what fails inside of better-auth.

let box: Awaited<ReturnType<typeof openMailbox>>;
let corp: Awaited<ReturnType<typeof openProvider>>;
let server: TestServer;
beforeAll(async () => {
  [box, corp] = [await openMailbox(), await openProvider()];
  server = await startTestServer({ SIGN_UP: "open", ...box.settings, ...corp.settings() });
});
beforeEach(() => server.sql`delete from auth.attempts`);
afterAll(async () => {
  await server.close();
  await Promise.all([box.close(), corp.close()]);
});

const queries = {
  "/oauth2/authorize": { client_id: "me", response_type: "code", redirect_uri: "http://127.0.0.1/callback", scope: "account", state: "s" },
  "/callback/:id": { state: "s", code: "c" },
};
/** An object with unfit text added to one of the strings in it, in each way there is. */
function* spoilt(object: Record<string, unknown>, unfit: string): Generator<Record<string, unknown>> {
  for (const [name, value] of Object.entries(object)) {
    if (typeof value === "string") yield { ...object, [name]: value + unfit };
    else if (typeof value === "object") for (const inner of spoilt(value as typeof object, unfit)) yield { ...object, [name]: inner };
  }
}

test("each field of each door for people refuses a NUL, and half of a surrogate pair", async () => {
  const values = valuesFor((await server.user("Ada")).email);
  for (const route of routes) {
    const input = inputOf(route, values, queries);
    for (const unfit of route.method === "POST" ? ["\0", "\ud800", "\udc00!"] : ["\0"])
      for (const sent of spoilt(input, unfit)) {
        const { status, code, text } = await sendTo(server.url, route, sent);
        expect([status, code], `${route.path} ${JSON.stringify(sent)}: ${text}`).toEqual([400, "INVALID_PARAMS"]);
        await server.sql`delete from auth.attempts`;
      }
  }
  const byPath = await fetch(`${server.url}/api/auth/callback/x%00?state=s&code=c`);
  expect([byPath.status, (await byPath.json()).code]).toEqual([400, "INVALID_PARAMS"]);
});

test("nor does a door for people take what parsers disagree about, or what is no id", async () => {
  const ada = await server.user("Ada");
  const send = async (path: string, body: string) => {
    const answer = await fetch(`${server.url}/api/auth${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${ada.session}` },
      body,
    });
    return [answer.status, (await answer.json()).code];
  };
  const deep = (levels: number) => `{"response":{"id":"x","deep":${"[".repeat(levels)}${"]".repeat(levels)}}}`;
  const bodies: [string, string][] = [
    ["/passkey/verify-registration", deep(100)],
    ["/passkey/verify-authentication", deep(7000)],
    ["/sign-in/email", `{"email":"${ada.email}","email":"eve@example.com","password":"x"}`],
    ["/passkey/delete-passkey", '{"id":"x"}'],
    ["/passkey/update-passkey", '{"id":"4197f0c0-0000-4000-8000-000000000000","name":"x"}'],
  ];
  for (const [path, body] of bodies) expect(await send(path, body), path).toEqual([400, "INVALID_PARAMS"]);
});

test("each parameter of each endpoint for programs refuses a NUL, in the words of OAuth", async () => {
  const token = "/api/v1/token";
  const own = { client_id: "me" };
  const exchange = { subject_token: "t", subject_token_type: "urn:ietf:params:oauth:token-type:access_token", space: "s", scope: "read" };
  const forms: [string, Record<string, string>][] = [
    [
      token,
      { grant_type: "authorization_code", code: "c", redirect_uri: "http://127.0.0.1/callback", code_verifier: "v".repeat(43), ...own },
    ],
    [token, { grant_type: "refresh_token", refresh_token: "t", scope: "account", ...own }],
    [token, { grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: "d", ...own }],
    [token, { grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", ...exchange }],
    ["/api/v1/revoke", { token: "t", ...own }],
    ["/api/v1/introspect", { token: "t" }],
    ["/api/auth/device/code", { scope: "account", ...own }],
  ];
  for (const [path, form] of forms)
    for (const sent of spoilt(form, "\0")) {
      const { status, body } = await openJar(server.url).form(path, sent as Record<string, string>);
      const { error, code, error_description } = body;
      expect([status, error, code], `${path} ${JSON.stringify(sent)}`).toEqual([400, "invalid_request", "INVALID_PARAMS"]);
      expect(error_description).toMatch(/NUL/);
      await server.sql`delete from auth.attempts`;
    }
});

test("what fails inside of better-auth is INTERNAL_ERROR, in one line of the log, with the request and the cause", async () => {
  const address = await makeDatabase();
  const running = await startUp(await makeHome(), onDatabase(address));
  const sql = openDatabase(address);
  const [email, password] = ["ada@example.com", "correct horse battery staple"];
  await createUser(sql, { email, name: "Ada", password });
  const jar = openJar(running.url);
  await jar.signIn(email, password);
  await sql`alter table auth.passkey rename to no_passkey`;
  await sql`alter table auth."deviceCode" rename to no_device`;
  await sql.end();

  const asks = {
    "/passkey/list-user-passkeys": () => jar.get("/api/auth/passkey/list-user-passkeys"),
    "/passkey/delete-passkey": () => jar.post("/api/auth/passkey/delete-passkey", { id: "0197f0c0-0000-7000-8000-000000000000" }),
    "/device": () => jar.get("/api/auth/device?user_code=ABCDEFGH"),
    "/api/v1/token": () =>
      jar.form("/api/v1/token", { grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: "d", client_id: "me" }),
  };
  const failed: { route: string; requestId: string }[] = [];
  for (const [route, ask] of Object.entries(asks)) {
    const { status, body } = await ask();
    expect([status, body.code], route).toEqual([500, "INTERNAL_ERROR"]);
    failed.push({ route, requestId: body.requestId });
  }
  const { stderr } = await running.stop();
  const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
  const errors = lines.map((line) => JSON.parse(line)).filter(({ level }) => level >= 50);
  expect(errors).toMatchObject(failed.map((line) => ({ ...line, cause: { name: "DatabaseError", code: "42P01" } })));
  // Nothing but the log, and what a person is told who starts it.
  expect(stderr).not.toMatch(/SERVER_ERROR|^\s+at /m);
});
