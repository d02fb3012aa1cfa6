import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>;

/** An OIDC issuer: of tokens that servers trust, and a provider at which people sign in, who says of them whatever it is told to. */
export class Issuer {
  readonly server: Server;
  readonly url: string;
  key!: KeyPair & { kid: string };
  /** What its discovery document names as issuer. */
  says: string;
  requests = 0;
  up = true;
  /** What its ID tokens say of the person who signs in; with none, it gives out no ID token. */
  person: JWTPayload | undefined = {};
  /** More fields of the header of its ID tokens. */
  header: object = {};
  #nonce = "";

  private constructor(server: Server) {
    this.server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.says = this.url;
  }

  static async start(): Promise<Issuer> {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const issuer = new Issuer(server);
    await issuer.rotate();
    server.on("request", async (request, response) => {
      issuer.requests++;
      if (!issuer.up) return response.writeHead(503).end();
      const { pathname, searchParams } = new URL(request.url ?? "", issuer.url);
      if (pathname === "/authorize") {
        issuer.#nonce = searchParams.get("nonce") ?? "";
        const back = new URL(searchParams.get("redirect_uri") ?? "");
        back.search = new URLSearchParams({ code: "c", state: searchParams.get("state") ?? "" }).toString();
        return response.writeHead(302, { location: back.href }).end();
      }
      const jwk = { ...(await exportJWK(issuer.key.publicKey)), kid: issuer.key.kid, alg: "RS256", use: "sig" };
      const answers: Record<string, () => object> = {
        "/.well-known/openid-configuration": () => ({
          issuer: issuer.says,
          jwks_uri: `${issuer.url}/keys`,
          authorization_endpoint: `${issuer.url}/authorize`,
          token_endpoint: `${issuer.url}/token`,
          userinfo_endpoint: `${issuer.url}/userinfo`,
          id_token_signing_alg_values_supported: ["RS256"],
        }),
        "/token": () => ({ access_token: "a", token_type: "Bearer", ...(idToken !== undefined && { id_token: idToken }) }),
        "/userinfo": () => ({ sub: "u", email: "u@corp.example", email_verified: true, name: "U" }),
      };
      const idToken =
        pathname === "/token" && issuer.person
          ? await issuer.token({ iss: issuer.says, sub: "1", nonce: issuer.#nonce, email_verified: true, ...issuer.person }, issuer.header)
          : undefined;
      const found = answers[pathname]?.() ?? { keys: [jwk] };
      return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(found));
    });
    return issuer;
  }

  async rotate(): Promise<void> {
    this.key = { ...(await generateKeyPair("RS256")), kid: crypto.randomUUID() };
  }

  /** A token that is signed as its two parts are written, which are good but for what is done to their text. */
  async written(payload: (json: string) => string, header: (json: string) => string = String): Promise<string> {
    const [head = "", body = ""] = (await this.token({})).split(".");
    const part = (text: string, change: (json: string) => string) =>
      Buffer.from(change(Buffer.from(text, "base64url").toString())).toString("base64url");
    const signed = `${part(head, header)}.${part(body, payload)}`;
    const bytes = await crypto.subtle.sign("RSASSA-PKCS1-v1_5", this.key.privateKey as CryptoKey, new TextEncoder().encode(signed));
    return `${signed}.${Buffer.from(bytes).toString("base64url")}`;
  }

  /** A token that is good, but for what is changed of it. */
  token(claims: JWTPayload, header: object = {}, key: KeyPair["privateKey"] | Uint8Array = this.key.privateKey): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({ iss: this.url, aud: "gatehouse", sub: "repo:acme/app:ref:main", iat: now, exp: now + 300, ...claims })
      .setProtectedHeader({ alg: "RS256", kid: this.key.kid, ...header })
      .sign(key);
  }
}
