import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer as createHttp, type RequestListener } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createUserClient, GatehouseError } from "@gatehouse/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { type Certificate, selfSigned } from "./certificates.ts";
import { type Home, ME, makeHome, me, start, until } from "./run.ts";

const KEY = "me_pat_of nobody";
const open: Server[] = [];
let home: Home;
let authority: Certificate;
beforeAll(async () => {
  authority = selfSigned();
  home = await makeHome({ ME_API_KEY: KEY });
  await writeFile(join(home.folder, "authority.pem"), authority.cert);
  home.env.NODE_EXTRA_CA_CERTS = join(home.folder, "authority.pem");
});
afterAll(() => {
  for (const server of open) server.close();
});

/** Listens on a free port of this machine. @returns where */
async function listen(server: Server, scheme: string): Promise<string> {
  open.push(server.on("tlsClientError", () => {}));
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const raw = (say: (socket: Socket) => void) =>
  createServer((socket) => {
    socket.on("error", () => {});
    say(socket);
  });
const answering = (header: string, body: string) =>
  raw((socket) => socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\n${header}\r\n\r\n${body}`)));
const hello: RequestListener = (_request, response) => response.end("hello");
const secured = ({ cert, key }: Certificate) => createHttps({ cert, key }, hello);
const past = { from: new Date("2020-01-01"), until: new Date("2020-02-01") };
const future = { from: new Date("2100-01-01"), until: new Date("2100-02-01") };

/** Said where no TLS comes about: whatever the server lacks, nobody is led to send a key in clear. */
const NO_TLS = /^Error: https:\S+ does not agree on TLS: (?!.*http:).*ask the server's operator\.$/m;

/** A way in which a server can't be reached: what is there, and what is said of it. */
interface Trouble {
  at: () => string | Promise<string>;
  says: RegExp;
  code?: "UNREACHABLE" | "BAD_ANSWER" | "UNSENDABLE";
  env?: Record<string, string>;
}
const redirecting =
  (location: string): RequestListener =>
  (_request, response) =>
    response.writeHead(308, { location }).end();
const troubles: Record<string, Trouble> = {
  "nobody listens": {
    at: async () => {
      const server = raw(() => {});
      const url = await listen(server, "http");
      server.close();
      return url;
    },
    says: /does not answer: nothing accepts connections there\. Start the server, or check host and port\.$/m,
  },
  "no host has that name": {
    at: () => "http://gatehouse.invalid",
    says: /can't be found: no host of that name is known\. Check the spelling/,
  },
  "its certificate has expired": {
    at: () => listen(secured(authority.signs(["127.0.0.1"], past)), "https"),
    says: /has a certificate that has expired\. Check the clock of this machine/,
  },
  "its certificate is not valid yet": {
    at: () => listen(secured(authority.signs(["127.0.0.1"], future)), "https"),
    says: /has a certificate that is not valid yet\. Check the clock/,
  },
  "its certificate is for another name": {
    at: () => listen(secured(authority.signs(["other.example"])), "https"),
    says: /has a certificate for another host name\. Use the name/,
  },
  "its certificate is self-signed": {
    at: () => listen(secured(selfSigned("127.0.0.1")), "https"),
    says: /does not trust: self-signed, or of a private authority\. .*NODE_EXTRA_CA_CERTS=/,
  },
  "its certificate is of an unknown authority": {
    at: () => listen(secured(selfSigned().signs(["127.0.0.1"])), "https"),
    says: /does not trust: self-signed, or of a private authority/,
  },
  "its certificate is for a client": {
    at: () => listen(secured(authority.signs(["127.0.0.1"], { purpose: "client" })), "https"),
    says: /has a certificate that is not accepted: .* Ask the server's operator\.$/m,
  },
  "its certificate is vouched for by one that may not": {
    at: () => {
      const no = authority.signs(["other.example"]);
      const { cert, key } = no.signs(["127.0.0.1"]);
      return listen(secured({ ...no, cert: cert + no.cert, key }), "https");
    },
    says: /has a certificate that is not accepted: .* Ask the server's operator\.$/m,
  },
  "it speaks no TLS": { at: () => listen(createHttp(hello), "https"), says: NO_TLS },
  "it wants a client certificate": {
    at: () => {
      const { cert, key } = authority.signs(["127.0.0.1"]);
      return listen(createHttps({ cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: true }, hello), "https");
    },
    says: NO_TLS,
  },
  "it speaks only an old TLS": {
    // The answer to each greeting: the fatal alert `protocol_version` (RFC 8446, section 6.2).
    at: () =>
      listen(
        raw((socket) => socket.once("data", () => socket.end(Buffer.from([21, 3, 2, 0, 2, 2, 70])))),
        "https",
      ),
    says: NO_TLS,
  },
  "it speaks TLS": {
    at: () => listen(secured(authority.signs(["127.0.0.1"])), "http"),
    says: /the connection was closed\. .*may have to begin with https:\/\//,
  },
  "it says that it speaks TLS": {
    at: () =>
      listen(
        createHttp((_request, response) => response.writeHead(400).end("The plain HTTP request was sent to HTTPS port")),
        "http",
      ),
    says: /answered with status 400, but not as a Gatehouse does\. Check the address, which may have to begin with https:\/\//,
    code: "BAD_ANSWER",
  },
  "it speaks another protocol": {
    at: () =>
      listen(
        raw((socket) => socket.write("SSH-2.0-OpenSSH\r\n")),
        "http",
      ),
    says: /answers, but not in HTTP\. Check the port\.$/m,
  },
  "it hangs up": {
    at: () =>
      listen(
        raw((socket) => socket.once("data", () => socket.end())),
        "http",
      ),
    says: /the connection was closed\. Try again/,
  },
  "its answer has no length that can be": {
    at: () => listen(answering("content-length: five", "hello"), "http"),
    says: /answers, but the answer is damaged\. Try again/,
  },
  "it redirects": {
    at: () => listen(createHttp(redirecting("https://gatehouse.example.com/api/v1/user/rpc")), "http"),
    says: /redirects to another address, which is not followed with a credential\. If that is the server, name it: https:\/\/gatehouse\.example\.com$/m,
    code: "BAD_ANSWER",
  },
  "it redirects to what is no page": {
    at: () => listen(createHttp(redirecting("javascript:alert(1)")), "http"),
    says: /redirects to another address, .* Check the address\.$/m,
    code: "BAD_ANSWER",
  },
  "it redirects to a path of its own": {
    at: () => listen(createHttp(redirecting("/login")), "http"),
    says: /redirects to another address, .* Check the address\.$/m,
    code: "BAD_ANSWER",
  },
  ...Object.fromEntries(
    [300, 304].map((status): [string, Trouble] => [
      `it answers with ${status}, which leads nowhere`,
      {
        at: () =>
          listen(
            createHttp((_request, response) => response.writeHead(status).end()),
            "http",
          ),
        says: new RegExp(`answered with status ${status}, but not as a Gatehouse does\\. Check the address\\.$`, "m"),
        code: "BAD_ANSWER",
      },
    ]),
  ),
  "the proxy is not there": {
    at: () => "http://gatehouse.invalid",
    env: { HTTP_PROXY: "http://user:secret@127.0.0.1:1" },
    says: /nothing accepts connections there\. .* HTTP_PROXY is set: check that proxy, or put the host into NO_PROXY\.$/m,
  },
  "the proxy opens no tunnel": {
    at: () => "https://gatehouse.invalid",
    env: { https_proxy: "PROXY" },
    says: /can't be reached through the proxy\. https_proxy is set: check that proxy/,
  },
  "the proxy wants a password": {
    at: () => "http://gatehouse.invalid",
    env: { HTTP_PROXY: "PROXY" },
    says: /status 407, .* The proxy wants a user name and a password/,
    code: "BAD_ANSWER",
  },
  "the proxy answers by itself that it can't": {
    at: () => "http://gatehouse.invalid",
    env: { HTTP_PROXY: "PROXY 502" },
    says: /status 502, .* HTTP_PROXY is set: check that proxy, or put the host into NO_PROXY\.$/m,
  },
  "the proxy lets nobody there": {
    at: () => "http://gatehouse.invalid",
    env: { HTTP_PROXY: "PROXY 403" },
    says: /status 403, .* HTTP_PROXY is set: check that proxy/,
    code: "BAD_ANSWER",
  },
  "it is asked without the proxy that is set": {
    at: () => "http://127.0.0.1.nip.invalid:1",
    env: { HTTP_PROXY: "http://127.0.0.1:1", NO_PROXY: ".nip.invalid" },
    says: /no host of that name is known\. Check the spelling, then your network and its DNS\.$/m,
  },
  "the proxy is of another kind": {
    at: () => "http://gatehouse.invalid",
    env: { HTTP_PROXY: "socks5://127.0.0.1:1" },
    says: /can't be reached through the proxy\. HTTP_PROXY is set/,
  },
  "the key has a line end in it": {
    at: () => listen(createHttp(hello), "http"),
    env: { ME_API_KEY: "me_pat_a\nb" },
    says: /^Error: The key or token \(ME_API_KEY\) holds what can't be sent: a line end, or a letter beyond ASCII\. Set it anew\.$/m,
    code: "UNSENDABLE",
  },
  "the key has a letter beyond ASCII": {
    at: () => listen(createHttp(hello), "http"),
    env: { ME_API_KEY: "me_pat_ключ" },
    says: /The key or token \(ME_API_KEY\) holds what can't be sent/,
    code: "UNSENDABLE",
  },
  "the key has a letter of Latin-1": {
    at: () => listen(createHttp(hello), "http"),
    env: { ME_API_KEY: "me_pat_é" },
    says: /The key or token \(ME_API_KEY\) holds what can't be sent/,
    code: "UNSENDABLE",
  },
};
const endings = { UNREACHABLE: exitCodes.unreachable, BAD_ANSWER: exitCodes.error, UNSENDABLE: exitCodes.usage };
const proxyAnswering = (status = "407") =>
  listen(
    raw((socket) => socket.once("data", () => socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`))),
    "http",
  );

