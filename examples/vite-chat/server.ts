import { join } from "node:path";
import { createSpaceClient, createStartSession, GatehouseError } from "@gatehouse/client";

// The web server of the page. It keeps the key; a browser gets a token for the one session that is its own.
const { ME_SERVER = "http://127.0.0.1:7070", ME_API_KEY, ME_SPACE, TASK = "echo", PORT = "3000" } = process.env;
const gatehouse = { server: ME_SERVER, credential: ME_API_KEY, space: ME_SPACE };
const startSession = createStartSession(gatehouse);
const space = createSpaceClient(gatehouse);

/** A visitor's conversation, which their cookie names: a server that knows who they are would name it by that. */
const conversationOf = (request: Bun.BunRequest): string => request.cookies.get("conversation") ?? begin(request);

function begin(request: Bun.BunRequest): string {
  const id = crypto.randomUUID().replaceAll("-", "");
  request.cookies.set("conversation", id, { httpOnly: true, sameSite: "lax" });
  return id;
}

async function start(request: Bun.BunRequest) {
  try {
    return await startSession({ task: TASK, externalId: conversationOf(request) });
  } catch (error) {
    if (!(error instanceof GatehouseError) || !["SESSION_CLOSED", "SESSION_EXPIRED"].includes(error.code)) throw error;
    return startSession({ task: TASK, externalId: begin(request) });
  }
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
        const session = request.cookies.get("conversation");
        if (session) await space.session.close({ session });
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
