import type { Serving } from "@gatehouse/agent";
import { createUserClient } from "@gatehouse/client";
import type { Server } from "@gatehouse/server";
import type { Command } from "commander";
import { addCommand } from "../command.ts";
import { exitCodes } from "../exit.ts";
import { tokenOf } from "../login/refresh.ts";
import type { Me } from "../me.ts";
import { note, word } from "../output.ts";
import { launcherGone } from "./launcher.ts";

export function addUp(program: Command): void {
  addCommand(program, {
    usage: "up",
    summary: "Start the server, on the settings of the environment (docs/settings.md). Ctrl-C stops it.",
    examples: ["up", "PORT=8080 me up"],
    traced: false,
    run: up,
    show: () => "",
  });
}

/** This machine's own addresses, which no proxy is to be asked for: keys of an issuer, and a provider's secret, go there too. */
const LOOPBACK = "localhost,127.0.0.0/8,::1,[::1]";

/** Leaves the proxy out for this machine, whatever library asks: the runtime reads the variables at each request. */
function reachLoopbackDirectly({ NO_PROXY, no_proxy }: NodeJS.ProcessEnv): void {
  const value = [NO_PROXY || no_proxy, LOOPBACK].filter(Boolean).join(",");
  Object.assign(process.env, { NO_PROXY: value, no_proxy: value });
}

async function up(me: Me): Promise<void> {
  reachLoopbackDirectly(process.env);
  const [{ readConfig }, { openConfiguredDatabase }] = await Promise.all([
    import("@gatehouse/server/config"),
    import("@gatehouse/server/database"),
  ]);
  const config = readConfig();
  note("Starting Gatehouse…");
  // From the first moment on: a signal that comes while things start must not leave half of them behind.
  const asked = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
  });
  const stopped = Promise.race([asked, launcherGone(me.settings.startedByScript)]);
  // Postgres starts while the rest of the server is still being loaded.
  const opening = openConfiguredDatabase(config);
  const { startServer } = await import("@gatehouse/server");
  const server = await startServer(config, opening, async () => (await import("@gatehouse/mcp")).createMcpServing());
  let failure: Error | undefined;
  let echoing: Promise<Serving | undefined> | undefined;
  try {
    const { url } = server;
    if (server.signInOwner) {
      await signIn(me, url, server.signInOwner);
      note(`Ready: ${url}\nYou are signed in to it. In another terminal: me whoami`);
      echoing = import("./echo.ts")
        .then(({ serveEcho }) => serveEcho(server))
        .catch((error: Error) => void note(`The agent echo is not served: ${error.message}`));
    } else note(`Ready: ${url}\nMake an account with: me user create, then sign in with: me login --server ${word(url)}`);
    failure = (await Promise.race([stopped, server.failed])) ?? undefined;
    note(failure ? `Error: ${failure.message}\nStopping. Start it again.` : "Stopping…");
  } finally {
    const echo = failure ? undefined : await echoing;
    await echo?.stop().catch((error: Error) => note(`The agent echo was not stopped in good order: ${error.message}`));
    await server.close();
  }
  // What may still run is an exporter that tries again to send its traces: nothing to wait for.
  process.exit(failure ? exitCodes.error : exitCodes.ok);
}

/** Leaves a session for this server in the credential store; a login that is there and still good, whoever's it is, stays. */
async function signIn(me: Me, url: string, signInOwner: NonNullable<Server["signInOwner"]>): Promise<void> {
  const kept = (await me.store.read()).servers[url];
  const good =
    kept &&
    (await createUserClient({ server: url, credential: tokenOf(me.store, url) })
      .whoami()
      .catch(() => undefined));
  if (good)
    return me.store.update((contents) => {
      contents.current = url;
    });
  await me.store.keep(url, { name: "Local owner", space: kept?.space }, await signInOwner());
}
