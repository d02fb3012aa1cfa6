import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { type Asked, keychainExits } from "./keychain-process.ts";
import { runtimeArgs } from "./runtime.ts";

/** How long a keychain may take. Where a person is there, it may have to ask them to unlock it. */
const PATIENCE_MS = { alone: 3000, person: 30_000 };

/** The operating system's keychain: Keychain on macOS, the Secret Service on Linux. */
export interface Keychain {
  /** @returns null when nothing is kept under the name; undefined when there is no keychain, or it does not answer */
  get(name: string): Promise<string | null | undefined>;
  /** @returns whether it is kept now */
  set(name: string, secret: string): Promise<boolean>;
  remove(name: string): Promise<void>;
}

/**
 * Opens the keychain. It is asked from a process of its own, for a keychain that does not answer holds up the whole
 * process that asks it, and only killing that ends the wait.
 */
export function openKeychain({ interactive }: { interactive: boolean }): Keychain {
  const timeout = interactive ? PATIENCE_MS.person : PATIENCE_MS.alone;
  const ask = async (asked: Asked, name: string, secret = "") => {
    const child = spawn(process.execPath, [...runtimeArgs, fileURLToPath(import.meta.resolve("./keychain-process.ts")), asked, name], {
      stdio: ["pipe", "pipe", "ignore"],
      timeout,
      killSignal: "SIGKILL",
    });
    child.stdin.on("error", () => {}); // it may end without reading
    child.stdin.end(secret);
    const ended = new Promise<number | null>((resolve) => child.once("error", () => resolve(null)).once("close", resolve));
    const [answer, code] = await Promise.all([text(child.stdout), ended]);
    return { answer, code };
  };
  return {
    async get(name) {
      const { answer, code } = await ask("get", name);
      return code === keychainExits.done ? answer : code === keychainExits.nothing ? null : undefined;
    },
    set: async (name, secret) => (await ask("set", name, secret)).code === keychainExits.done,
    remove: async (name) => void (await ask("remove", name)),
  };
}