test.each(Object.keys(troubles))("each command says what is wrong, and what to do, where %s", async (what) => {
  const { at, says, code = "UNREACHABLE", env: given = {} } = troubles[what] as Trouble;
  const server = await at();
  const env: Record<string, string> = { ME_SERVER: server, ...given };
  for (const [name, value] of Object.entries(env)) if (value.startsWith("PROXY")) env[name] = await proxyAnswering(value.split(" ")[1]);

  const whoami = await me(home, ["whoami"], { env });
  expect(whoami.stderr).toMatch(says);
  expect([whoami.code, whoami.stdout]).toEqual([endings[code], ""]);
  expect(JSON.parse((await me(home, ["whoami", "--json"], { env })).stderr).error.code).toBe(code);

  const doctor = await me(home, ["doctor"], { env });
  if (code === "UNREACHABLE") expect(doctor.stdout).toMatch(new RegExp(`^FAIL server: ${server}`, "m"));
  expect(`Error: ${/^FAIL credential: (.*)$/m.exec(doctor.stdout)?.[1]}`).toMatch(says);
  expect(doctor.code).toBe(endings[code]);

  if (code === "UNREACHABLE") {
    const login = await me(home, ["login", "--device"], { env });
    expect([login.stderr, login.code]).toEqual([expect.stringMatching(says), exitCodes.unreachable]);
  }
  for (const { stdout, stderr } of [whoami, doctor]) expect(stdout + stderr).not.toMatch(/secret|me_pat_/);
});

