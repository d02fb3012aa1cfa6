import { randomBytes } from "node:crypto";
import { createMcpServing } from "@gatehouse/mcp";
import { type Api, type RpcError, type RpcResponse, spaceApi, userApi } from "@gatehouse/protocol";
import { openDatabase, readConfig, startServer } from "@gatehouse/server";
import { inject } from "vitest";
import { defaultLimits } from "../packages/server/src/limits.ts";
import { createAuth } from "../packages/server/src/people/auth.ts";
import { addUser, hashPassword, openSession } from "../packages/server/src/people/users.ts";
import { touching } from "./touching.ts";

/** A person with an account on a test server. */
export interface TestUser {
  id: string;
  email: string;
  password: string;
  /** Bearer token of a signed-in session. */
  session: string;
}

/** What came back over HTTP for one posted body. */
export interface HttpAnswer {
  status: number;
  headers: Headers;
  text: string;
}

export type TestServer = Awaited<ReturnType<typeof startTestServer>>;

const JSON_TYPE = { "content-type": "application/json" };
const NO_LIMITS = Object.keys(defaultLimits)
  .map((name) => `${name}=0`)
  .join(",");
const SECRET = "a secret that only tests know, 0123456789";
const PASSWORD = "correct horse battery staple";
/** To hash it takes longer than most tests. */
const hash = hashPassword(PASSWORD);

/** Makes an empty database. @param template of which it is a copy @returns its address */
export async function makeDatabase(template = "template1"): Promise<string> {
  const name = `t_${randomBytes(6).toString("hex")}`;
  const sql = openDatabase(inject("postgres"));
  await sql.unsafe(`create database ${name} template ${template}`);
  await sql.end();
  const url = new URL(inject("postgres"));
  url.pathname = `/${name}`;
  return url.href;
}

/** What sets a server, or a command of its operator, on a database that tests have made. */
export const onDatabase = (databaseUrl: string) => ({ DATABASE_URL: databaseUrl, GATEHOUSE_SECRET: SECRET });

/** Starts a real server in this process, on a database of its own and a free port. @param mcp what it serves over MCP besides */
export async function startTestServer(settings: Record<string, string> = {}, mcp: Parameters<typeof createMcpServing>[0] = {}) {
  const databaseUrl = settings.DATABASE_URL ?? (await makeDatabase(inject("template")));
  const server = await startServer(
    readConfig({
      ...onDatabase(databaseUrl),
      PORT: "0",
      LOG_LEVEL: "silent",
      RATE_LIMIT: "0",
      FAILED_AUTH_LIMIT: "0",
      CALL_RATE: "0",
      LIMITS: NO_LIMITS,
      ...settings,
    }),
    undefined,
    async () => createMcpServing(mcp),
  );
  await server.tidied;
  const { sql, touched } = touching(openDatabase(databaseUrl));
  const { url } = server;
  const rpcUrl = `${url}/api/v1/user/rpc`;

  const { auth, close: closeAuth } = createAuth({ address: databaseUrl, secret: SECRET, publicUrl: url, cookieOrigins: [] });

  const settle = () => {
    if (touched()) server.doubt();
  };
  const post = async (body: string | Uint8Array, headers: Record<string, string> = {}): Promise<HttpAnswer> => {
    settle();
    const address = headers["x-me-space"] === undefined ? rpcUrl : `${url}/api/v1/space/rpc`;
    const answer = await fetch(address, { method: "POST", headers: { ...JSON_TYPE, ...headers }, body: body as BodyInit });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };

  return {
    url,
    rpcUrl,
    databaseUrl,
    /** Signs its sessions. */
    secret: SECRET,
    sql,
    /** To be called before a request that goes past `post`: the server is told of what was done past it. */
    settle,
    /** Resolves when all denials so far are on record. */
    recorded: () => server.recorded(),
    /** Posts any body to the user RPC; to the space RPC, where a header names a space. */
    post,
    /** Calls a method, inside a space where its slug is given. @returns its result, which must fit the contract, or its error object */
    async call(
      credential: string | undefined,
      method: string,
      params: unknown = {},
      space?: string,
    ): Promise<{
      // biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
      result?: any;
      error?: RpcError;
      status: number;
    }> {
      const { status, text } = await post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }), {
        ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
        ...(space !== undefined && { "x-me-space": space }),
      });
      const answer = JSON.parse(text) as RpcResponse;
      if ("result" in answer) ((space === undefined ? userApi : spaceApi) as Api)[method]?.result.parse(answer.result);
      return { status, ...answer };
    },
    /** Signs a user in. @returns the Bearer token of the session */
    signIn: async (id: string): Promise<string> => (await openSession(auth, id)).token,
    /** Makes a user, with a session as signing in gives one: directly, as the door lets an address sign in only so often. */
    async user(name: string): Promise<TestUser> {
      const email = `${name.toLowerCase()}-${randomBytes(4).toString("hex")}@example.com`;
      const id = await addUser(sql, { email, name, hash: await hash });
      const { token } = await openSession(auth, id);
      return { id, email, password: PASSWORD, session: token };
    },
    /** Brings people into a space as they come in: somebody there invites them, and they accept. */
    async join(space: string, host: TestUser, ...guests: TestUser[]): Promise<void> {
      for (const guest of guests) {
        const { result: invite, error } = await this.call(host.session, "invite.create", { email: guest.email }, space);
        if (error) throw new Error(`invite.create: ${error.message}`);
        const accepted = await this.call(guest.session, "invite.accept", { id: invite.id });
        if (accepted.error) throw new Error(`invite.accept: ${accepted.error.message}`);
      }
    },
    /** Makes people know each other who were strangers: they share a space that no test is about. @returns its slug */
    async acquaint(host: TestUser, ...guests: TestUser[]): Promise<string> {
      const { result: lobby, error } = await this.call(host.session, "space.create", { name: "Lobby" });
      if (error) throw new Error(`space.create: ${error.message}`);
      await this.join(lobby.slug, host, ...guests);
      return lobby.slug;
    },
    async close(): Promise<void> {
      await Promise.all([sql.end(), closeAuth()]);
      await server.close();
    },
  };
}
