/** Runs the benches that are named, else all of them, one after the other. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const BENCHES = ["call", "driver", "authority", "revocation", "sessions", "streams", "floods", "mcp"];

const asked = process.argv.slice(2);
for (const name of asked.length > 0 ? asked : BENCHES) {
  if (!BENCHES.includes(name)) throw new Error(`There is no bench ${name}: only ${BENCHES.join(", ")}.`);
  const [code] = await once(spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`)], { stdio: "inherit" }), "exit");
  if (code !== 0) process.exit(1);
}
