import { createHash, randomBytes } from "node:crypto";
import { spaceApi, userApi } from "@gatehouse/protocol";

/** How a server is asked: a path of its, as whoever the headers say. */
export type Ask = (path: string, init?: RequestInit) => Promise<Response>;

/** What a program holds of a login. */
export interface ProgramLogin {
  client_id: string;
  access_token: string;
  refresh_token?: string;
}

const REDIRECT = "http://127.0.0.1/callback";
const JSON_TYPE = { "content-type": "application/json" };
const _meta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

async function must(answered: Promise<Response>): Promise<Response> {
  const answer = await answered;
  if (answer.status < 400) return answer;
  throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`);
}

/** Signs a new program in as the person of a session, up to its code. @returns what redeems it */
export async function allowProgram(
  ask: Ask,
  session: string,
  space: string,
  scope: string,
  name = "A test's program",
): Promise<Record<string, string>> {
  const authorization = `Bearer ${session}`;
  const post = async (path: string, body: object, headers = {}) =>
    (await must(ask(path, { method: "POST", headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) }))).json();
  const { client_id } = await post("/api/v1/register", { redirect_uris: [REDIRECT], client_name: name });
  const code_verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope,
    code_challenge: createHash("sha256").update(code_verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  const asked = await must(ask(`/api/auth/oauth2/authorize?${query}`, { headers: { authorization }, redirect: "manual" }));
  const { search: oauth_query } = new URL(asked.headers.get("location") ?? "");
  const { url } = await post(
    "/api/auth/oauth2/consent",
    { accept: true, oauth_query: oauth_query.slice(1), space, scope },
    { authorization },
  );
  const code = new URL(url).searchParams.get("code") ?? "";
  return { grant_type: "authorization_code", client_id, redirect_uri: REDIRECT, code, code_verifier };
}

/** Signs a new program in as the person of a session, for a scope in a space. */
export async function signProgramIn(ask: Ask, session: string, space: string, scope: string, name?: string): Promise<ProgramLogin> {
  const redeem = await allowProgram(ask, session, space, scope, name);
  const tokens = await must(ask("/api/v1/token", { method: "POST", body: new URLSearchParams(redeem) }));
  return { client_id: redeem.client_id, ...(await tokens.json()) };
}

/** The tool of a method. */
const toolOf = (method: string): string => ({ ...userApi, ...spaceApi })[method as keyof typeof userApi]?.tool ?? method;

/**
 * Calls a tool, by its name or its method's, through the door for programs.
 * @returns what the tool gave, or the code of what it was refused with
 */
export async function callTool(
  ask: Ask,
  credential: string,
  tool: string,
  args: object = {},
): Promise<{ result?: unknown; code?: string }> {
  const name = toolOf(tool);
  const answered = await ask("/mcp", {
    method: "POST",
    headers: {
      ...JSON_TYPE,
      authorization: `Bearer ${credential}`,
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": name,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args, _meta } }),
  });
  const text = await answered.text();
  const said = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? text);
  if (!answered.ok) return { code: said.code ?? said.error?.data?.code };
  if (said.result?.isError) return { code: said.result._meta?.["gatehouse/error"]?.code ?? "UNKNOWN" };
  return { result: said.result.structuredContent };
}
