import type { Command } from "commander";
import { addCommand } from "../command.ts";
import { exitCodes } from "../exit.ts";
import type { Me } from "../me.ts";
import { note } from "../output.ts";

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

async function up(me: Me): Promise<void> {
  const { readConfig, startServer } = await import("@gatehouse/server");
  const config = readConfig();
  note("Starting Gatehouse…");
  // From the first moment on: a signal that comes while things start must not leave half of them behind.
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });
  const server = await startServer(config);
  let failure: Error | undefined;
  try {
    const { url, ownerSession } = server;
    if (ownerSession) {
      await me.store.update((contents) => {
        contents.current = url;
        contents.servers[url] = { ...contents.servers[url], ...ownerSession, name: "Local owner" };
      });
      note(`Ready: ${url}\nYou are signed in to it. In another terminal: me whoami`);
    } else note(`Ready: ${url}\nMake an account with: me user create, then sign in with: me login --server ${url}`);
    failure = (await Promise.race([stopped, server.failed])) ?? undefined;
    note(failure ? `Error: ${failure.message}\nStopping. Start it again.` : "Stopping…");
  } finally {
    await server.close();
  }
  // What may still run is an exporter that tries again to send its traces: nothing to wait for.
  process.exit(failure ? exitCodes.error : exitCodes.ok);
}
