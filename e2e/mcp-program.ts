import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Client, type OAuthClientProvider, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

/** A program that talks with the MCP door of a server by the official client, and holds nothing from before. */
export async function openProgram(url: string, name = "A test's program") {
  const catcher = createServer((request, response) => {
    response.end("Back in the program.");
    const query = new URL(request.url ?? "/", "http://localhost").searchParams;
    if (query.has("code") || query.has("error")) caught.resolve(query);
  }).listen(0, "127.0.0.1");
  await once(catcher, "listening");
  const redirect = `http://127.0.0.1:${(catcher.address() as AddressInfo).port}/callback`;
  let caught = Promise.withResolvers<URLSearchParams>();
  let asked: URL | undefined;
  const kept: { client?: unknown; tokens?: { access_token: string; refresh_token?: string; scope?: string }; verifier?: string } = {};
  const provider = {
    redirectUrl: redirect,
    clientMetadata: { client_name: name, redirect_uris: [redirect], grant_types: ["authorization_code", "refresh_token"] },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => {
      kept.client = client;
    },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => {
      kept.tokens = tokens;
    },
    redirectToAuthorization: (to) => {
      asked = to;
    },
    saveCodeVerifier: (verifier) => {
      kept.verifier = verifier;
    },
    invalidateCredentials: () => {
      delete kept.tokens;
    },
    codeVerifier: () => kept.verifier ?? "",
  } as OAuthClientProvider;

  /**
   * Does what needs a login. Where there is none yet, or it is not enough, the person is sent to a page, and it is done again.
   * @param answer what the person does there
   */
  async function withLogin<T>(run: (client: Client) => Promise<T>, answer: (page: string) => Promise<unknown>): Promise<T> {
    for (let times = 0; ; times++) {
      const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
      const client = new Client({ name, version: "1" });
      try {
        await client.connect(transport);
        return await run(client);
      } catch (error) {
        if (!(error instanceof UnauthorizedError) || times > 0 || !asked) throw error;
        caught = Promise.withResolvers();
        await answer(asked.href);
        const query = await caught.promise;
        await transport.finishAuth(query);
      } finally {
        await client.close();
      }
    }
  }
  return { kept, withLogin, redirect, asked: () => asked, close: () => void catcher.close() };
}
