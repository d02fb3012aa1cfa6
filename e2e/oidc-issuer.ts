import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>;

/** An OIDC issuer. */
export class Issuer {
  readonly server: Server;
  readonly url: string;
  key!: KeyPair & { kid: string };
  /** What its discovery document names as issuer. */
  says: string;
  requests = 0;
  up = true;

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
      const jwk = { ...(await exportJWK(issuer.key.publicKey)), kid: issuer.key.kid, alg: "RS256", use: "sig" };
      const found =
        request.url === "/.well-known/openid-configuration" ? { issuer: issuer.says, jwks_uri: `${issuer.url}/keys` } : { keys: [jwk] };
      return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(found));
    });
    return issuer;
  }

  async rotate(): Promise<void> {
    this.key = { ...(await generateKeyPair("RS256")), kid: crypto.randomUUID() };
  }

  /** A token that is good, but for what is changed of it. */
  token(claims: JWTPayload, header: object = {}, key: KeyPair["privateKey"] | Uint8Array = this.key.privateKey): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({ iss: this.url, aud: "gatehouse", sub: "repo:acme/app:ref:main", iat: now, exp: now + 300, ...claims })
      .setProtectedHeader({ alg: "RS256", kid: this.key.kid, ...header })
      .sign(key);
  }
}
