import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/** Starts a server as a process of its own. @returns it, and the address it prints */
export async function launch(script: string[], env: Record<string, string>): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, script, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (printed += text));
  for (;;) {
    const url = /^(?:Ready: )?(http:\S+)$/m.exec(printed)?.[1];
    if (url) return { child, url };
    await Promise.race([
      once(child.stdout, "data"),
      once(child.stderr, "data"),
      once(child, "exit").then(() => Promise.reject(new Error(printed))),
    ]);
  }
}
