import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const PATH = "/callback";

/** Where the browser comes back to: a free port of this machine alone (RFC 8252, section 7.3). */
export interface Landing {
  redirectUri: string;
  /** Waits for the browser to come with that state, tells the person how `take` ended, and ends so itself. */
  arrival<T>(state: string, take: (cameBack: URL) => Promise<T>, signal: AbortSignal): Promise<T>;
  close(): void;
}

export async function openLanding(): Promise<Landing> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    redirectUri: origin + PATH,
    arrival: (state, take, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        let came = false;
        server.on("request", async (request, response) => {
          const url = new URL(request.url ?? "", origin);
          if (request.method !== "GET" || url.pathname !== PATH) return show(response, 404, "There is nothing here", "");
          // Whatever comes without the state is none of ours: another page may have sent the browser here.
          if (came || url.searchParams.get("state") !== state)
            return show(response, 400, "This is not the sign-in that is waited for", "Start again in the terminal: me login");
          came = true;
          const taken = take(url);
          const ok = await taken.then(
            () => true,
            () => false,
          );
          if (ok) await show(response, 200, "You are signed in", "You can close this, and go back to the terminal.");
          else await show(response, 400, "You are not signed in", "The terminal says why.");
          taken.then(resolve, reject);
        });
      }),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Answers with a page, and waits until it is on its way. */
async function show(response: ServerResponse, status: number, title: string, says: string): Promise<void> {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "referrer-policy": "no-referrer",
    connection: "close",
  });
  const closed = once(response, "close");
  response.end(page(title, says));
  await closed;
}

const page = (title: string, says: string) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title} · Gatehouse</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
  body { min-height: 100vh; margin: 0; display: grid; place-items: center; background: light-dark(#f6f7f9, #14161a); }
  main { max-width: 24rem; margin: 1rem; padding: 2.5rem; text-align: center; border-radius: 1rem;
    color: light-dark(#1c2430, #e8eaee); background: light-dark(#fff, #1e2127); box-shadow: 0 1px 12px #0002; }
  h1 { margin: 0 0 .5rem; font-size: 1.4rem; }
  p { margin: 0; opacity: .75; }
</style>
<main>
  <h1>${title}</h1>
  <p>${says}</p>
</main>
</html>
`;
