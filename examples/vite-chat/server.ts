import { join } from "node:path";
import { createSpaceClient, createStartSession, GatehouseError } from "@gatehouse/client";

// The web server of the page. It keeps the key; a browser gets a token for the one session that is its own.
const { ME_SERVER = "http://127.0.0.1:7070", ME_API_KEY, ME_SPACE, TASK = "echo", PORT = "3000" } = process.env;
const gatehouse = { server: ME_SERVER, credential: ME_API_KEY, space: ME_SPACE };
const startSession = createStartSession(gatehouse);
const space = createSpaceClient(gatehouse);

/**
 * A visitor's conversation: whoever has the cookie is the visitor. Its hash is the external id, so that no cookie names a
 * session which was not begun here, and nobody who reads the id can make the cookie. A server whose visitors sign in takes
 * the id from who is signed in, and needs no such cookie.
 */
const conversationOf = (cookie: string): string => `web-${new Bun.CryptoHasher("sha256").update(cookie).digest("hex")}`;

function begin(request: Bun.BunRequest): string {
  const cookie = crypto.randomUUID();
  request.cookies.set("conversation", cookie, { httpOnly: true, sameSite: "lax" });
  return cookie;
}

async function start(request: Bun.BunRequest) {
  try {
    return await startSession({ task: TASK, externalId: conversationOf(request.cookies.get("conversation") ?? begin(request)) });
  } catch (error) {
    if (!(error instanceof GatehouseError) || !["SESSION_CLOSED", "SESSION_EXPIRED"].includes(error.code)) throw error;
    return startSession({ task: TASK, externalId: conversationOf(begin(request)) });
  }
}

async function close(session: string): Promise<void> {
  await space.session.close({ session }).catch((error) => {
    if (!(error instanceof GatehouseError) || error.code !== "NOT_FOUND") throw error;
  });
}

const web = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(PORT),
  routes: {
    "/session": {
      // What is JSON can't be sent from a page of another site.
      POST: async (request) => {
        if (request.headers.get("content-type") !== "application/json") return new Response(null, { status: 415 });
        return Response.json({ server: ME_SERVER, ...(await start(request)) }, { headers: { "cache-control": "no-store" } });
      },
      DELETE: async (request) => {
        const cookie = request.cookies.get("conversation");
        if (cookie) await close(conversationOf(cookie));
        request.cookies.delete("conversation");
        return new Response(null, { status: 204 });
      },
    },
    "/": () => page("index.html"),
    "/mark.svg": () => page("mark.svg"),
    "/assets/:file": ({ params }) => page(join("assets", params.file)),
  },
  error: (error) => {
    console.error(error);
    return new Response("The server failed to answer.", { status: 500 });
  },
});
console.log(`Open ${web.url}`);

async function page(name: string): Promise<Response> {
  const file = Bun.file(join(import.meta.dirname, "dist", name));
  return (await file.exists()) ? new Response(file) : new Response("There is nothing here.", { status: 404 });
}
