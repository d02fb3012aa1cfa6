import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createListener } from "node:net";
import Provider from "oidc-provider";

/** Who signs in at the provider. */
interface Person {
  sub: string;
  email: string;
  email_verified: boolean;
  name: string;
}

const CLIENT = { id: "gatehouse", secret: "the secret between the two, 0123456789" };

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const probe = createListener().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** A certified OpenID provider, at which whoever `person` says is signed in without being asked. */
export async function openProvider() {
  const gatehousePort = await freePort();
  const http = createServer((request, response) => void answer(request, response));
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const issuer = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const state = {
    person: { sub: "1", email: "", email_verified: true, name: "" } as Person,
    /** What was asked of it last. */
    asked: {} as Record<string, unknown>,
  };

  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: [`http://127.0.0.1:${gatehousePort}/api/auth/callback/corp`],
      },
    ],
    cookies: { keys: ["a key of the tests"] },
    pkce: { required: () => true },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
    findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ ...state.person, sub }) }),
    async loadExistingGrant(context) {
      const grant = new context.oidc.provider.Grant({
        clientId: context.oidc.client?.clientId as string,
        accountId: context.oidc.session?.accountId as string,
      });
      grant.addOIDCScope("openid email profile");
      await grant.save();
      return grant;
    },
  });
  provider.on("authorization.success", ({ oidc }) => {
    state.asked = { ...oidc.params };
  });
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url?.startsWith("/interaction/"))
      return provider.interactionFinished(request as never, response as never, { login: { accountId: state.person.sub, remember: false } });
    return provider.callback()(request as never, response as never);
  };

  return {
    state,
    /** The settings of a server that people sign in to by it. */
    settings: (more: object = {}) => ({
      PORT: String(gatehousePort),
      OIDC_PROVIDERS: JSON.stringify([{ id: "corp", name: "Corp", issuer, clientId: CLIENT.id, clientSecret: CLIENT.secret, ...more }]),
    }),
    secret: CLIENT.secret,
    async close(): Promise<void> {
      http.closeAllConnections();
      http.close();
      await once(http, "close");
    },
  };
}
