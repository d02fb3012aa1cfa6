import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { type ChatAgent, isChatAgent, type Leave, serve } from "@gatehouse/agent";
import { whenUnread } from "./exit.ts";
import { createMe } from "./me.ts";
import { note } from "./output.ts";
import { startTracing } from "./tracing.ts";

// The process in which `me agent run` serves the agents of one file, until it is told to leave, or left alone.
const [file, folder] = process.argv.slice(2) as [string, string];
process.chdir(folder);
// Ctrl-C goes to all of a terminal's processes: ours is told by the one that started it.
for (const name of ["SIGINT", "SIGHUP"] as const) process.on(name, () => {});
let stopTracing = async () => {};
let leave: (how: Leave) => void = () => process.exit(0);
process.on("message", (how: Leave) => leave(how));
process.on("disconnect", () => leave({}));
whenUnread(() => leave({}));

try {
  const agents = await agentsOf(file);
  // By a login too, which is renewed as it goes.
  const me = createMe({});
  stopTracing = await startTracing(me.settings);
  const { server, credential } = await me.target();
  const serving = await serve(agents, { signals: false, server, ...(credential !== undefined && { credential }) });
  leave = (how) =>
    serving
      .stop(how)
      .finally(stopTracing)
      .finally(() => process.exit(0));
  // It has told why itself.
  await serving.finished.catch(() => process.exit(1));
} catch (error) {
  note(`Error: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

/** What a file fails with, and where: Bun tells its own inspect alone of the place of an error of syntax, and of each where there are more. */
function shown(thrown: unknown): string {
  return (process.versions.bun ? Bun.inspect(thrown) : inspect(thrown)).trimEnd();
}

/** The agents that a file exports, one by one or in lists. */
async function agentsOf(file: string): Promise<ChatAgent[]> {
  const exported: Record<string, unknown> = await import(pathToFileURL(file).href).catch((thrown: unknown) => {
    throw new Error(`${file} can't be loaded:\n${shown(thrown)}`);
  });
  const agents = [...new Set(Object.values(exported).flat().filter(isChatAgent))];
  if (agents.length === 0) throw new Error(`${file} exports no agent. Let it: export const support = chatAgent({ … })`);
  return agents;
}