test("an MCP client is told the cause, too", async () => {
  const at = await listen(secured(selfSigned("127.0.0.1")), "https");
  const running = start(process.execPath, [ME, "mcp", "--space", "x", "--server", at], home.env, null);
  const messages = [
    { id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } } },
    { method: "notifications/initialized" },
    { id: 2, method: "tools/call", params: { name: "whoami", arguments: {} } },
  ];
  for (const message of messages) running.child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const answer = await until("the call is answered", () => /^.*"id":2.*$/m.exec(running.stdout())?.[0]);
  expect(answer).toContain("has a certificate that this machine does not trust");
  running.child.kill();
});

test("a program that uses the client is told the cause, and that an answer did not come in time", async () => {
  const silent = await listen(
    createHttp(() => {}),
    "http",
  );
  const failed = await createUserClient({ server: silent, credential: KEY, timeoutMs: 50 })
    .agent.create({ name: "x" })
    .catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(GatehouseError);
  expect(failed).toMatchObject({
    code: "UNREACHABLE",
    message: `${silent} does not answer: no answer came in time. Try again; if it stays so, check for a firewall, or ask the server's operator.`,
  });
});

test.each([
  ["transfer-encoding: chunked", "zz\r\nhello\r\n0\r\n\r\n"],
  ...["gzip", "deflate", "br", "zstd"].map((coding) => [`content-encoding: ${coding}\r\ncontent-length: 5`, "hello"]),
] as [string, string][])("a program that uses the client is told of an answer that is no %s", async (header, body) => {
  const server = await listen(answering(header, body), "http");
  const failed = createUserClient({ server, credential: KEY }).agent.create({ name: "x" });
  await expect(failed).rejects.toMatchObject({
    code: "UNREACHABLE",
    message: expect.stringContaining("answers, but the answer is damaged. Try again"),
  });
});

test.each([
  ["http://127.0.0.1:99999", "must name a host without spaces, and a port of at most 65535"],
  ["https://a b", "must name a host without spaces, and a port of at most 65535"],
  ["https://", "must name a host without spaces, and a port of at most 65535"],
  ["127.0.0.1:7070", "must begin with http:// or https://"],
])("the address %s is refused for what is wrong with it", async (server, why) => {
  const { stderr, code } = await me(home, ["whoami"], { env: { ME_SERVER: server } });
  expect([code, stderr]).toEqual([expect.any(Number), expect.stringContaining(why)]);
});
